"""What callers say: texts that can be kept and shown, labels of versions, and what cannot be followed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.series import format_duration, moment_from
from canary_judge.service.problems import Clash
from canary_judge.service.shown import shown
from canary_judge.service.store import Run
from canary_judge.wording import sides

__all__ = [
    "bounded",
    "fit",
    "labels_of",
    "moment_of",
    "number_of",
    "plain_of",
    "refuse_another",
    "refuse_what_cannot_be",
]

_LONGEST_KEY = 300
_FIRST, _LAST = datetime(1971, 1, 1, tzinfo=UTC), datetime(2199, 1, 1, tzinfo=UTC)
_LONGEST_LABEL = 500
_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def fit(text: object, what: str, longest: int = _LONGEST_KEY) -> str:
    """A text of a caller that can be kept and shown."""
    if not isinstance(text, str) or not text or len(text) > longest or _UNFIT.search(text):
        raise DataError(f"{what} is {shown(text)}; give a text of 1 to {longest} characters in one line")
    return text


def labels_of(given: Mapping[str, str] | None, side: str) -> dict[str, str]:
    """Labels of a side."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise DataError(f"{side} is {shown(given)}; give its labels, as {{'version': '1.5.0'}}")
    for name, value in given.items():
        fit(name, f"a label of the {side}", _LONGEST_LABEL)
        if not isinstance(value, str) or len(value) > _LONGEST_LABEL or _UNFIT.search(value):
            raise DataError(f"{side}.{name} is {shown(value)}; give a text in one line, in quotes")
    return dict(given)


def moment_of(value: object, what: str) -> datetime:
    """A moment with a time zone, of our times."""
    moment = moment_from(value, what)
    try:
        utc = moment.astimezone(UTC)
    except (OverflowError, ValueError):
        utc = None
    if utc is None or not _FIRST < utc < _LAST:
        raise DataError(f"{what} is {moment.isoformat()}; give a time between 1971 and 2199")
    return utc


def bounded(key: str) -> str:
    """A key that fits into its column: the end of a long one is told by its hash."""
    if len(key) <= _LONGEST_KEY:
        return key
    return f"{key[: _LONGEST_KEY - 33]}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def refuse_what_cannot_be(config: JudgeConfig, length: timedelta | None, sources: Mapping[str, Any]) -> None:
    """A label that is missing, a version that is compared with itself, a plan that is too short.

    Args:
        config: With its sides.
        length: Planned length.
        sources: Options of its sources.
    """
    compared = sides(baseline=config.baseline, canary=config.canary)
    remedy = "a version compared with itself passes whatever it is; give the labels of two versions"
    if config.baseline and config.baseline == config.canary:
        raise DataError(f"baseline and canary are both {compared}: {remedy}")
    kinds = {metric.name: sources.get(metric.source, {}).get("type") for metric in config.metrics}
    asked: dict[str, dict[str, list[str]]] = {}
    placed: set[str] = set()
    for query in config.queries():
        asked.setdefault(query.metric, {}).setdefault(query.side.value, []).append(query.expression)
        if "${" in query.template.replace("${interval}", ""):
            placed.add(query.metric)
    for metric, texts in asked.items():
        # of a table or a database both sides may be asked with the same text
        told_apart = kinds[metric] == "prometheus" or metric in placed
        if told_apart and texts["baseline"] == texts["canary"]:
            raise DataError(
                f"metric {metric!r} asks the same of both sides ({compared}), {texts['canary'][0]}: {remedy}"
            )
    if length is not None and length < config.interval:
        raise DataError(
            f"horizon {format_duration(length)} is shorter than one interval ({format_duration(config.interval)}); "
            "give a longer one"
        )


def refuse_another(
    run: Run, config: str, judged: JudgeConfig, *, start: datetime | None, length: timedelta | None
) -> None:
    """Clash where the run of this key is not the one that is asked for."""
    remedy = "use another key, or begin anew with restart: true"
    if config != run.config_name:
        raise Clash(
            f"the run of key {run.key!r} is of config {run.config_name!r} as it was then ({run.config_hash[:12]}), not "
            f"of {config!r}; {remedy}"
        )
    if judged.hash() != run.config_hash:
        raise Clash(
            f"the run of key {run.key!r} is of config {run.config_name!r} as it was then ({run.config_hash[:12]}), not "
            f"of {config!r} as it is now ({judged.hash()[:12]}); {remedy}"
        )
    if (judged.baseline, judged.canary) != (run.baseline, run.canary):
        theirs, ours = (
            sides(baseline=run.baseline, canary=run.canary),
            sides(baseline=judged.baseline, canary=judged.canary),
        )
        raise Clash(f"the run of key {run.key!r} is of {theirs}, not of {ours}; {remedy}")
    if start is not None and abs(start - run.begun) >= judged.interval:
        raise Clash(f"the run of key {run.key!r} began at {run.start}, not at {start.isoformat()}; {remedy}")
    if length is not None and length != run.length:
        planned = "without a planned end" if run.length is None else f"for {format_duration(run.length)}"
        remedy = "give the same `horizon` everywhere, or another `key`; or begin anew, once, with restart: true"
        raise Clash(f"the run of key {run.key!r} was begun {planned}, not for {format_duration(length)}; {remedy}")


def plain_of(config: JudgeConfig) -> dict[str, Any]:
    """The config as plain data, without what may be secret."""
    exclude = {"sources", "router", "baseline", "canary"}
    plain: dict[str, Any] = config.model_dump(mode="json", by_alias=True, exclude=exclude)
    return plain


def number_of(text: str, what: str) -> float:
    """A percentage that was sent as a text, as 5 or 5%; DataError where it is none."""
    try:
        return float(text.strip().removesuffix("%"))
    except ValueError:
        raise DataError(f"{what} is {text!r}; give a percentage between 0 and 100") from None
