"""The grammar of margins and limits: numbers with units, percent, factors, percentage points. A text is read once."""

from __future__ import annotations

import math
import re
from functools import lru_cache

from canary_judge.results import Harm
from canary_judge.stats.margins import Margin, wider_share

__all__ = ["MARGIN_HELP", "TIME", "is_margin", "read_limit", "read_margin", "wider_margin"]

# In seconds.
TIME = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "seconds": 1.0,
    "milliseconds": 1e-3,
}
_SIZE = {
    "B": 1.0,
    "kB": 1e3,
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "KiB": 2.0**10,
    "MiB": 2.0**20,
    "GiB": 2.0**30,
    "bytes": 1.0,
}
# A change by so many times is no margin.
_EVERYTHING = 1000.0
_NUMBER = r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_PART = re.compile(rf"(?:(?P<relative>\+?{_NUMBER}%|{_NUMBER}x)|\+(?P<absolute>{_NUMBER})\s*(?P<unit>[^\s\d]*))")
_LIMIT = re.compile(rf"(?P<number>-?{_NUMBER})\s*(?P<unit>[^\s\d]*)")

MARGIN_HELP = "write it as 10%, 1.5x, +20ms, +0.1pp, +0.1, or two of them as in 1.5x or +0.1pp"


def is_margin(text: object) -> bool:
    """Whether a margin is written so: one part, or two joined by `or`."""
    parts = text.split(" or ") if isinstance(text, str) else []
    return 1 <= len(parts) <= 2 and all(_PART.fullmatch(part.strip()) for part in parts)


def wider_margin(text: str, factor: float, *, harm: Harm) -> str:
    """The margin, so many times as wide, as a user would write it.

    Examples:
        >>> wider_margin("1.5x or +0.1pp", 2, harm=Harm.INCREASE), wider_margin("60%", 2, harm=Harm.DECREASE)
        ('100% or +0.2pp', '84%')
    """
    parts = []
    for part in text.split(" or "):
        found = _PART.fullmatch(part.strip())
        if found is None:
            raise ValueError(f"margin {text!r}: {MARGIN_HELP}")
        if found["relative"] is None:
            parts.append(f"+{float(found['absolute']) * factor:g}{found['unit']}")
            continue
        whole = found["relative"]
        share = abs(float(whole[:-1]) - 1) if whole.endswith("x") else float(whole.strip("+%")) / 100
        parts.append(f"{100 * wider_share(share, factor, rises=harm is Harm.INCREASE):g}%")
    return " or ".join(parts)


@lru_cache(maxsize=4096)
def read_margin(text: str, *, harm: Harm, unit: str, share: bool) -> Margin:
    """The margin in the metric's own unit.

    Args:
        text: As a user writes it; `is_margin`.
        harm: The harmful direction.
        unit: Unit of the metric.
        share: The metric is a share of a total, and absolute parts are percentage points.

    Raises:
        ValueError: The parts do not fit the metric.

    Examples:
        >>> read_margin("1.5x or +0.1pp", harm=Harm.INCREASE, unit="", share=True)
        Margin(relative=0.5, absolute=0.001)
        >>> read_margin("+20ms", harm=Harm.INCREASE, unit="s", share=False)
        Margin(relative=None, absolute=0.02)
    """
    relative = absolute = None
    for part in text.split(" or "):
        found = _PART.fullmatch(part.strip())
        if found is None:
            raise ValueError(f"{text!r} is no margin; {MARGIN_HELP}")
        if written := found["relative"]:
            if share and written.startswith("+") and written.endswith("%"):
                number = written[1:-1]
                raise ValueError(
                    f"margin {part.strip()!r} of a share can be read two ways: write {number}% for {number} % of the "
                    f"baseline's share, or +{number}pp for {number} percentage points more"
                )
            if relative is not None:
                raise ValueError(f"margin {text!r} has two relative parts; give one relative, one absolute")
            relative = _relative(written, harm)
        else:
            if absolute is not None:
                raise ValueError(f"margin {text!r} has two absolute parts; give one relative, one absolute")
            number = float(found["absolute"])
            absolute = _points(number, found["unit"]) if share else _amount(number, found["unit"], unit, "margin")
    if (share and absolute is not None and absolute >= 1) or (relative is not None and relative >= _EVERYTHING):
        raise ValueError(f"margin {text!r} tolerates everything; give what would still be borne")
    try:
        return Margin(relative=relative, absolute=absolute)
    except ValueError as error:
        raise ValueError(f"margin {text!r}: {error}; {MARGIN_HELP}") from error


@lru_cache(maxsize=4096)
def read_limit(text: str, *, unit: str, share: bool) -> float:
    """The limit in the metric's own unit.

    Raises:
        ValueError: It is no number with a unit that fits.

    Examples:
        >>> read_limit("5%", unit="", share=True), read_limit("300ms", unit="s", share=False)
        (0.05, 0.3)
    """
    found = _LIMIT.fullmatch(text.strip())
    if not found:
        raise ValueError(f"limit {text!r} is no number with a unit; write it as 5%, 300ms or 12")
    number = float(found["number"])
    limit = _percent(number, found["unit"]) if share else _amount(number, found["unit"], unit, "limit")
    if not math.isfinite(limit):
        raise ValueError(f"limit {text!r} is not finite")
    return limit


def _relative(text: str, harm: Harm) -> float:
    number = float(text.strip("+%x"))
    if text.endswith("%"):
        if harm is Harm.DECREASE and number >= 100:
            raise ValueError(
                f"margin {text} of a metric that must not decrease tolerates everything; use less than 100%"
            )
        return number / 100
    if harm is Harm.EITHER:
        raise ValueError(f"margin {text} has one direction but `harm: either` two; write a percentage")
    if harm is Harm.INCREASE and number <= 1:
        raise ValueError(f"margin {text} tolerates no increase; write more than 1x, as in 1.5x, or a percentage")
    if harm is Harm.DECREASE and not 0 < number < 1:
        raise ValueError(f"margin {text} tolerates no decrease; write less than 1x, as in 0.9x, or a percentage")
    return round(abs(number - 1), 12)


def _points(number: float, unit: str) -> float:
    if unit != "pp":
        raise ValueError(f"margin +{number:g}{unit} of a share must be in percentage points, as in +0.1pp")
    return number / 100


def _percent(number: float, unit: str) -> float:
    if unit != "%":
        raise ValueError(f"limit {number:g}{unit} of a share must be a percentage, as in 5%")
    return number / 100


def _amount(number: float, unit: str, own: str, what: str) -> float:
    if unit == "pp":
        raise ValueError(
            f"{what} +{number:g}pp is for shares (kinds ratio and latency); give {what} in the unit of the metric"
        )
    if not unit:
        return number
    if not own:
        raise ValueError(f"{what} has the unit {unit!r} but the metric has none; set `unit:` to the unit of its values")
    for units in (TIME, _SIZE):
        if unit in units and own in units:
            return number * units[unit] / units[own]
    if unit == own:
        return number
    raise ValueError(f"{what} is in {unit!r} but the metric in {own!r}; these cannot be converted")
