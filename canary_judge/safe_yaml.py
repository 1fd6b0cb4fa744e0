"""YAML from anybody: bounds before a parser recurses, and the scalars of YAML 1.2.

PyYAML's parsers recurse over nested collections (in C past the end of the stack), and an alias costs a few bytes
whatever it stands for. The events of a document come one by one, so both are counted before anything is built.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

__all__ = ["DEEPEST", "MOST_VALUES", "check_bounds", "config_loader", "plain_loader"]

DEEPEST = 100
MOST_VALUES = 1_000_000

_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


@cache
def plain_loader() -> Any:
    """PyYAML's safe loader, in C where it is there: ten times as fast."""
    import yaml  # what is configured in Python needs none

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def config_loader() -> Any:
    """A safe loader whose scalars are those of YAML 1.2: `no`, `on`, `1:30`, +5 and dates are text, 0100 is a hundred.

    References:
        YAML 1.2.2, section 10.3 (core schema).
    """
    import yaml

    class Loader(plain_loader()):  # type: ignore[misc]
        yaml_implicit_resolvers = {  # noqa: RUF012  (as PyYAML has it)
            first: [(tag, pattern) for tag, pattern in known if tag.rpartition(":")[2] in ("null", "merge")]
            for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    def integer(loader: Any, node: Any) -> int:
        text = loader.construct_scalar(node)
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)

    def number(loader: Any, node: Any) -> float:
        text = loader.construct_scalar(node).lower()
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))

    for tag, pattern, first in (
        ("bool", _BOOL, "tTfF"),
        # with a plus sign it is text: the margin +0.05 is not 0.05
        ("int", _INT, "-0123456789"),
        ("float", _FLOAT, "-.0123456789"),
    ):
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern.pattern})$"), list(first))
    Loader.add_constructor("tag:yaml.org,2002:int", integer)
    Loader.add_constructor("tag:yaml.org,2002:float", number)
    return Loader


def check_bounds(text: str) -> None:
    r"""Refuse what is nested too deep, or grows without measure.

    Raises:
        ValueError: It is, or it is no YAML; with the line.

    Examples:
        >>> check_bounds("a: &x [1, 2]\nb: *x")
        >>> check_bounds("[" * 101)
        Traceback (most recent call last):
        ...
        ValueError: line 1: is nested more than 100 deep
    """
    import yaml

    sizes: dict[str, int] = {}
    open_: list[tuple[str | None, int]] = [(None, 0)]  # anchor and size of each collection around
    total = 0

    def grown(size: int, line: int) -> None:
        nonlocal total
        anchor, before = open_[-1]
        open_[-1] = anchor, before + size
        total += size if len(open_) == 1 else 0
        if max(total, before + size) > MOST_VALUES:
            raise ValueError(f"line {line}: its aliases make more than {MOST_VALUES:,} values of it")

    try:
        for event in yaml.parse(text, plain_loader()):
            line = event.start_mark.line + 1 if event.start_mark is not None else 0
            if isinstance(event, yaml.CollectionStartEvent):
                open_.append((event.anchor, 1))
                if len(open_) > DEEPEST + 1:
                    raise ValueError(f"line {line}: is nested more than {DEEPEST} deep")
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, size = open_.pop()
                if anchor is not None:
                    sizes[anchor] = size
                grown(size, line)
            elif isinstance(event, yaml.AliasEvent):
                grown(sizes.get(event.anchor or "", 1), line)
            elif isinstance(event, yaml.ScalarEvent):
                if event.anchor is not None:
                    sizes[event.anchor] = 1
                grown(1, line)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(_told(error)) from error


def _told(error: Exception) -> str:
    """What a parser says in one line; newer ones have a bound of their own on nesting, and read ahead of the events."""
    text = " ".join(str(error).split())
    deep = isinstance(error, RecursionError) or "maximum nesting" in text
    return f"is nested more than {DEEPEST} deep" if deep else text
