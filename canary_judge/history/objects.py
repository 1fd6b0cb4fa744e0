"""The objects of a history, on a disk or in an object store: each appears whole, or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from canary_judge.errors import DataError

__all__ = ["NEEDS", "Objects"]

NEEDS = "pip install 'canary_judge[history]'"


class Objects:
    """Named bytes below a URL.

    Args:
        url: A folder, or a URL of fsspec.

    Attributes:
        url: The same.
        local: They are files.
        in_memory: They are those of this process.
        system: The file system of fsspec.

    Raises:
        DataError: The URL cannot be opened, or what is needed for it is not installed.
    """

    def __init__(self, url: str | Path) -> None:
        try:
            import fsspec
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise DataError(f"a history needs pyarrow and fsspec ({error.name} is missing): {NEEDS}") from error
        self.url = str(url)
        if not self.url.strip():
            raise DataError("the address of the archive is empty; give a folder, or a URL as s3://bucket/canaries")
        try:
            self.system, self._root = fsspec.core.url_to_fs(self.url)
        except Exception as error:  # each file system has its own
            raise DataError(f"{self.url}: cannot be opened: {error}") from error
        protocol = self.system.protocol
        protocols = protocol if isinstance(protocol, tuple) else (protocol,)
        self.local, self.in_memory = "file" in protocols, "memory" in protocols

    def names(self, folder: str = "", ending: str = ".parquet") -> list[str]:
        """Those in a folder, in order; what is being written is not among them."""
        self.system.invalidate_cache()
        try:
            with self._told(folder or "", "cannot be listed"):
                found = self.system.find(self.full(folder) if folder else self._root)
        except FileNotFoundError:
            return []
        names = [str(one)[len(self._root.rstrip("/")) + 1 :] for one in found]
        return sorted(one for one in names if one.endswith(ending) and not one.rsplit("/", 1)[-1].startswith("."))

    @property
    def anywhere(self) -> str:
        """The URL as it is called from any folder: a worker may be in another one."""
        return str(self._root) if self.local else self.url

    def full(self, name: str) -> str:
        """As the file system calls it."""
        return f"{self._root.rstrip('/')}/{name}"

    def shown(self, name: str) -> str:
        """As the user called it."""
        return f"{self.url.rstrip('/')}/{name}"

    def address(self, name: str) -> str:
        """As others call it, with its protocol; a path where it is a file."""
        return self.full(name) if self.local else str(self.system.unstrip_protocol(self.full(name)))

    def open(self, name: str) -> IO[bytes]:
        """For reading; FileNotFoundError where it is gone."""
        with self._told(name, "cannot be read"):
            return cast("IO[bytes]", self.system.open(self.full(name), "rb"))

    def read(self, name: str) -> bytes:
        """All of it."""
        with self._told(name, "cannot be read"):
            return cast("bytes", self.system.cat_file(self.full(name)))

    def key(self, name: str) -> str | None:
        """Another one once it has been written anew; None where it is gone."""
        self.system.invalidate_cache()
        try:
            return str(self.system.ukey(self.full(name)))
        except FileNotFoundError:
            return None

    def put(self, name: str, content: bytes) -> None:
        """All of it at once: by a rename once it is on the disk, or by one PUT.

        Raises:
            DataError: It could not be written; what stood there stands.
        """
        with self._told(name, "cannot be written", missing=True):
            if self.local:
                _put_file(Path(self.full(name)), content)
            else:
                self.system.pipe_file(self.full(name), content)

    def remove(self, name: str) -> None:
        """Take it away, if it is still there."""
        with suppress(FileNotFoundError), self._told(name, "cannot be removed"):  # else another one was faster
            self.system.rm_file(self.full(name))

    @contextmanager
    def _told(self, name: str, what: str, *, missing: bool = False) -> Iterator[None]:
        """What a file system says, whose errors are its own, as one of ours."""
        try:
            yield
        except Exception as error:
            if isinstance(error, FileNotFoundError) and not missing:
                raise
            raise DataError(f"{self.shown(name)}: {what}: {type(error).__name__}: {error}") from error

    def __getstate__(self) -> dict[str, Any]:
        """Workers open it anew."""
        return {"url": self.url}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open it."""
        self.__init__(state["url"])  # type: ignore[misc]


def _put_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
