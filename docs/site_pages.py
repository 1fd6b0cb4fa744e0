"""What the site adds to the pages of docs/ while it is built.

The pages are written for GitHub and the editor. Here links that leave docs/ become links to the repository, lists of
pages become tables of contents, and what a program knows better than a page (fields of a config, options of a
command, docstrings) is written out.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import posixpath
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import TypeAdapter

import canary_judge
from canary_judge.__main__ import _parser
from canary_judge.config.model import json_schema
from canary_judge.rollout import RolloutPlan
from canary_judge.series import format_duration

__all__ = ["REPOSITORY", "command_reference", "config_reference", "is_ours", "page", "plain_signature"]

REPOSITORY = "https://github.com/canary-judge/canary-judge"
ROOT = Path(__file__).parents[1]
CONTENTS = ("index", "tutorials", "howto", "reference", "explanation")

_Schema = Mapping[str, Any]


def page(name: str, text: str) -> str:
    """The text of a page as the site shows it."""
    written = {"config": config_reference, "commands": command_reference}
    text = re.sub(r"<!-- the site writes here: (\w+) -->", lambda found: written[found[1]](), text)
    text = re.sub(r"^::: ([\w.]+)$", lambda found: _documented(found[1]), text, flags=re.MULTILINE)
    prose = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)  # every second part is code
    text = "".join(part if at % 2 else _leading_out(name, part) for at, part in enumerate(prose))
    if name in CONTENTS:
        listed = re.findall(r"^- \[[^\]]*\]\(([\w/-]+)\.md\)", text, re.MULTILINE)
        text += "\n```{toctree}\n:hidden:\n\n" + "\n".join(listed) + "\n```\n"
    return text


def _leading_out(name: str, text: str) -> str:
    """Links to what is no page of the site lead to the repository."""
    folder = posixpath.dirname(f"docs/{name}")

    def link(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, found[1]))
        if re.fullmatch(r"docs/(?!examples/).*\.(md|png|svg)", path):
            return found[0]
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"]({REPOSITORY}/{kind}/main/{path}{found[2] or ''})"

    return re.sub(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)]*)?\)", link, text)


# Docstrings


def _documented(name: str) -> str:
    """The directive that writes the docstring of a public name, or of all that a public module offers."""
    module, _, last = name.rpartition(".")
    thing = getattr(importlib.import_module(module), last, None) or importlib.import_module(name)
    lines = _module(name, thing) if inspect.ismodule(thing) else _described(name, thing)
    return "\n".join(["```{eval-rst}", *lines, "```"])


def _module(name: str, module: ModuleType) -> list[str]:
    front = {id(getattr(canary_judge, one)): one for one in canary_judge.__all__}
    there = [one for one in module.__all__ if id(getattr(module, one)) in front]  # described once, at the front door
    lines = [f".. automodule:: {name}", ""]
    if there:
        links = [f":py:obj:`{one} <canary_judge.{front[id(getattr(module, one))]}>`" for one in there]
        lines += [f"At the front door, too: {', '.join(links)}.", ""]
    for one in module.__all__:
        if one not in there:
            lines += [*_described(f"{name}.{one}", getattr(module, one)), ""]
    return lines


def _described(name: str, thing: object) -> list[str]:
    if not inspect.isclass(thing):
        return [f".. {'autofunction' if callable(thing) else 'autodata'}:: {name}"]
    of_pydantic = ":exclude-members: model_config, model_fields, model_computed_fields"
    options = [":members:", ":undoc-members:" if issubclass(thing, Enum) else of_pydantic]
    if issubclass(thing, Exception):  # which `except` takes it, too
        options.append(":show-inheritance:")
    return [f".. autoclass:: {name}", *(f"   {option}" for option in options)]


def plain_signature(signature: str) -> str:
    """A signature as the code has it: `NDArray[float64]`, and nothing of how a value becomes JSON."""
    array = r"~?numpy\.ndarray\[tuple\[~?typing\.Any, \.\.\.\], ~?numpy\.dtype\[(~?numpy\.\w+)\]\]"
    short = re.sub(array, r"NDArray[\1]", signature)
    bare = re.sub(r"~?[\w.]*Annotated\[(~?[\w.]+(?:\[[^\[\]]*\])?), [^\[\]]*\]", r"\1", short)
    return bare.replace("<factory>", "...")


def is_ours(name: str) -> bool:
    """Whether a type of this name, with or without its module, is defined in the library."""
    module, _, last = name.rpartition(".")
    ours = [one for at, one in sys.modules.items() if at.partition(".")[0] == "canary_judge" and module in ("", at)]
    return any(last in vars(one) for one in ours)


# The command line


def command_reference() -> str:
    """`--help` of every command, a section each."""
    return "\n".join(_commands(_parser(), depth=2))


def _commands(parser: argparse.ArgumentParser, *, depth: int) -> Iterator[str]:
    yield f"{'#' * depth} {parser.prog}\n\n```text\n{parser.format_help().rstrip()}\n```\n"
    for action in parser._actions:  # noqa: SLF001  # argparse tells its commands nowhere else
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for command in dict.fromkeys(action.choices.values()):
                yield from _commands(command, depth=min(depth + 1, 4))


# The config


def config_reference() -> str:
    """Every field of a config, from its JSON Schema: type, default, bounds, what it is."""
    schema, plan = json_schema(), RolloutPlan.model_json_schema()
    definitions: Mapping[str, _Schema] = {**schema["$defs"], **plan["$defs"]}
    kinds = [definitions[name.rpartition("/")[2]] for name in _kinds(schema).values()]
    shared = [name for name, field in kinds[0]["properties"].items() if all(_has(kind, name, field) for kind in kinds)]
    parts = [
        "## The whole",
        _table(schema, definitions),
        "## Every metric",
        _table(kinds[0], definitions, only=shared),
    ]
    for name, target in _kinds(schema).items():
        kind = definitions[target.rpartition("/")[2]]
        parts += [f"### kind: {name}", kind["description"], _table(kind, definitions, but=[*shared, "kind"])]
    parts += [
        "## rollout",
        "The stages of a rollout, and what to do when nothing can be told.",
        _table(plan, definitions),
    ]
    objects = [name for name, one in definitions.items() if "properties" in one and one not in kinds]
    for name in objects:
        parts += [f"### {name}", definitions[name].get("description", ""), _table(definitions[name], definitions)]
    return "\n\n".join(parts) + "\n"


def _kinds(schema: _Schema) -> Mapping[str, str]:
    kinds: Mapping[str, str] = schema["properties"]["metrics"]["items"]["discriminator"]["mapping"]
    return kinds


def _has(kind: _Schema, name: str, field: object) -> bool:
    return bool(kind["properties"].get(name) == field)


def _table(
    of: _Schema, definitions: Mapping[str, _Schema], *, only: list[str] | None = None, but: list[str] | None = None
) -> str:
    rows = ["| field | type | default | |", "| --- | --- | --- | --- |"]
    for name, field in of["properties"].items():
        if (only is not None and name not in only) or name in (but or ()):
            continue
        default = "required" if name in of.get("required", ()) else _default(field)
        about = field.get("description") or definitions.get(_target(field), {}).get("description", "")
        cells = [f"`{name}`", _type(field, definitions), default, " ".join(about.split())]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _target(field: _Schema) -> str:
    return str(field.get("$ref", "")).rpartition("/")[2]


_BOUNDS = {
    "exclusiveMinimum": "above {}",
    "minimum": "at least {}",
    "exclusiveMaximum": "below {}",
    "maximum": "at most {}",
}


def _type(field: _Schema, definitions: Mapping[str, _Schema]) -> str:
    """The type of a field in words, with its bounds."""
    for together in ("anyOf", "oneOf"):
        if together in field:
            words = [_type(one, definitions) for one in field[together] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(words))
    if name := _target(field):
        one = definitions[name]
        return _type(one, definitions) if "enum" in one else f"[{name}](#{name.lower()})"
    if "enum" in field or "const" in field:
        return " or ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if "pattern" in field and "examples" in field:
        return f"duration, as {', '.join(f'`{one}`' for one in field['examples'])}"
    if field.get("type") == "array":
        inner = field.get("items", {})
        return (
            "list of [metrics](#every-metric)" if "discriminator" in inner else f"list of {_type(inner, definitions)}"
        )
    if field.get("type") == "object":
        inner = field.get("additionalProperties")
        return f"mapping to {_type(inner, definitions)}" if isinstance(inner, dict) else "mapping"
    word = {"string": "text", "number": "number", "integer": "whole number", "boolean": "true or false"}[field["type"]]
    bounds = [told.format(f"{field[key]:g}") for key, told in _BOUNDS.items() if key in field]
    return ", ".join([word, *bounds])


def _default(field: _Schema) -> str:
    default = field.get("default")
    if default is None or default in ([], {}, ""):
        return "none"
    if isinstance(default, str) and re.fullmatch(r"P\w*T?\w+", default) and "pattern" in str(field):
        default = format_duration(TypeAdapter(timedelta).validate_python(default))
    return f"`{json.dumps(_brief(default), ensure_ascii=False)}`" if not isinstance(default, str) else f"`{default}`"


def _brief(value: object) -> object:
    """A default without what is not set in it; a stage that has nothing but a weight is written as a number."""
    if isinstance(value, list):
        return [_brief(one) for one in value]
    if isinstance(value, dict):
        kept = {key: _brief(one) for key, one in value.items() if one is not None and one is not False}
        return kept["weight"] if kept.keys() == {"weight"} else kept
    return int(value) if isinstance(value, float) and value.is_integer() else value
