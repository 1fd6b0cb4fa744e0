"""Bodies of HTTP answers, of which none takes longer than it may: a server that drips bytes has no end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from canary_judge.errors import QueryError

if TYPE_CHECKING:
    import requests

__all__ = ["TooMuchError", "read_until"]

_LARGEST = 1 << 30


class TooMuchError(QueryError):
    """The server cannot answer so much at once: less may do."""


def read_until(response: requests.Response, until: float) -> bytes:
    """The body, read piece by piece, so that a server that drips bytes cannot outlast the deadline."""
    raw = response.raw
    read = getattr(raw, "read1", raw.read)
    pieces, size = [], 0
    with response:
        try:
            while piece := read(65536, decode_content=True):
                pieces.append(piece)
                size += len(piece)
                if size > _LARGEST:
                    raise TooMuchError(f"its answer is larger than {_LARGEST >> 20:,} MiB; ask for less at once")
                if time.monotonic() > until:
                    raise TimeoutError
        except Exception as error:
            if "timed out" in str(error).lower():
                raise TimeoutError from error
            if isinstance(error, TimeoutError | TooMuchError):
                raise
            import requests  # is there, for there is an answer

            raise requests.exceptions.ConnectionError(str(error)) from error
    return b"".join(pieces)
