"""A judgement as JSON and as a DataFrame."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import TYPE_CHECKING, Any

from canary_judge.results import Judgement

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import TypeAdapter

__all__ = ["from_json", "to_frame", "to_json"]


@cache
def _adapter() -> TypeAdapter[Judgement]:
    from pydantic import TypeAdapter  # the fields of a judgement need none

    return TypeAdapter(Judgement)


def to_json(judgement: Judgement, *, indent: int | None = None) -> str:
    """The judgement as JSON; ends of intervals without bound are null.

    Raises:
        ValueError: A number is not finite: a bug, for it would not survive.
    """
    data = _adapter().dump_python(judgement, mode="json")
    return json.dumps(data, indent=indent, allow_nan=False, ensure_ascii=False)


def from_json(text: str | bytes) -> Judgement:
    """The judgement that `to_json` wrote.

    Raises:
        ValueError: It is no judgement, has a number that is none (NaN, infinity), or a moment without a time zone.
    """
    found = _adapter().validate_json(text)
    if wrong := _not_finite(json.loads(text), "judgement"):
        raise ValueError(f"{wrong} is not finite; a judgement writes null where there is no number")
    moments = {"start": found.start, "end": found.end}
    moments |= {f"metrics.{one.name}.decided_at": one.decided_at for one in found.metrics if one.decided_at is not None}
    for name, moment in moments.items():
        if moment.tzinfo is None:
            raise ValueError(
                f"{name} is {moment.isoformat()}, which has no time zone; write it as 2026-01-31T12:00:00Z"
            )
    return found


def _not_finite(value: object, place: str) -> str | None:
    """Where a number is none; Python's JSON reads NaN, Infinity and 1e999."""
    if isinstance(value, float):
        return None if math.isfinite(value) else place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return next((wrong for key, one in inner if (wrong := _not_finite(one, f"{place}.{key}"))), None)


def to_frame(judgement: Judgement) -> pd.DataFrame:
    """One row per metric; evidence, limit, shortfall and quality as prefixed columns."""
    import pandas as pd  # only where a frame is asked for

    data = _adapter().dump_python(judgement, mode="json")
    rows = []
    for metric in data["metrics"]:
        row: dict[str, Any] = {}
        for key, value in metric.items():
            if key == "warnings":
                row[key] = "; ".join(value)
            elif isinstance(value, dict):
                row |= {f"{key}_{name}": inner for name, inner in value.items() if name != "interval"}
                if "interval" in value:
                    row["interval_low"], row["interval_high"] = value["interval"]
            elif key == "deciding":
                row["deciding_low"], row["deciding_high"] = value or (None, None)
            elif key not in {"comparison", "limit", "shortfall", "quality"}:
                row[key] = value
        rows.append({name.removeprefix("comparison_"): _cell(name, value) for name, value in row.items()})
    return pd.DataFrame(rows).set_index("name")


def _cell(column: str, value: Any) -> Any:
    """A text that a spreadsheet would take for a formula, in quotes; a margin as +0.1pp is none."""
    formula = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if formula and column != "margin" else value
