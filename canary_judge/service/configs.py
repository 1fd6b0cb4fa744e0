"""The configs that callers may name: the files of one folder, read again when they change."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from canary_judge.config.model import JudgeConfig
from canary_judge.config.reading import nearest, read_yaml
from canary_judge.errors import ConfigError
from canary_judge.service.problems import UnknownConfig
from canary_judge.service.shown import shown

__all__ = ["SOURCES", "Configs"]

# Sources for configs that name none of their own; it is no config itself.
SOURCES = "sources"
_ENDINGS = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class _Read:
    stamp: tuple[int, int, int]
    config: JudgeConfig | None
    error: str


class Configs:
    """A folder of configs; `checkout.yaml` is called "checkout".

    A file `sources.yaml` beside them has the sources (name: options, as under a config's `sources:`) for configs that
    name none of their own.

    Args:
        folder: Where the files are.

    Raises:
        ConfigError: It is no folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._read: dict[Path, _Read] = {}
        self._whole: dict[str, JudgeConfig] = {}
        self._lock = threading.Lock()
        self._files()

    def _files(self) -> dict[str, Path]:
        try:
            found = sorted(path for path in self.folder.iterdir() if path.suffix in _ENDINGS and path.is_file())
        except OSError as error:
            raise ConfigError(f"the folder of the configs, {self.folder}, cannot be read: {error}") from error
        files: dict[str, Path] = {}
        for path in found:
            if not path.name.startswith("."):
                files.setdefault(path.stem, path)
        return files

    def _twin(self, name: str) -> str:
        """Why a name is not clear: two files have it."""
        twins = [path.name for ending in _ENDINGS if (path := self.folder / f"{name}{ending}").is_file()]
        return f"{' and '.join(sorted(twins))} are one config, {name!r}: remove one of them" if len(twins) > 1 else ""

    def names(self) -> list[str]:
        """What can be asked for."""
        return [name for name in self._files() if name != SOURCES]

    def get(self, name: str) -> JudgeConfig:
        """The config of that name, as the file has it now.

        Raises:
            UnknownConfig: There is none.
            ConfigError: It is broken; the message says where.
        """
        files = self._files()
        if name not in files or name == SOURCES:
            there_are = ", ".join(one for one in files if one != SOURCES) or "none"
            raise UnknownConfig(f"there is no config {shown(name)}{nearest(name[:100], files)}; there are {there_are}")
        if twin := self._twin(name):
            raise ConfigError(twin)
        read = self._of(files[name])
        if read.config is None:
            raise ConfigError(read.error)
        return read.config

    def last(self, name: str, *, kept: str | None = None) -> JudgeConfig:
        """The config as its file had it when it was last whole, for runs that began with it: where are its sources?

        Args:
            name: Of the config.
            kept: What such a run keeps of it, as JSON, which will do where the sources are not the file's to say.

        Raises:
            ConfigError: It is broken or gone, and this process has never read it.
        """
        try:
            return self.get(name)
        except ConfigError as error:
            if (known := self._whole.get(name)) is not None:
                return known
            if kept is not None:
                return JudgeConfig.from_mapping(json.loads(kept))
            raise ConfigError(f"it is not known where the sources of {shown(name)} are: {error}") from error

    def changed(self, name: str) -> float:
        """When its file was changed, seconds since the epoch; 0 where that is not known."""
        try:
            return self._files()[name].stat().st_mtime
        except (OSError, KeyError):
            return 0.0

    def listing(self) -> list[dict[str, Any]]:
        """Name, hash and metrics of each, or what is wrong with it."""
        shown = []
        for name, path in self._files().items():
            if name == SOURCES:
                continue
            read = self._of(path)
            one: dict[str, Any] = {"name": name, "error": self._twin(name) or read.error or None}
            if read.config is not None:
                one |= {"title": read.config.name, "hash": read.config.hash()}
                one["metrics"] = [metric.name for metric in read.config.metrics]
            shown.append(one)
        return shown

    def _of(self, path: Path) -> _Read:
        with self._lock:
            try:
                status = path.stat()
                stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
                known = self._read.get(path)
                if known is None or known.stamp != stamp:
                    known = _Read(stamp, JudgeConfig.load(path), "")
            except OSError as error:
                return _Read((0, 0, 0), None, f"{path.name}: cannot be read: {error}")
            except ConfigError as error:
                known = _Read(stamp, None, str(error).replace(str(path), path.name))
            self._read[path] = known
            if known.config is not None:
                self._whole[path.stem] = known.config
            return known

    def sources(self, config: JudgeConfig) -> dict[str, dict[str, Any]]:
        """The options of each source that the metrics use: the config's own, else those of the folder.

        Raises:
            ConfigError: A source is nowhere given.
        """
        common = self._common()
        found: dict[str, dict[str, Any]] = {}
        for name in dict.fromkeys(metric.source for metric in config.metrics):
            options = config.sources.get(name, common.get(name))
            if options is None:
                raise ConfigError(
                    f"source {name!r} is nowhere given: add it under `sources:` in the config, or to {SOURCES}.yaml "
                    "in the folder of the configs"
                )
            found[name] = options
        return found

    def _common(self) -> Mapping[str, dict[str, Any]]:
        path = self._files().get(SOURCES)
        if path is None:
            return {}
        try:
            data = read_yaml(path.read_text(encoding="utf-8"), path.name)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path.name}: cannot be read: {error}") from error
        if not isinstance(data, Mapping) or not all(isinstance(options, Mapping) for options in data.values()):
            raise ConfigError(f"{path.name}: must be a mapping of names to the options of a source")
        return {str(name): dict(options) for name, options in data.items()}
