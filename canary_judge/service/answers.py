"""What a caller is told of a run, and by which key it is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from canary_judge.results import Judgement
from canary_judge.series import format_duration
from canary_judge.service.store import CANCELLED, ERRORED, RUNNING, UNDECIDED, Run

__all__ = ["Answer", "answer_of", "is_late", "is_of_now", "is_over", "is_past", "key_of"]

# Without a look that ended well for so many intervals, nothing is known of the present.
_BLIND_AFTER = 3
# A pass says something of now while its data are no older than so many intervals, and as late as they usually are.
_OF_NOW = 2
_NO_MORE = "its planned end is over, and it looks no more: begin another, with `restart: true` or another key"
# Seconds without a question after which a run is over: one that has ended, and any other; and intervals.
_OVER, _DAY, _MANY = 3600.0, 86_400.0, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a caller is told of a run.

    Attributes:
        run: As the database has it now.
        stale: The judgement is not of a look at this moment: the look goes on, or gave no answer.
        blind: Nothing is known of the present: no look ended well for three intervals, or none ever can.
        silent: It is blind for want of data on both sides only.
        why: Why it is stale or blind; empty where it is neither.
        url: The run's page.
    """

    run: Run
    stale: bool
    blind: bool
    why: str
    url: str
    silent: bool = False

    @property
    def judgement(self) -> Judgement | None:
        """The present judgement; None before the first look."""
        return None if self.run.judgement is None else Judgement.from_json(self.run.judgement)

    @property
    def verdict(self) -> str:
        """pass, marginal or fail; marginal where nothing is known of the present."""
        return "marginal" if self.blind or self.run.verdict is None else self.run.verdict

    def summary(self) -> dict[str, Any]:
        """verdict, action, score, sufficient, reason, state, stale, url."""
        known = self.run.summary
        if self.blind or known is None:
            reason = self.why or self.run.error or "no look yet"
            shown: dict[str, Any] = {"verdict": "marginal", "action": "hold", "score": 50.0, "sufficient": False}
        else:
            shown = {name: known[name] for name in ("verdict", "action", "score", "sufficient")}
            reason = f"{known['reason']} ({self.why})" if self.why else known["reason"]
            if self.run.state == UNDECIDED:
                reason += f"; {_NO_MORE}"
        return {**shown, "reason": reason, "state": self.run.state, "stale": self.stale, "url": self.url}


def is_late(run: Run, *, now: float) -> bool:
    """Whether more than an interval has passed since a run could have been looked at."""
    due = run.begun.timestamp() if run.summary is None else run.summary["watermark"]
    return bool(now - max(due, run.looked or 0.0) > 2 * run.interval)


def is_past(old: float, *, interval: float, delay: float) -> bool:
    """Whether a pass at the planned end says nothing of now any more: three intervals later, where data come at once.

    Args:
        old: Seconds since the end of its data.
        interval: Of the run, in seconds.
        delay: By which its source's data are known to be late.
    """
    return old > (_BLIND_AFTER + 1) * interval + delay


def key_of(config: str, *, baseline: Mapping[str, str], canary: Mapping[str, str]) -> str:
    """The key of a run whose caller names none: of the config's name and both versions.

    Examples:
        >>> key_of("shop", baseline={"version": "1"}, canary={"version": "2"})[:9]
        'shop-2c28'
    """
    text = json.dumps([config, sorted(baseline.items()), sorted(canary.items())])
    return f"{config[:100]}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"


def answer_of(
    run: Run, *, now: float, url: str, stale: bool = False, why: str = "", weight: float | None = None
) -> Answer:
    """How a run stands, going by what is kept of it.

    Args:
        run: As it was read just now.
        now: Seconds since the epoch.
        url: Its page.
        stale: A look that was asked for did not end well.
        why: Why not.
        weight: The weight that is in force, where it is known.
    """
    blind = _blind(run, now, weight)
    if blind and run.state == RUNNING and run.length is not None:
        # who waits for its end would wait for ever
        over = now - run.begun.timestamp() - run.length.total_seconds() > _MANY * run.interval
        run = replace(run, state=UNDECIDED) if over else run
    if run.state in (CANCELLED, ERRORED):
        stale, why = False, blind
    elif run.ended and run.verdict != "pass":
        stale, why = False, ""
    elif blind:
        stale, why = True, f"{blind}: {why}" if why else blind
    silent = bool(blind) and not _blind(run, now, weight, of_silence=False)
    return Answer(run=run, stale=stale, blind=bool(blind), silent=silent, why=why, url=url)


def _blind(run: Run, now: float, weight: float | None, *, of_silence: bool = True) -> str:
    """Why nothing is known of the present; empty where something is."""
    if run.state in (CANCELLED, ERRORED):
        return run.error or run.state
    if run.ended and run.verdict != "pass":
        return ""  # it stands
    if run.looked is None or run.summary is None:
        return "no look has ended well yet"
    if run.looked > now + run.interval:
        return "the last look was made at a time that has not come yet; is a clock wrong?"
    age = now - run.looked
    old = now - run.summary["watermark"]
    if weight is not None and weight != run.weight and run.verdict == "pass":  # a regression stands at any weight
        then = "no weight was told" if run.weight is None else f"it was {run.weight:g} %"
        return f"nothing is judged yet at a weight of {weight:g} %: at the last look {then}"
    if run.ended and is_past(old, interval=run.interval, delay=run.summary["delay"]):
        return f"the planned end was {_span(old)} ago, and nothing is known since; plan longer"
    if of_silence and run.summary["silent"] > _BLIND_AFTER:
        return f"neither version has had any data for {run.summary['silent']} intervals"
    if age > _BLIND_AFTER * run.interval:
        return f"no look ended well for {_span(age)}"
    # a source that answers, and has nothing new, is no source that is away for a moment
    gone = run.verdict == "pass" and age <= run.interval
    late = _overdue(run, now)
    if late > (_OF_NOW if gone else _BLIND_AFTER + 1) * run.interval and not run.ended:
        lost = run.summary.get("lost")
        whose = "" if lost is None else f" of the {lost['side']}"
        return f"no data{whose} came for {_span(late)}"
    return ""


def _overdue(run: Run, now: float) -> float:
    """Seconds for which no data of both sides came, beyond how late they were when the last ones came."""
    if run.summary is None:
        return 0.0
    lost = run.summary.get("lost")  # summaries of before do not say
    given_up = 0.0 if lost is None else lost["intervals"] * run.interval
    return float(now - run.summary["watermark"] - run.summary["lag"] + given_up)


def is_of_now(run: Run, *, now: float) -> bool:
    """Whether the newest data of both sides are such that a weight may be raised on them."""
    return _overdue(run, now) <= _OF_NOW * run.interval


def is_over(run: Run, *, now: float, anew: bool) -> bool:
    """Whether who asks with its key means another canary, or the same one without its evidence.

    A run that could not work is tried anew after an interval: its source may take us by now. One that has ended is of
    its key for an hour, and one that nobody asked of for a day.

    Args:
        run: The newest of its key.
        now: Seconds since the epoch.
        anew: A run is to be begun, and not only to be asked of.
    """
    if run.state == ERRORED:
        return now - (run.looked or run.created) >= run.interval
    if anew and run.state != RUNNING:
        return True
    silent = now - max(run.asked, run.looked or 0.0)
    return silent > max(_OVER if run.ended else _DAY, _MANY * run.interval)


def _span(seconds: float) -> str:
    return format_duration(timedelta(seconds=round(seconds)))
