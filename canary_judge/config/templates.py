"""Label values into queries, escaped for the place in which they stand."""

from __future__ import annotations

import re
from collections.abc import Mapping

from canary_judge.config.reading import nearest

__all__ = ["placeholders", "render"]


def render(template: str, labels: Mapping[str, str]) -> str:
    r"""Put label values into a query, escaped for PromQL where they stand.

    Inside a quoted string, quotes and backslashes are escaped; in the string of `=~` or `!~` the characters that mean
    something in a regular expression too; outside of strings a value must be a plain name or duration.

    Raises:
        ValueError: A name is undefined, or a value cannot stand where it is asked for.

    Examples:
        >>> print(render('up{version="${v}"}', {"v": 'a"b'}))
        up{version="a\"b"}
        >>> print(render('up{pod=~"${v}-.+"}', {"v": "web.1"}))
        up{pod=~"web\\.1-.+"}
    """
    result: list[str] = []
    quote, regex, position = "", False, 0
    while position < len(template):
        character = template[position]
        if template.startswith("${", position):
            end = template.find("}", position)
            if end < 0:
                raise ValueError(f"`${{` at character {position + 1} of {template!r} is not closed with `}}`")
            name = template[position + 2 : end]
            result.append(_escaped(name, labels, quote, regex=regex))
            position = end + 1
            continue
        if quote:
            if character == "\\" and quote != "`":
                result.append(template[position : position + 2])
                position += 2
                continue
            if character == quote:
                quote = ""
        elif character == "#":  # a comment; its apostrophes are no quotes
            end = template.find("\n", position)
            end = len(template) if end < 0 else end
            result.append(template[position:end])
            position = end
            continue
        elif character in "\"'`":
            quote, regex = character, bool(re.search(r"[=!]~\s*$", template[:position]))
        result.append(character)
        position += 1
    return "".join(result)


def placeholders(template: str) -> set[str]:
    """The names that a text asks for.

    Examples:
        >>> sorted(placeholders('up{version="${version}"}[${interval}]'))
        ['interval', 'version']
    """
    return set(re.findall(r"\$\{(\w+)", template))


def _escaped(name: str, labels: Mapping[str, str], quote: str, *, regex: bool) -> str:
    if name.startswith("env:"):
        raise ValueError(f"`${{{name}}}` is allowed under `sources` only, so that no secret enters a query")
    if name not in labels:
        raise ValueError(
            f"`${{{name}}}` is not defined; the labels of this side are {sorted(set(labels) - {'interval'})}"
            f"{nearest(name, labels)}"
        )
    value = labels[name]
    if not value:
        raise ValueError(f"`${{{name}}}` is empty, which would select every series without it; give it a value")
    if not quote:
        if not re.fullmatch(r"[\w:]+", value):
            raise ValueError(f"`${{{name}}}` is {value!r}, which cannot stand outside of quotes; quote it")
        return value
    if regex:
        value = re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", value)
    if quote == "`":
        if "`" in value:
            raise ValueError(f"`${{{name}}}` is {value!r}, which cannot stand in backquotes; use double quotes")
        return value
    return value.replace("\\", "\\\\").replace(quote, "\\" + quote).replace("\n", "\\n")
