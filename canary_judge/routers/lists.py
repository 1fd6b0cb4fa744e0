"""Lists of weighted destinations inside plain objects: what a kind needs to find and read its own."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from canary_judge.errors import RouterError
from canary_judge.routers.weighted import Destination, Object, Target

__all__ = [
    "Listed",
    "Named",
    "Pointer",
    "below",
    "destinations_of",
    "each_list",
    "keys_of",
    "lower_keys",
    "lower_names",
    "mappings",
    "pinned_by",
    "place_of",
    "quantity",
]

Pointer = tuple[str | int, ...]
# a position, a route, and the pointer of its destinations with these
Listed = tuple[int, Mapping[str, Any], Pointer, Sequence[Mapping[str, Any]]]


def quantity(value: Any, default: float) -> float | None:
    """A weight; SMI v1alpha1 has quantities, where 500m is a half. None of what is no weight."""
    if value is None:
        return default
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value[:-1]) / 1000 if isinstance(value, str) and value.endswith("m") else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number < math.inf else None


def below(value: Any, *keys: str) -> Any:
    """The value below these keys, or None."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def mappings(value: Any, what: str) -> list[Mapping[str, Any]]:
    """A list of mappings, as the schema of the object has it; none where there is none.

    Raises:
        RouterError: It is something else.
    """
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(one, Mapping) for one in value):
        return value
    shown = repr(value)
    raise RouterError(f"{what} is {shown[:60]}{'...' if len(shown) > 60 else ''}, where a list of mappings belongs")


def lower_keys(value: Any) -> set[str]:
    """Keys of a mapping, lower case; none of anything else."""
    return {str(key).lower() for key in value} if isinstance(value, Mapping) else set()


def lower_names(items: Any) -> set[str]:
    """Names of the headers in a list of matches, lower case."""
    found = items if isinstance(items, list | set | tuple) else ()
    return {str(below(item, "name") or "").lower() for item in found if isinstance(item, Mapping)}


def pinned_by(headers: set[str], others: bool = False) -> Literal["cookie", "header", ""]:  # noqa: FBT001, FBT002
    """What of a request decides, by the names of the headers that are matched; `others`: something else is, too."""
    if "cookie" in headers:
        return "cookie"
    return "header" if headers - {""} or others else ""


@dataclass(frozen=True, slots=True)
class Named:
    """How a kind names its destinations; a name in another namespace is another destination."""

    key: str = "name"
    namespaced: bool = False
    target: Target = field(default_factory=lambda: Target(stable="", canary=""))

    def side(self, obj: Object, item: Mapping[str, Any]) -> Literal["stable", "canary", ""]:
        """Whose a destination of the object is."""
        own = below(obj, "metadata", "namespace")
        if self.namespaced and item.get("namespace", own) != own:
            return ""
        if item.get("kind", "Service") not in ("Service", "TraefikService"):
            return ""
        name = below(item, *keys_of(self.key))
        return "stable" if name == self.target.stable else "canary" if name == self.target.canary else ""


def destinations_of(
    listed: Sequence[Mapping[str, Any]],
    side: Callable[[Mapping[str, Any]], Literal["stable", "canary", ""]],
    *,
    default: float,
    weight: str = "weight",
) -> tuple[Destination, ...]:
    """A list of destinations, read; one without a weight has the default."""
    found = []
    for item in listed:
        value = item.get(weight)
        number = quantity(value, default)
        odd = f"a destination has the weight {value!r}, which is no weight; write a number from 0 on"
        found.append(
            Destination(
                side=side(item),
                weight=0.0 if number is None else number,
                written=value is not None,
                odd=odd if number is None else "",
            )
        )
    return tuple(found)


def each_list(obj: Object, path: str) -> Iterator[Listed]:
    """Every list of destinations at a path: `spec.http[].route` is the `route` of each item of the list `spec.http`.

    A dot that belongs to a key is written with a backslash. A path without `[]` has one list, and no route around it.

    Raises:
        RouterError: Something else stands where a list of mappings belongs.

    Examples:
        >>> obj = {"spec": {"to": [{"rules": [{"refs": [{"name": "app"}]}]}, {"rules": [{}]}]}}
        >>> [(pointer, found) for _, _, pointer, found in each_list(obj, "spec.to[].rules[].refs")]
        [(('spec', 'to', 0, 'rules', 0, 'refs'), [{'name': 'app'}]), (('spec', 'to', 1, 'rules', 0, 'refs'), [])]
    """
    *outer, last = (keys_of(part) for part in path.split("[]."))
    for position, (pointer, item) in enumerate(_items(obj, outer)):
        there = (*pointer, *last)
        yield position, item if outer else {}, there, mappings(below(item, *last), _told(there))


def _items(obj: Object, outer: Sequence[tuple[str, ...]]) -> Iterator[tuple[Pointer, Mapping[str, Any]]]:
    found: list[tuple[Pointer, Mapping[str, Any]]] = [((), obj)]
    for keys in outer:
        found = [
            ((*pointer, *keys, index), one)
            for pointer, item in found
            for index, one in enumerate(mappings(below(item, *keys), _told((*pointer, *keys))))
        ]
    yield from found


def keys_of(path: str) -> tuple[str, ...]:
    r"""The keys of a dotted path; `a\\.b` is one key with a dot."""
    return tuple(part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", path))


def place_of(pointer: Pointer) -> int | str:
    """A route's position in its list, or `2.0` in lists within lists."""
    indexes = [part for part in pointer if isinstance(part, int)]
    return indexes[0] if len(indexes) == 1 else ".".join(map(str, indexes)) or 0


def _told(pointer: Pointer) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in pointer)[1:]
