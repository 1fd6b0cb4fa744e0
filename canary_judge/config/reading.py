"""From text to models: YAML that hides nothing; one explanation of a wrong key: path, value, remedy, nearest key."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from canary_judge.errors import ConfigError
from canary_judge.safe_yaml import DEEPEST, MOST_VALUES, check_bounds, config_loader

__all__ = ["explain", "nearest", "read_options", "read_yaml"]

_Model = TypeVar("_Model", bound=BaseModel)
# How pydantic names the member of a union, which the user did not write.
_TAGS = {"gauge", "ratio", "rate", "samples", "latency", "mean", "str", "SideQueries", "PresetOptions"}
_LONGEST_SHOWN = 80
# Half of a character, which JSON may have and no text may.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


# Of metrics; the discriminator's own message shows them as Python does, and not where there is none.
_KINDS = ("gauge", "ratio", "rate", "samples", "latency", "mean")


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint at the known name that is nearest to a word, or nothing.

    Examples:
        >>> nearest("margn", ["margin", "limit"]), nearest("x", ["margin"])
        ("; did you mean 'margin'?", '')
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def read_yaml(text: str, name: str) -> object:
    """Plain data from YAML or JSON text.

    Raises:
        ConfigError: It is neither, a key is given twice or is no text, or it is nested too deep; with the line.
    """
    if (found := _read_json(text)) is not None:
        return found
    import yaml  # a config in Python or JSON needs none

    class Loader(config_loader()):  # type: ignore[misc]
        """Refuses a key that is given twice; plain YAML keeps the last one silently."""

    def mapping(loader: Any, node: Any) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = loader.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise ConfigError(f"{name}: line {line}: key {key!r} is no text; put it in quotes")
            if key in seen:
                raise ConfigError(f"{name}: line {line}: key {key!r} is given twice; remove one")
            seen.add(key)
        loader.flatten_mapping(node)
        return {loader.construct_object(k, deep=True): loader.construct_object(v, deep=True) for k, v in node.value}

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        check_bounds(text)
        return yaml.load(text, Loader=Loader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{name}: is no valid YAML or JSON: {' '.join(str(error).split())}") from error


def _read_json(text: str) -> dict[str, Any] | None:
    """A mapping that is JSON beyond doubt; None is for YAML, which is slower and says what is wrong where."""
    if not text.lstrip().startswith("{") or len(text) > MOST_VALUES or _SURROGATE.search(text):
        return None

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key is given twice")
        return found

    def refused(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    try:
        found: dict[str, Any] = json.loads(text, object_pairs_hook=mapping, parse_constant=refused)
    except (ValueError, RecursionError):
        return None
    level: list[Any] = [found]
    for _ in range(DEEPEST):
        level = [child for one in level for child in _children(one)]
        if not level:
            return found
    return None


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def read_options(model: type[_Model], options: Mapping[str, Any]) -> _Model:
    """Validate the options of a router or a source.

    Raises:
        ConfigError: The key, what is wrong with it, the nearest key, and the keys there are. No value is shown: it may
            be a secret.
    """
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        known = list(model.model_fields)
        lines = list(explain(error, options, known=known, secret=lambda _: True))
        # a misspelt key explains the missing one
        first = next((line for line in lines if "unknown key" in line), lines[0])
        raise ConfigError(f"{first}; the keys are type, {', '.join(known)}") from None


def explain(
    error: ValidationError,
    data: object,
    *,
    known: Iterable[str],
    secret: Callable[[list[Any]], bool] = lambda _: False,
    see: str = "",
) -> Iterator[str]:
    """One line per problem: path, metric, what is wrong, remedy.

    Args:
        error: What pydantic says.
        data: What was read.
        known: The keys there are, for a hint at the nearest one.
        secret: Whether the value at a path must not be shown.
        see: Where all keys are listed, for the message of an unknown one.
    """
    for problem in error.errors(include_url=False):
        path: list[Any] = []
        value: Any = data
        for item in problem["loc"]:
            inside = item in value if isinstance(value, Mapping) else isinstance(value, list | tuple)
            if not inside and item in _TAGS:
                continue
            path.append(item)
            at = isinstance(value, Mapping) or (isinstance(item, int) and isinstance(value, list | tuple))
            value = value[item] if inside and at and (not isinstance(item, int) or item < len(value)) else None
        place = re.sub(r"\.(\d+)", r"[\1]", ".".join(map(str, path))) or "the config"
        message = _message(problem, path, known, see, hidden=secret(path))
        yield f"{place}{_metric_name(data, path)}: {message}"


def _shown(value: object) -> str:
    """A wrong value; of a section in the wrong place, which may hold secrets, only what it is."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple) and any(isinstance(one, Mapping | list | tuple) for one in value):
        return "a list of mappings or lists"
    shown = repr(value)
    return shown if len(shown) <= _LONGEST_SHOWN else shown[: _LONGEST_SHOWN - 3] + "..."


def _metric_name(data: Any, path: list[Any]) -> str:
    try:
        return f" ({data['metrics'][path[1]]['name']})" if path[0] == "metrics" else ""
    except (IndexError, KeyError, TypeError):
        return ""


def _message(problem: Any, path: list[Any], known: Iterable[str], see: str, *, hidden: bool) -> str:
    kind, told = problem["type"], str(problem["msg"])
    if kind == "extra_forbidden":
        key, keys = str(path[-1]), tuple(known)
        return f"is a key of another kind of metric{see}" if key in keys else f"unknown key{nearest(key, keys)}{see}"
    if kind == "missing":
        return f"is missing; {_remedy(str(path[-1]))}"
    if kind in ("value_error", "assertion_error"):
        whole = problem.get("input")
        return told.removeprefix("Value error, ").replace(repr(whole), _shown(whole))
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        meant = nearest(str(problem.get("ctx", {}).get("tag", "")), _KINDS)
        return f"`kind` must be one of {', '.join(_KINDS)}{meant}"
    told = f"{told[0].lower()}{told[1:]}"
    if hidden:
        return f"is of the wrong kind; {told}"
    shown = _shown(problem.get("input"))
    if kind == "string_type" and not isinstance(problem.get("input"), Mapping | list):
        return f"is {shown}, which is no text; put quotes around it as you wrote it"
    return f"is {shown}; {told}"


def _remedy(key: str) -> str:
    return {
        "harm": "say which direction hurts: increase, decrease or either",
        "interval": "give the length of one interval, as in 15s",
        "name": "give it a name",
    }.get(key, "add it")
