"""Values inside YAML text: where they stand, and the text in which only they are others. Pure.

PyYAML tells where each value begins and ends. Comments, order, quotes and everything else stay, byte by byte; where an
alias ties two places together, the place that changes (or the ones that do not) is written out.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from canary_judge.safe_yaml import check_bounds, plain_loader

__all__ = ["NotInPlace", "documents", "edited"]

_Edit = tuple[int, int, str]
_Path = tuple[str, ...]
_MERGE = "<<"
_ALIAS = re.compile(r"\s*\*[^\s,\[\]{}]+")


class NotInPlace(ValueError):
    """The text cannot be edited there."""


def documents(text: str) -> list[tuple[Any, Any]]:
    """The node and the value of each document; in the values nothing is shared, whatever aliases say.

    Raises:
        ValueError: It is no YAML, nested too deep, or its aliases grow beyond all measure.
    """
    import yaml

    check_bounds(text)
    try:
        values = [_unshared(value) for value in yaml.load_all(text, _loader())]
        return list(zip(yaml.compose_all(text, _loader()), values, strict=True))
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


@cache
def _loader() -> Any:
    """A safe loader to which a tag of somebody's own, as CloudFormation's `!Ref name`, is a part of the text."""

    class Loader(plain_loader()):  # type: ignore[misc]
        pass

    def tagged(loader: Any, suffix: str, node: Any) -> Any:
        if isinstance(node.value, str):
            return f"!{suffix} {node.value}"
        build = loader.construct_mapping if node.id == "mapping" else loader.construct_sequence
        return build(node, deep=True)

    Loader.add_multi_constructor("!", tagged)
    return Loader


def _unshared(value: Any) -> Any:
    """A copy in which an alias is a value of its own."""
    if isinstance(value, dict):
        return {key: _unshared(one) for key, one in value.items()}
    return [_unshared(one) for one in value] if isinstance(value, list) else value


def edited(text: str, node: Any, operations: Iterable[Mapping[str, Any]], after: Any) -> str:
    """The text with the values that a JSON Patch replaces or adds.

    Args:
        text: YAML.
        node: Of the document that is meant.
        operations: Of a JSON Patch; tests are passed over.
        after: The document's value after the patch.

    Raises:
        NotInPlace: A value is not where the patch says.
    """
    paths = [(one, _parts(one["path"])) for one in operations if one["op"] != "test"]
    aliases = _aliases(text, node)
    # a value that is added is not there yet; one that is replaced may itself have other places that are tied to it
    changed = {id(step) for one, path in paths for step in _along(node, path if one["op"] == "replace" else path[:-1])}
    edits: list[_Edit] = []
    tied = {place: at for place, (target, at) in aliases.items() if id(target) in changed or _holds(target, changed)}
    for place, (start, end) in tied.items():
        if not any(place[: len(other)] == other for other in tied if other != place):
            if _MERGE in place:
                raise NotInPlace("a merge key (`<<`) stands for what would change; write it out")
            if _has_tag(aliases[place][0]):
                raise NotInPlace("an alias stands for values with tags of their own; write it out")
            edits.append((start, end, f" {json.dumps(_value(after, place), ensure_ascii=False)}"))
    edits += [
        edit
        for one, path in paths
        if not any(path[: len(place)] == place for place in tied)
        for edit in _edits(text, node, path, one)
    ]
    for start, end, replacement in sorted(set(edits), reverse=True):
        text = text[:start] + replacement + text[end:]
    return text


def _parts(pointer: str) -> _Path:
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def _children(node: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, key (None in lists) and node of each child."""
    if not isinstance(node.value, list):
        return
    for position, child in enumerate(node.value):
        if isinstance(child, tuple):
            yield str(child[0].value), child[0], child[1]
        else:
            yield str(position), None, child


def _along(node: Any, path: _Path) -> Iterator[Any]:
    """The nodes on the way, the last one included."""
    for part in path:
        node = _child(node, part)
        yield node


def _child(node: Any, part: str) -> Any:
    for name, _, child in _children(node):
        if name == part:
            return child
    raise NotInPlace(f"there is no {part!r} where it is expected (behind an anchor?); write it out")


def _holds(node: Any, wanted: set[int]) -> bool:
    return any(id(child) in wanted or _holds(child, wanted) for _, _, child in _children(node))


def _has_tag(node: Any) -> bool:
    return node.tag.startswith("!") or any(_has_tag(child) for _, _, child in _children(node))


def _aliases(text: str, root: Any) -> dict[_Path, tuple[Any, tuple[int, int]]]:
    """The places at which an alias stands: its node, and where its text is."""
    found: dict[_Path, tuple[Any, tuple[int, int]]] = {}
    seen: set[int] = set()

    def walk(node: Any, path: _Path) -> None:
        before = node.start_mark.index
        for name, key, child in _children(node):
            begins = before if key is None else key.end_mark.index
            if child.start_mark.index < begins and id(child) in seen:
                at = text.find("*", begins)
                match = _ALIAS.match(text, at if key is None else begins + 1)
                if match is not None:
                    found[*path, name] = child, match.span()
                before = match.end() if match is not None else before
                continue
            seen.add(id(child))
            walk(child, (*path, name))
            before = child.end_mark.index

    walk(root, ())
    return found


def _value(whole: Any, path: _Path) -> Any:
    for part in path:
        whole = whole[int(part)] if isinstance(whole, list) else whole[part]
    return whole


def _edits(text: str, node: Any, path: _Path, operation: Mapping[str, Any]) -> list[_Edit]:
    """Which characters to replace by what."""
    value, last = operation["value"], path[-1]
    for part in path[:-1]:
        node = _child(node, part)
    there = any(name == last for name, _, _ in _children(node))
    if operation["op"] == "replace" or there:  # what is null is there, and has no value
        old = _child(node, last)
        if not hasattr(old, "style"):
            raise NotInPlace(f"{last!r} is a list or a mapping, where a single value belongs")
        if old.style in ("|", ">"):
            return _in_block(text, old, value)
        begin, end = old.start_mark.index, old.end_mark.index
        return [(begin, end, (" " if begin == end else "") + _scalar(value, old.style))]
    if not node.value:
        raise NotInPlace(f"there is nothing beside which {last!r} could be written")
    if node.flow_style:
        at = node.value[-1][1].end_mark.index
        return [(at, at, f", {_scalar(last, _quoted(node))}: {_scalar(value, None)}")]
    first_key, (_, last_value) = node.value[0][0], node.value[-1]
    ending = "\r\n" if "\r\n" in text else "\n"
    # the end of the last value's line, a comment behind it included
    end = _end_of(last_value)
    at = text.find("\n", end)
    at = len(text) if at < 0 else at
    if at > 0 and text[at - 1] == "\r":
        at -= 1
    return [(at, at, f"{ending}{' ' * first_key.start_mark.column}{last}: {_scalar(value, None)}")]


def _quoted(node: Any) -> str:
    """The quotes of the keys beside it; JSON has double ones."""
    return node.value[0][0].style or "plain"


def _end_of(node: Any) -> int:
    """Where the text of a value ends; block collections claim the blank lines behind them too."""
    children = getattr(node, "value", None)
    if isinstance(children, list) and children and not node.flow_style:
        last = children[-1]
        return _end_of(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _scalar(value: Any, style: str | None) -> str:
    """A value in YAML, in the quotes of the old one."""
    if not isinstance(value, str):
        return json.dumps(value)
    if style == "plain":
        return value
    return "'" + value.replace("'", "''") + "'" if style in (None, "", "'") else json.dumps(value, ensure_ascii=False)


def _in_block(text: str, node: Any, value: str) -> list[_Edit]:
    """The characters that change inside of a block scalar; its lines stay."""
    places = _places(text, node)
    old = node.value
    edits = []
    for kind, i, j, k, m in difflib.SequenceMatcher(None, old, value, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        inside = places[i:j]
        start = places[i] if i < len(places) else -1
        if start < 0 or inside != list(range(start, start + j - i)):  # at the end, or over the end of a line
            raise NotInPlace("the lines of the block would change; write the value in one line")
        edits.append((start, start + len(inside), value[k:m]))
    return edits


def _places(text: str, node: Any) -> Sequence[int]:
    """Where each character of a block scalar stands in the text."""
    begin = text.index("\n", node.start_mark.index) + 1
    lines, at, indent = [], begin, None
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        line = text[at:end].rstrip("\r")
        width = len(line) - len(line.lstrip(" "))
        if line.strip():
            indent = width if indent is None else indent
            if width < indent:
                break
        lines.append((at, line))
        at = end + 1
    while lines and not lines[-1][1].strip():
        lines.pop()
    found: list[int] = []
    for number, (start, line) in enumerate(lines):
        inner = range(start + (indent or 0), start + len(line))
        if number:
            found.append(lines[number - 1][0] + len(lines[number - 1][1]))  # the end of the line before, or its fold
        found += inner
    said = "".join(text[place] for place in found)
    told = node.value.rstrip("\n")
    if len(said) != len(told) or any(
        a != b and (a, b) not in (("\n", " "), ("\r", " "), ("\r", "\n")) for a, b in zip(said, told, strict=True)
    ):
        raise NotInPlace("its block scalar is folded in a way that hides where its values stand; write it in one line")
    return found
