"""Comments put into the text of a config, beside what they speak of; every other byte stays. Pure.

PyYAML tells where each value ends; the text with its comments must say exactly what it said before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from canary_judge.errors import ConfigError
from canary_judge.safe_yaml import check_bounds, config_loader
from canary_judge.untrusted import printable

__all__ = ["noted"]

# What ends a line in YAML 1.1, which PyYAML reads.
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")


def noted(text: str, notes: Mapping[tuple[str, ...], str], *, by: str) -> tuple[str, dict[tuple[str, ...], str]]:
    r"""The text with a comment `[by: note]` after each of these values, in place of the one of last time.

    Args:
        text: A config as YAML.
        notes: By the keys that lead to a value; an entry of a list is named by its `name`.
        by: Whose comments they are.

    Returns:
        The text, and of the notes that could not be put anywhere, why.

    Raises:
        ConfigError: It is no YAML.

    Examples:
        >>> text = "metrics:\n- name: errors\n  margin: 1.5x  # agreed\n"
        >>> print(noted(text, {("metrics", "errors", "margin"): "shown in 9 of 10 windows"}, by="calibrate")[0])
        metrics:
        - name: errors
          margin: 1.5x  # agreed [calibrate: shown in 9 of 10 windows]
        <BLANKLINE>
    """
    import yaml

    try:
        check_bounds(text)
        meant = yaml.load(text, config_loader())  # noqa: S506  (a safe one)
        root = yaml.compose(text, config_loader()) or yaml.compose("{}", config_loader())
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"the config is no YAML: {' '.join(str(error).split())}") from error
    places, left, lines = {}, {}, set()
    for path in notes:
        try:
            end = _end(root, path, text)
            line = len(_BREAK.findall(text, 0, end))
            if line in lines:
                raise LookupError("another value with a comment stands in its line")
        except LookupError as error:
            left[path] = str(error)
        else:
            places[path] = end
            lines.add(line)
    for path, end in sorted(places.items(), key=lambda one: -one[1]):  # from the end: what comes before stays in place
        for changed in _with_note(text, end, f"[{by}: {_comment(notes[path])}]", by):
            if _meaning(changed) == meant:
                text = changed
                break
        else:
            left[path] = "a comment there would be a part of the value"
    return text, left


def _meaning(text: str) -> object:
    """What a YAML text says; None of what is none."""
    import yaml

    try:
        return yaml.load(text, config_loader())  # noqa: S506  (a safe one)
    except (yaml.YAMLError, ValueError):
        return None


def _end(root: Any, path: tuple[str, ...], text: str) -> int:
    """Where the value ends.

    Raises:
        LookupError: There is no such value, or it stands for several.
    """
    node = root
    for key in path:
        node = _children(node).get(key)
        if node is None:
            raise LookupError(f"the file has no {key!r} of its own there")
    if node.id != "scalar":
        raise LookupError(f"{path[-1]!r} is no single value")
    if sum(1 for one in _scalars(root) if one is node) > 1:
        raise LookupError("it is one value for several, by an alias")
    if "\n" in text[node.start_mark.index : node.end_mark.index]:
        raise LookupError("its value takes several lines")
    return int(node.end_mark.index)


def _children(node: Any) -> dict[str, Any]:
    if node.id == "mapping":
        return {key.value: value for key, value in node.value if key.id == "scalar"}
    found: dict[str, Any] = {}
    for entry in node.value if node.id == "sequence" else ():
        own = _children(entry) if entry.id == "mapping" else {}
        if "name" in own and own["name"].id == "scalar":
            found[own["name"].value] = entry
    return found


def _scalars(node: Any) -> list[Any]:
    """All of them, one that stands at several places several times (bounded by `check_bounds`)."""
    if node.id == "scalar":
        return [node]
    parts = [part for pair in node.value for part in pair] if node.id == "mapping" else node.value
    return [one for part in parts for one in _scalars(part)]


def _comment(note: str) -> str:
    """One line that no bracket ends early."""
    return printable(" ".join(note.split())).replace("[", "(").replace("]", ")")


def _with_note(text: str, end: int, note: str, by: str) -> tuple[str, str]:
    """The text with the note at the end of the line: in the comment that may be there, or in one of its own."""
    after = _BREAK.search(text, end)
    stop = len(text) if after is None else after.start()
    line = text[:end] + re.sub(rf" ?\[{re.escape(by)}: [^\]\n]*\]", "", text[end:stop])
    apart = " " if re.search(r"(^|\s)#", line[end:]) else "  # "
    return f"{line}{apart}{note}{text[stop:]}", f"{line}  # {note}{text[stop:]}"
