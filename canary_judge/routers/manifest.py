"""A manifest file as a store, for GitOps: the weight is edited in the YAML, and no other byte of the file changes.

Comments, order, quotes and further documents stay (`yaml_text`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from canary_judge.errors import Conflict, RouteNotFound, RouterError, RouterUnavailable
from canary_judge.files import put_file
from canary_judge.routers.kubernetes import Ref
from canary_judge.routers.weighted import Operation, patched
from canary_judge.routers.yaml_text import NotInPlace, documents, edited

__all__ = ["ManifestStore"]


class ManifestStore:
    """One or more objects in a YAML file.

    A reference with an empty namespace fits an object of any namespace, and an empty name or kind any name or kind.

    Args:
        path: The file.
    """

    inserts = False  # whether routes can be put between others

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
        try:
            found = [(node, value) for node, value in documents(text) if isinstance(value, dict) and _fits(value, ref)]
        except ValueError as error:
            raise RouterError(f"{self.path}: is no valid YAML: {error}") from error
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
        try:
            new = edited(text, node, operations, after)
        except NotInPlace as error:
            raise RouterError(f"{self.path}: the weight cannot be edited in place: {error}") from error
        try:
            right = self._find(new, ref)[1] == after
        except RouterError:
            right = False
        if not right:
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
