"""A manifest file as a store, for GitOps: the weight is edited in the YAML, and no other byte of the file changes.

PyYAML tells where each value stands in the text; only those places are rewritten, so that comments, order, quotes and
further documents stay.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from canary_judge.errors import Conflict, RouteNotFound, RouterError, RouterUnavailable
from canary_judge.files import put_file
from canary_judge.routers.kubernetes import Ref, patched
from canary_judge.routers.weighted import Operation

__all__ = ["ManifestStore"]


class ManifestStore:
    """One or more objects in a YAML file.

    A reference with an empty namespace fits an object of any namespace, and an empty name or kind any name or kind.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def _read(self) -> str:
        try:
            # newline="" keeps the file's own line ends
            with self.path.open(encoding="utf-8", newline="") as file:
                return file.read()
        except FileNotFoundError as error:
            raise RouteNotFound(f"{self.path}: there is no such manifest") from error
        except (OSError, UnicodeDecodeError) as error:
            raise RouterUnavailable(f"{self.path}: cannot be read: {error}") from error

    def _find(self, text: str, ref: Ref) -> tuple[Any, dict[str, Any]]:
        """The node and the value of the one object that is meant."""
        import yaml

        found = []
        try:
            for node, value in zip(yaml.compose_all(text, yaml.SafeLoader), yaml.safe_load_all(text), strict=True):
                if isinstance(value, dict) and _fits(value, ref):
                    found.append((node, value))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise RouterError(f"{self.path}: is no valid YAML: {' '.join(str(error).split())}") from error
        if len(found) != 1:
            how = "does not hold" if not found else f"holds {len(found)} objects that fit"
            raise RouteNotFound(
                f"{self.path}: {how} {ref} of {ref.api_version}; give apiVersion, kind, namespace, name of one there"
            )
        return found[0]

    def get(self, ref: Ref) -> dict[str, Any]:
        """The object as it stands in the file."""
        return self._find(self._read(), ref)[1]

    def patch_json(self, ref: Ref, operations: list[Operation]) -> dict[str, Any]:
        """Rewrite the values that the patch names, and nothing else."""
        text = self._read()
        node, value = self._find(text, ref)
        after = patched(value, operations)
        edits = [_edit(text, node, operation) for operation in operations if operation["op"] != "test"]
        new = text
        for start, end, replacement in sorted(edits, reverse=True):
            new = new[:start] + replacement + new[end:]
        try:
            edited = self._find(new, ref)[1] == after
        except RouterError:
            edited = False
        if not edited:
            raise RouterError(
                f"{self.path}: the weight cannot be edited in place (anchors or merges?); write it out in the file"
            )
        self._write(text, new)
        return after

    def replace(self, ref: Ref, obj: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Not offered: it would rewrite the file."""
        raise RouterError(f"{self.path}: {ref} is changed by patches only, so that the rest of the file stays")

    def _write(self, before: str, after: str) -> None:
        def unchanged() -> None:
            if self._read() != before:
                raise Conflict(f"{self.path}: was changed while it was edited")

        try:
            put_file(self.path, after, check=unchanged)
        except OSError as error:
            raise RouterUnavailable(f"{self.path}: cannot be written: {error}") from error


def _fits(value: Mapping[str, Any], ref: Ref) -> bool:
    metadata = value.get("metadata") or {}
    group = ref.api_version.rpartition("/")[0]
    return (
        isinstance(metadata, Mapping)
        and (not ref.kind or value.get("kind") == ref.kind)
        and (not group or str(value.get("apiVersion", "")).rpartition("/")[0] == group)
        and (not ref.name or metadata.get("name") == ref.name)
        and (not ref.namespace or metadata.get("namespace", ref.namespace) == ref.namespace)
    )


def _edit(text: str, node: Any, operation: Operation) -> tuple[int, int, str]:
    """Which characters to replace by what."""
    *path, last = (part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:])
    for part in path:
        node = _child(node, part)
    value = operation["value"]
    if operation["op"] == "replace":
        old = _child(node, last)
        return old.start_mark.index, old.end_mark.index, _scalar(value, old.style)
    if node.flow_style:
        at = node.value[-1][1].end_mark.index
        return at, at, f", {last}: {_scalar(value, None)}"
    first_key, (_, last_value) = node.value[0][0], node.value[-1]
    ending = "\r\n" if "\r\n" in text else "\n"
    # the end of the last value's line, a comment behind it included
    end = _end_of(last_value)
    at = text.find("\n", end)
    at = len(text) if at < 0 else at
    if at > 0 and text[at - 1] == "\r":
        at -= 1
    return at, at, f"{ending}{' ' * first_key.start_mark.column}{last}: {_scalar(value, None)}"


def _end_of(node: Any) -> int:
    """Where the text of a value ends; block collections claim the blank lines behind them too."""
    children = getattr(node, "value", None)
    if isinstance(children, list) and children and not node.flow_style:
        last = children[-1]
        return _end_of(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _child(node: Any, part: str) -> Any:
    if isinstance(node.value, list) and node.value and isinstance(node.value[0], tuple):
        for key, value in node.value:
            if key.value == part:
                return value
    elif isinstance(node.value, list) and part.isdigit() and int(part) < len(node.value):
        return node.value[int(part)]
    raise RouterError(f"the manifest has no {part!r} where it is expected (behind an anchor?); write it out")


def _scalar(value: Any, style: str | None) -> str:
    """A value in YAML, in the quotes of the old one."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'" if style in (None, "'") else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)
