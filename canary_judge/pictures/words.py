"""What a picture says in words: the verdict's why, what to do, and of each row what is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from canary_judge.pictures.axis import Place, finite
from canary_judge.pictures.lettering import plain
from canary_judge.pictures.numbers import bound_text, duration, effect_text, level_text, percent, tolerated
from canary_judge.pictures.rows import Folding, State, healthy, state_of
from canary_judge.results import Judgement, MetricResult, Outcome, Role, Scale, Verdict

__all__ = ["action_of", "folded_text", "head_of", "missing", "outcome_word", "second_line", "sides", "when", "why"]

_WORD = {
    Outcome.REGRESSED: "regressed",
    Outcome.DEGRADED: "worse",
    Outcome.SAFE: "safe",
    Outcome.TOLERABLE: "tolerable",
    Outcome.NO_DATA: "no data",
    Outcome.ERROR: "error",
}
_SMALLEST_P = 1e-4
_WITHHELD = "cannot be found safe: "


def outcome_word(metric: MetricResult) -> str:
    """The outcome; what neither is shown nor ruled out is undecided."""
    return _WORD.get(metric.outcome, "undecided")


# --- the headline ------------------------------------------------------------------------------------------------


def head_of(judgement: Judgement) -> tuple[str, State]:
    """The word and its badge. PASS only where nothing in the judgement contradicts it."""
    if judgement.verdict is Verdict.FAIL:
        return "FAIL", State.BAD
    return ("PASS", State.GOOD) if healthy(judgement) else ("HOLD", State.OPEN)


def action_of(judgement: Judgement, folding: Folding) -> str:
    """What to do; waiting mends neither a split nor a query."""
    word = head_of(judgement)[0]
    if word != "HOLD":
        return "advance" if word == "PASS" else "roll back"
    if judgement.traffic is not None and judgement.traffic.finding:
        return "keep the weight, mend the split"
    if _begun(judgement) and any(one.role is Role.GATE and state_of(one) is State.NONE for one in _rows(folding)):
        return "keep the weight, mend the data"
    return "keep the weight, wait"


def _begun(judgement: Judgement) -> bool:
    """Whether there is an interval that is judged."""
    return judgement.look is None or judgement.look.intervals > 0


def _rows(folding: Folding) -> tuple[MetricResult, ...]:
    return (*folding.shown, *folding.folded)


def count(number: int, word: str) -> str:
    """A number of things.

    Examples:
        >>> count(1, "gate"), count(3, "gate")
        ('1 gate', '3 gates')
    """
    return f"{number} {word}{'' if number == 1 else 's'}"


def why(judgement: Judgement, folding: Folding) -> str:
    """Why the verdict is what it is, in about twelve words with a number in them."""
    word = head_of(judgement)[0]
    if word == "FAIL":
        return _why_fail(judgement, folding)
    if word == "PASS":
        return _why_pass(folding)
    return _why_hold(judgement, folding)


def _why_fail(judgement: Judgement, folding: Folding) -> str:
    bad = [one for one in _rows(folding) if one.outcome is Outcome.REGRESSED]
    if not any(one.role.decides for one in bad):
        named = plain(bad[0].name) if bad else "below what a canary needs"
        return f"score {judgement.score:.0f}: {named}{' regressed' if bad else ''}"
    metric, name = bad[0], plain(bad[0].name)
    more = f"; {len(bad) - 1} more regressed" if len(bad) > 1 else ""
    if metric.limit is not None and limit_decided(judgement, metric):
        return f"{name} {_against_the_limit(metric)}{more}"
    at = decided_before(judgement, metric)
    if metric.comparison is None or finite(metric.comparison.margin) is None:
        return f"{name} regressed{at and f', {at}'}{more}"
    if finite(metric.comparison.effect) is None:
        return f"{name}: new events in the canary, none in the baseline{more}"
    return f"{name} {_effect_against(metric)}, {tolerated(metric)} tolerated{at and f', {at}'}{more}"


def _effect_against(metric: MetricResult) -> str:
    effect = effect_text(metric)[0]
    ratio = metric.comparison is not None and metric.comparison.scale is Scale.RATIO
    return f"{effect} the baseline" if ratio else effect


def _against_the_limit(metric: MetricResult) -> str:
    if metric.limit is None:
        return ""
    return f"{level_text(metric.limit.canary, metric)}, limit {level_text(metric.limit.limit, metric)}"


def _why_pass(folding: Folding) -> str:
    rows = _rows(folding)
    gates = sum(one.role is Role.GATE for one in rows)
    guards = sum(one.role is Role.GUARD and state_of(one) is not State.GOOD for one in rows)
    if not gates:
        said = "no gate: nothing has to be shown"
    else:
        of = {1: "the gate", 2: "both gates"}.get(gates, f"all {gates} gates")
        said = f"harm beyond the margin ruled out for {of}"
    return said + (f"; {count(guards, 'guard')} undecided" if guards else "")


def _why_hold(judgement: Judgement, folding: Folding) -> str:
    split, rows = judgement.traffic, _rows(folding)
    if split is not None and split.finding:
        of = "users are" if split.counted == "users" else "traffic is"
        if split.observed is None:
            return f"{of} not split as configured: {plain(split.finding)}"
        return f"{of} not split as configured: {percent(split.observed)} instead of {percent(split.configured)}"
    if not _begun(judgement):
        warm = judgement.look is not None and judgement.look.left_out
        return "nothing judged yet" + (": this is the warm-up" if warm else "")
    gates = [one for one in rows if one.role is Role.GATE]
    undecided = [one for one in gates if state_of(one) in {State.OPEN, State.WORSE}]
    if dead := [one for one in gates if state_of(one) is State.NONE]:
        names = " and ".join(plain(one.name) for one in dead[:2])
        more = f" and {len(dead) - 2} more" if len(dead) > 2 else ""
        return f"no usable data: {names}{more}" + (f"; {len(undecided)} undecided" if undecided else "")
    if judgement.verdict is Verdict.PASS:
        bad = next((one for one in rows if state_of(one) is not State.GOOD), None)
        return f"contradictory: a pass, but {'it' if bad is None else plain(bad.name)} is not shown safe"
    for metric in rows:
        known = metric.comparison is not None and finite(metric.comparison.margin) is not None
        if state_of(metric) is State.WORSE and known:
            return f"{plain(metric.name)} {_effect_against(metric)}: worse, beyond {tolerated(metric)} not yet shown"
    if not undecided:
        others = [one for one in rows if one.role is not Role.GATE and f"{one.name}: {one.reason}" in judgement.reasons]
        if others:
            return f"{plain(others[0].name)} must be known and is {outcome_word(others[0])}"
        return plain(judgement.reasons[0]) if judgement.reasons else "nothing judged yet"
    return f"{len(undecided)} of {count(len(gates), 'gate')} undecided{_slowest(judgement, undecided)}"


def _slowest(judgement: Judgement, undecided: Sequence[MetricResult]) -> str:
    """How long until the last of them; of one that time alone may not decide, that."""
    endless = [one for one in undecided if one.shortfall is not None and _seconds(one) is None]
    if endless:
        return f"; time alone may not decide {plain(endless[0].name)}"
    waits = [seconds for one in undecided if (seconds := _seconds(one)) is not None]
    if not waits:
        return ""
    left = rest_of_plan(judgement)
    late = left is not None and max(waits) > left
    return f"; the slowest needs {duration(max(waits))} more" + (_end_of_plan(left or 0.0) if late else "")


def _seconds(metric: MetricResult) -> float | None:
    return None if metric.shortfall is None else finite(metric.shortfall.seconds)


def rest_of_plan(judgement: Judgement) -> float | None:
    """Seconds to the planned end; None without one."""
    if judgement.look is None or (horizon := finite(judgement.look.horizon_seconds)) is None:
        return None
    return max(0.0, horizon - elapsed(judgement))


def elapsed(judgement: Judgement) -> float:
    """Length of what was judged, in seconds."""
    return max((judgement.end - judgement.start).total_seconds(), 0.0)


def _end_of_plan(left: float) -> str:
    return f", plan ends in {duration(left)}" if left else ", the plan has ended"


# --- a row -------------------------------------------------------------------------------------------------------


def limit_decided(judgement: Judgement, metric: MetricResult) -> bool:
    """Whether it has regressed by its limit, and more clearly than by its margin."""
    check = metric.limit
    if check is None or metric.outcome is not Outcome.REGRESSED or check.p_beyond_limit > judgement.false_alarm_rate:
        return False
    p_margin = None if metric.comparison is None else metric.comparison.p_beyond_margin
    return p_margin is None or check.p_beyond_limit < p_margin


def decided_before(judgement: Judgement, metric: MetricResult) -> str:
    """When harm was shown, where that was at an earlier look and stands since."""
    at = metric.decided_at
    if metric.outcome is not Outcome.REGRESSED or at is None or at >= judgement.end:
        return ""
    shown = _utc(at)
    return f"shown at {shown:%H:%M}" if shown.date() == _utc(judgement.end).date() else f"shown at {shown:%m-%d %H:%M}"


def second_line(judgement: Judgement, metric: MetricResult, place: Place | None) -> tuple[Sequence[str], bool]:
    """The words under a row's numbers, the best first if there is room for it, and whether they tell of a lack.

    Where the bar says something else than the outcome, they say why.
    """
    state = state_of(metric)
    if state is State.NONE:
        return (plain(metric.reason),), True
    if state in {State.OPEN, State.WORSE}:
        lead = "worse; " if state is State.WORSE else ""
        return tuple(lead + text for text in missing(judgement, metric, place)), True
    comparison = metric.comparison
    if metric.outcome is Outcome.REGRESSED:
        if limit_decided(judgement, metric):
            return (_against_the_limit(metric),), False
        if at := decided_before(judgement, metric):
            return (at,), False
        if place is not None and not place.shows_harm:
            p = None if comparison is None else finite(comparison.p_harm)
            return (f"any harm fails{'' if p is None else f': {_p(p)}'}",), False
    elif place is not None and not place.rules_out_harm:
        p = finite(metric.p_within)
        return ("harm is ruled out" + ("" if p is None else f": {_p(p)}"),), False
    if comparison is None:
        return ("" if metric.limit is None else f"limit {level_text(metric.limit.limit, metric)}",), False
    events, of = finite(comparison.events_canary), finite(comparison.n_canary)
    if events is not None and of is not None:
        return (f"{events:,.0f} of {of:,.0f}",), False
    if finite(comparison.baseline) is None or finite(comparison.canary) is None:
        return ("",), False
    return (f"{level_text(comparison.baseline, metric)} \u2192 {level_text(comparison.canary, metric)}",), False


def _p(value: float) -> str:
    """A p-value without an exponent."""
    return "p < 0.0001" if value < _SMALLEST_P else f"p = {value:.2g}"


def missing(judgement: Judgement, metric: MetricResult, place: Place | None) -> tuple[str, ...]:
    """What an undecided metric needs, from the longest wording to the shortest."""
    need, reason = metric.shortfall, plain(metric.reason)
    if need is None:
        return (_without_shortfall(judgement, metric, place, reason),)
    seconds, left = finite(need.seconds), rest_of_plan(judgement)
    if seconds is None:
        if _WITHHELD in reason:
            return (reason.partition(_WITHHELD)[2],)
        return plain(need.text), plain(need.text).partition(";")[0]
    weight = finite(need.weight_percent)
    share = "" if not weight else f", or {percent(weight / 100)} of traffic"
    time = f"{duration(seconds)} more"
    if left is not None and seconds > left:
        ends = _end_of_plan(left)
        short = ", plan too short" if left else ", plan over"
        longest = (time + ends + share, time + short + share) if share else ()
        return (*longest, time + ends, time + short)
    return (time + share, time) if share else (time,)


def _without_shortfall(judgement: Judgement, metric: MetricResult, place: Place | None, reason: str) -> str:
    comparison, rate = metric.comparison, finite(judgement.false_pass_rate)
    if _WITHHELD in reason:
        return reason.partition(_WITHHELD)[2]
    if place is not None and place.rules_out_harm and metric.limit is not None:
        return f"limit {level_text(metric.limit.limit, metric)}: not ruled out yet"
    if place is not None and (place.rules_out_harm or place.shows_harm):
        return reason or "not decided"
    if comparison is None:
        return reason or "not compared yet"
    if comparison.interval == (None, None) and metric.deciding in {None, (None, None)}:
        return "too little to bound the effect yet"
    p = finite(metric.p_within)
    if p is not None and rate is not None and rate < p < 0.5:
        return f"not shown yet: {_p(p)}, needs {rate:g}"
    left = rest_of_plan(judgement)
    return f"planned end decides in {duration(left)}" if left else (reason or "not shown")


# --- around it ---------------------------------------------------------------------------------------------------


def folded_text(folding: Folding) -> str:
    """What is folded, counted."""
    rest = [one for one in folding.folded if not any(one is two for two in folding.unsafe)]
    if all(state_of(one) is State.GOOD for one in rest):
        return f"and {len(rest)} more: all safe or tolerable"
    counted: dict[tuple[str, str], int] = {}
    for metric in rest:
        key = metric.role.value, outcome_word(metric)
        counted[key] = counted.get(key, 0) + 1
    parts = (f"{count(number, role)} {word}" for (role, word), number in counted.items())
    return f"and {len(rest)} more: {', '.join(parts)}"


def sides(judgement: Judgement) -> str:
    """Which versions are compared."""

    def side(labels: dict[str, str]) -> str:
        return " ".join(plain(value) for value in labels.values())

    canary = f"{plain(judgement.name)} {side(judgement.canary)}".strip()
    return canary + (f" against {side(judgement.baseline)}" if judgement.baseline else "")


def when(judgement: Judgement) -> str:
    """The judged window."""
    start, end = _utc(judgement.start), _utc(judgement.end)
    return f"{start:%Y-%m-%d %H:%M} to {end:{'%H:%M' if start.date() == end.date() else '%m-%d %H:%M'}} UTC"


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is None else moment.astimezone(UTC)


def progress(judgement: Judgement) -> tuple[str, float | None]:
    """How far the run is, and the share of its plan; None without a plan."""
    done = elapsed(judgement)
    if judgement.look is None:
        return f"one look over {duration(done)}", None
    horizon = finite(judgement.look.horizon_seconds)
    if not horizon:
        return f"look {judgement.look.number:,}, {duration(done)}, no planned end", None
    units = ((86400.0, "days"), (3600.0, "h"), (60.0, "min"))
    size, unit = next(((size, unit) for size, unit in units if horizon >= 3 * size), (1.0, "s"))
    return f"{math.floor(done / size + 1e-9):,} of {math.ceil(horizon / size - 1e-9):,} {unit}", min(done / horizon, 1)


def traffic(judgement: Judgement) -> tuple[str, bool]:
    """The split of the traffic, and whether it is broken."""
    split = judgement.traffic
    if split is None:
        return "traffic split not checked", False
    of = "users" if split.counted == "users" else "traffic"
    if split.observed is None:
        return f"split of {of} not known, {percent(split.configured)} set", bool(split.finding)
    return f"canary gets {percent(split.observed)} of {of}, {percent(split.configured)} set", bool(split.finding)


def described(judgement: Judgement, rows: Sequence[tuple[MetricResult, Place | None]]) -> str:
    """Every row as a sentence, the folded ones too."""
    lines = []
    for metric, place in rows:
        effect, interval = effect_text(metric)
        known = f"{effect}{f' ({interval})' if interval else ''}" if effect else ""
        bound = bound_text(metric)
        parts = [f"tolerated {bound}" if bound else "nothing is tolerated or limited"]
        said = ", ".join([*([known] if known else []), *parts])
        words = second_line(judgement, metric, place)[0][0]
        lines.append(
            f"{plain(metric.name)} ({metric.role.value}): {outcome_word(metric)}; {said}; {words}".rstrip("; ")
        )
    return ". ".join(lines)
