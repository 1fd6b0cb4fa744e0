"""What the models call: one function that stands for HTTP, and its answer."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple


def _refuse(token: str) -> Any:
    raise ValueError(f"{token} is no JSON: Go and Jackson refuse it")


class Answer(NamedTuple):
    status: int
    text: str

    @property
    def json(self) -> Any:
        """The body, read as strictly as Go and Jackson do: ValueError for NaN and Infinity."""
        return json.loads(self.text, parse_constant=_refuse)


# api(method, path, *, json=None, params=None, headers=None); OSError is a service that cannot be reached
Api = Callable[..., Answer]
