"""Options of routers: one clear line about what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from canary_judge.config.templates import nearest
from canary_judge.errors import ConfigError

__all__ = ["read_options"]

_Model = TypeVar("_Model", bound=BaseModel)


def read_options(model: type[_Model], options: Mapping[str, Any]) -> _Model:
    """Validate a router's options; ConfigError names the key, what is wrong, and the keys there are."""
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        # a misspelt key explains the missing one
        problems = error.errors(include_input=False, include_url=False)
        first = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
        place = ".".join(map(str, first["loc"]))
        known = ", ".join(model.model_fields)
        hint = nearest(place, model.model_fields) if first["type"] == "extra_forbidden" else ""
        message = first["msg"][0].lower() + first["msg"][1:]
        raise ConfigError(f"{place}: {message}{hint}; the keys are type, {known}") from None
