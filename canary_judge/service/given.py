"""What callers say: texts that can be kept and shown, labels of versions, and what cannot be followed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.series import format_duration
from canary_judge.service.problems import Clash
from canary_judge.service.store import Run
from canary_judge.untrusted import printable
from canary_judge.wording import sides

__all__ = ["fit", "labels_of", "refuse_another", "refuse_what_cannot_be", "shown"]

_LONGEST_KEY = 300
_LONGEST_LABEL = 500
_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def fit(text: object, what: str, longest: int = _LONGEST_KEY) -> str:
    """A text of a caller that can be kept and shown."""
    if not isinstance(text, str) or not text or len(text) > longest or _UNFIT.search(text):
        raise DataError(f"{what} is {shown(text)}; give a text of 1 to {longest} characters in one line")
    return text


def shown(value: object) -> str:
    """A value of a caller for a message: one line, not long."""
    text = printable(repr(value))
    return text if len(text) <= 80 else f"{text[:77]}..."


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


def refuse_what_cannot_be(config: JudgeConfig, length: timedelta | None) -> None:
    """A label that is missing, a version that is compared with itself, a plan that is too short."""
    if config.baseline and config.baseline == config.canary:
        raise DataError(
            f"baseline and canary are both {sides(baseline=config.baseline, canary=config.canary)}: a version "
            "compared with itself passes whatever it is; give the labels of two versions"
        )
    for _ in config.queries():
        pass
    if length is not None and length < config.interval:
        raise DataError(
            f"horizon {format_duration(length)} is shorter than one interval ({format_duration(config.interval)}); "
            "give a longer one"
        )


def refuse_another(run: Run, judged: JudgeConfig, start: datetime | None, length: timedelta | None) -> None:
    """Clash where the run of this key is not the one that is asked for."""
    remedy = "use another key, or begin anew with restart: true"
    if judged.hash() != run.config_hash:
        raise Clash(
            f"the run of key {run.key!r} is of config {run.config_name!r} as it was then ({run.config_hash[:12]}), not "
            f"of {judged.name!r} as it is now ({judged.hash()[:12]}); {remedy}"
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
        raise Clash(f"the run of key {run.key!r} is planned {planned}, not for {format_duration(length)}; {remedy}")
