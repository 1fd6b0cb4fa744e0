"""A backtest in words: rates as what they can be, never as what they may be."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from canary_judge.history.backtesting import Backtest, Case
from canary_judge.history.judges import Decision
from canary_judge.results import Verdict
from canary_judge.stats.multiplicity import holm
from canary_judge.stats.trials import (
    FEWEST_DISCORDANT,
    clopper_pearson,
    effective_number,
    mcnemar,
    restricted_difference,
    tango,
)
from canary_judge.untrusted import printable
from canary_judge.wording import wait

__all__ = ["Pair", "Rate", "compared", "explained", "is_worse", "rate"]

# Of a class of which more was ended by somebody, one number would say nothing.
_MOST_CUT = 0.2


_MOST_SHOWN = 10
# Of reasons for no decision, which are one where only their numbers differ; and of one of them.
_MOST_REASONS, _LONGEST = 3, 300
_NUMBERS = re.compile(r"\d[\d,.]*(e-?\d+)?")
# Of so many of their number, canaries are as good as independent.
_WORTH = 0.95
_LEVEL = 0.05
_CANNOT = (
    "what the users of a canary would have suffered that somebody ended; faults that never happened; that the next "
    "quarter is like the last; whether a label is true; a rate below one in as many canaries as there are"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How often a judge failed (or passed) canaries of a class: as bounds, for some were ended before it had decided.

    Attributes:
        found: Canaries that it failed; or passed.
        cut: Canaries that somebody ended before it had decided.
        unsure: Canaries that ran out without a decision.
        total: All of them.
        worth: How many independent ones they are worth: those of a service and a week share their luck.
        low: Lower end of the interval (95 %) of the lowest rate that it may have.
        high: Upper end of the interval of the highest one.
    """

    found: int
    cut: int
    unsure: int
    total: int
    worth: float
    low: float
    high: float

    def __str__(self) -> str:
        """As it is printed."""
        if not self.total:
            return "none to judge"
        cut = f", {self.cut} cut" if self.cut else ""
        worth = f", worth {self.worth:.0f}" if self.worth < _WORTH * self.total else ""
        return f"{self.found} of {self.total}{cut}{worth} ({_percent(self.low)} to {_percent(self.high)} %)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two judges on the same canaries of a class.

    Attributes:
        only_first: Canaries that the first alone failed; or passed.
        only_second: The same of the second.
        total: All that both could be compared on: neither was cut.
        p: Exact p-value (McNemar) of "both fail as many", of as many canaries as they are worth; None where they differ
            on too few to tell.
        interval: Of the difference of their rates, first less second (Tango, 95 %), of as many.
    """

    only_first: int
    only_second: int
    total: int
    p: float | None
    interval: tuple[float, float] | None


def rate(found: Backtest, judge: int, label: str, *, verdict: Verdict = Verdict.FAIL) -> Rate:
    """How often a judge failed, or passed, the canaries of a label.

    Args:
        found: The backtest.
        judge: Its number.
        label: healthy or bad.
        verdict: What is counted.
    """
    cases = [case for case in found.cases if case.label == label]
    failed = [case.decisions[judge].verdict is verdict for case in cases]
    undecided = [case.decisions[judge].verdict is Verdict.MARGINAL for case in cases]
    cut = [one and case.cut for one, case in zip(undecided, cases, strict=True)]
    if not cases:
        return Rate(found=0, cut=0, unsure=0, total=0, worth=0.0, low=0.0, high=1.0)
    ends, worths = [], []
    for hits in (failed, [one or other for one, other in zip(failed, cut, strict=True)]):
        scores = _scores(found, judge, cases) or [float(hit) for hit in hits]
        # of those that share a deployment of the baseline, or a week, whatever leaves fewer
        worth = min(effective_number(hits, scores, _shared(cases, by), declared=0.01) for by in ("week", "deployment"))
        worths.append(worth)
        ends.append(clopper_pearson(sum(hits) / len(hits) * worth, worth))
    return Rate(
        found=sum(failed),
        cut=sum(cut),
        unsure=sum(undecided) - sum(cut),
        total=len(cases),
        worth=min(worths),
        low=ends[0][0],
        high=ends[1][1],
    )


def _shared(cases: Sequence[Case], by: str) -> list[str]:
    """What canaries share their luck by; one that does not say its deployment shares none."""
    return [getattr(case, by) or case.id for case in cases]


def _scores(found: Backtest, judge: int, cases: Sequence[Case]) -> list[float]:
    """By which canaries of a week are known to be alike: the judge's own, else those of the first that has any."""
    for number in (judge, *range(len(found.judges))):
        scores = [score for case in cases if (score := case.decisions[number].score) is not None]
        if len(scores) == len(cases):
            return scores
    return []


def compared(found: Backtest, first: int, second: int, label: str, *, verdict: Verdict = Verdict.FAIL) -> Pair:
    """Two judges on the canaries of a label on which neither was cut: how many each failed, or passed."""
    cases = [case for case in found.cases if case.label == label]
    both = [case for case in cases if not (_cut(case, first) or _cut(case, second))]
    fails = [tuple(case.decisions[judge].verdict is verdict for judge in (first, second)) for case in both]
    one, other = sum(a and not b for a, b in fails), sum(b and not a for a, b in fails)
    # canaries that share their luck count for as many as they are worth
    shares = [
        found_rate.worth / found_rate.total
        for found_rate in (rate(found, j, label, verdict=verdict) for j in (first, second))
        if found_rate.total
    ]
    share = min(shares, default=1.0)
    worth = [math.floor(count * share + 1e-9) for count in (one, other, len(both))]
    enough = worth[0] + worth[1] >= FEWEST_DISCORDANT
    return Pair(
        only_first=one,
        only_second=other,
        total=len(both),
        p=mcnemar(worth[0], worth[1]) if enough else None,
        interval=tango(worth[0], worth[1], worth[2]) if enough else None,
    )


# What judges are compared on: the label, the verdict, and whether more of it is better.
_COMPARISONS = (("healthy", Verdict.FAIL, False), ("bad", Verdict.FAIL, True), ("bad", Verdict.PASS, False))


def is_worse(found: Backtest) -> bool:
    """Whether the first judge is shown (5 % of the healthy, 5 % of the bad, exact) to be worse than the second.

    It fails more of the healthy, or fewer of the bad, or passes more of the bad.
    """
    return any(sign < 0 for _, _, sign in _shown(found, 1))


def _shown(found: Backtest, other: int) -> list[tuple[str, Verdict, int]]:
    """In what the first judge is shown to be better (1) or worse (-1) than another."""
    shown = []
    for label, verdict, good in _COMPARISONS:
        pair = compared(found, 0, other, label, verdict=verdict)
        differ = pair.only_first - pair.only_second
        if pair.p is not None and differ and _adjusted(found, other, label, verdict) < _LEVEL:
            shown.append((label, verdict, 1 if (differ > 0) is good else -1))
    return shown


def _fails(case: Case, judge: int) -> bool:
    return case.decisions[judge].verdict is Verdict.FAIL


def _cut(case: Case, judge: int) -> bool:
    return case.cut and case.decisions[judge].verdict is Verdict.MARGINAL


# --- words -----------------------------------------------------------------------------------------------------------


def explained(found: Backtest) -> str:
    """The backtest in words."""
    lines = [_head(found), ""]
    if not found.cases:
        return "\n".join([*lines, *(f"  {one.id}: {printable(one.reason)}" for one in found.skipped[:_MOST_SHOWN])])
    lines += _table(found)
    lines += ["", *(_beside(found, number) for number in range(len(found.judges)))]
    for other in range(1, len(found.judges)):
        lines += _pair(found, other)
    for number in range(len(found.judges)):
        lines += _alarms(found, number)
    lines += _undecided(found)
    lines += _notes(found)
    return "\n".join(lines)


def _head(found: Backtest) -> str:
    cases = found.cases
    if not cases:
        return f"no canary could be judged; {len(found.skipped)} were left out"
    services = len({case.name for case in cases})
    first, last = cases[0].start, max(case.start for case in cases)
    labels = [f"{sum(case.label == label for case in cases)} {label}" for label in ("healthy", "bad", "unknown")]
    return (
        f"{_number(len(cases), 'canary', 'canaries')} of {_number(services, 'service', 'services')}, "
        f"{first:%d %b %Y} to {last:%d %b %Y}: {', '.join(labels)}"
    )


def _number(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _table(found: Backtest) -> list[str]:
    labelled = [case for case in found.cases if case.label == "bad"] or found.cases
    # of one that was cut nobody knows when it would have been found
    timed = [case for case in labelled if not case.cut]
    of = "the bad" if labelled is not found.cases else "all"
    of += " not cut" if len(timed) < len(labelled) else ""
    rows = [
        [
            "judge",
            "healthy: failed",
            "passed",
            "bad: failed",
            "passed",
            f"failed after, mean of {of}",
            "canary requests until then",
        ]
    ]
    for number, judge in enumerate(found.judges):
        decisions = [(case, case.decisions[number]) for case in timed]
        rows.append(
            [
                printable(judge),
                str(rate(found, number, "healthy")),
                _passed(found, number, "healthy"),
                str(rate(found, number, "bad")),
                _passed(found, number, "bad"),
                _typical([_detected(case, decision) for case, decision in decisions], wait),
                _typical([one for case, decision in decisions if (one := _served(case, decision)) is not None], _whole),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _beside(found: Backtest, judge: int) -> str:
    """What the table has no column for: the undecided, what the healthy wait for, harm beyond the baseline's share."""
    said = []
    for label in ("healthy", "bad", "unknown"):
        decisions = [(case, case.decisions[judge]) for case in found.cases if case.label == label]
        if not decisions:
            continue
        count = {one: sum(decision.verdict is one for _, decision in decisions) for one in Verdict}
        left = f"{count[Verdict.MARGINAL]} of {len(decisions)}"
        if label == "unknown":
            said.append(
                f"of {len(decisions)} without a label {count[Verdict.FAIL]} failed, {count[Verdict.PASS]} passed, "
                f"{count[Verdict.MARGINAL]} undecided"
            )
        elif label == "healthy":
            waits = [
                decision.seconds if decision.verdict is Verdict.PASS and decision.seconds is not None else case.seconds
                for case, decision in decisions
                if not case.cut
            ]
            passed = f", a pass takes {_typical(waits, wait)} on average (the others to their end)"
            said.append(f"{left} healthy undecided{passed if count[Verdict.PASS] and waits else ''}")
        else:
            too_many = [one.excess for case, one in decisions if one.excess is not None and not case.cut]
            harm = f", {_typical(too_many, _whole)} bad requests beyond the baseline's share until then"
            said.append(f"{left} bad undecided{harm if too_many else ''}")
    return f"{printable(found.judges[judge])}: {'; '.join(said)}"


def _passed(found: Backtest, judge: int, label: str) -> str:
    verdicts = [case.decisions[judge].verdict for case in found.cases if case.label == label]
    return str(sum(verdict is Verdict.PASS for verdict in verdicts)) if verdicts else "-"


def _detected(case: Case, decision: Decision) -> float:
    """To the failure; to the end where it was passed, or nothing was decided."""
    found = decision.verdict is Verdict.FAIL and decision.seconds is not None
    return min(decision.seconds or 0.0, case.seconds) if found else case.seconds


def _served(case: Case, decision: Decision) -> float | None:
    """Canary requests until the failure; to the end at the same pace where there was none."""
    if decision.requests is None:
        return None
    until = case.seconds if decision.seconds is None else decision.seconds
    return decision.requests * _detected(case, decision) / until if until > 0 else decision.requests


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _typical(values: Sequence[float], shown: Callable[[float], str]) -> str:
    return shown(sum(values) / len(values)) if values else "-"


def _pair(found: Backtest, other: int) -> list[str]:
    """The first judge against another one; with several others the p-values are adjusted (Holm)."""
    names = printable(found.judges[0]), printable(found.judges[other])
    lines = ["", f"{names[0]} against {names[1]}: {_conclusion(found, other)}"]
    for label, verdict, _ in _COMPARISONS:
        pair = compared(found, 0, other, label, verdict=verdict)
        if not pair.total or (verdict is Verdict.PASS and not pair.only_first + pair.only_second):
            continue
        what = f"{'failed' if verdict is Verdict.FAIL else 'passed'} of the {label}"
        differ = f"only {names[0]} {pair.only_first}, only {names[1]} {pair.only_second}, of {pair.total}"
        if pair.p is None or pair.interval is None:
            few = pair.only_first + pair.only_second
            worth = ", which are worth fewer" if few >= FEWEST_DISCORDANT else ""
            text = f"they differ on {few}{worth}, and fewer than {FEWEST_DISCORDANT} can show nothing"
        else:
            low, high = (100 * end for end in pair.interval)
            p = _adjusted(found, other, label, verdict)
            text = f"p = {p:.2g}, the difference is {low:+.1f} to {high:+.1f} percentage points"
        lines.append(f"  {what}: {differ}; {text}")
    cases = [case for case in found.cases if case.label == "bad" and not case.cut]
    if cases:
        times = [[_detected(case, case.decisions[number]) for case in cases] for number in (0, other)]
        each = min(one.worth / one.total for one in (rate(found, number, "bad") for number in (0, other)))
        gaps = [one - two for one, two in zip(*times, strict=True)]
        late = [gap > sum(gaps) / len(gaps) for gap in gaps]
        apart = min(effective_number(late, gaps, _shared(cases, by), declared=0.01) for by in ("week", "deployment"))
        each = min(each, apart / len(cases))
        mean, interval = restricted_difference(times[0], times[1], [case.seconds for case in cases], worth=each)
        which = "as soon" if mean == 0 else f"{wait(abs(mean))} {'sooner' if mean < 0 else 'later'}"
        span = "" if interval is None else f" ({_signed(interval[0])} to {_signed(interval[1])})"
        lines.append(f"  fails the bad {which} on average, those it does not fail counted to their end{span}")
    return lines


def _conclusion(found: Backtest, other: int) -> str:
    """What is shown at 5 % (exact), in one sentence."""
    good = {(label, verdict): more for label, verdict, more in _COMPARISONS}
    said = [
        f"{'fails' if verdict is Verdict.FAIL else 'passes'} "
        f"{'more' if (sign > 0) is good[label, verdict] else 'fewer'} of the {label}"
        for label, verdict, sign in _shown(found, other)
    ]
    return f"it {' and '.join(said)}" if said else "neither is shown to be better"


def _adjusted(found: Backtest, other: int, label: str, verdict: Verdict) -> float:
    """Over all judges that the first is compared with; of the bad also over the two ways to compare them."""
    ways = [one for named, one, _ in _COMPARISONS if named == label]
    pairs = [
        (number, way, one.p)
        for number in range(1, len(found.judges))
        for way in ways
        if (one := compared(found, 0, number, label, verdict=way)).p is not None
    ]
    adjusted = holm([p for _, _, p in pairs])
    return next(p for (number, way, _), p in zip(pairs, adjusted, strict=True) if (number, way) == (other, verdict))


def _signed(seconds: float) -> str:
    return ("-" if seconds < 0 else "+") + wait(abs(seconds))


def _alarms(found: Backtest, judge: int) -> list[str]:
    """Alarms on canaries that are labelled healthy: a label may be wrong, so they are a list to look at."""
    cases = [case for case in found.cases if case.label == "healthy" and _fails(case, judge)]
    if not cases:
        return []
    name, healthy = printable(found.judges[judge]), sum(case.label == "healthy" for case in found.cases)
    hint = "look at them, a label may be wrong" if len(cases) <= _MOST_CUT * healthy else "so many labels are not wrong"
    lines = ["", f"{name} failed {len(cases)} that are labelled healthy; {hint}:"]
    lines += [
        f"  {case.id}  {printable(case.name)}  {case.start:%Y-%m-%d %H:%M}  {printable(case.decisions[judge].metric)}: "
        f"{printable(case.decisions[judge].reason)}"
        for case in cases[:_MOST_SHOWN]
    ]
    more = len(cases) - _MOST_SHOWN
    return [*lines, f"  and {more} more, see --format json"] if more > 0 else lines


def _undecided(found: Backtest) -> list[str]:
    """What the first judge says of those that it did not decide: the same of all where the data are at fault."""
    reasons = [
        case.decisions[0].reason
        for case in found.cases
        if case.decisions[0].verdict is Verdict.MARGINAL and not case.cut and case.decisions[0].reason
    ]
    if not reasons:
        return []
    alike: dict[str, list[str]] = {}
    for reason in reasons:
        alike.setdefault(_NUMBERS.sub("#", reason), []).append(reason)
    most = sorted(alike.values(), key=len, reverse=True)[:_MOST_REASONS]
    lines = ["", f"{printable(found.judges[0])} did not decide {len(reasons)} that ran to their end:"]
    lines += [f"  {len(one)} as: {_short(printable(one[0]))}" for one in most]
    return [*lines, f"  and {len(alike) - len(most)} others"] if len(alike) > len(most) else lines


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _notes(found: Backtest) -> list[str]:
    lines = [""]
    for label in ("healthy", "bad"):
        cases = [case for case in found.cases if case.label == label]
        cut = sum(case.cut for case in cases)
        if cases and cut > _MOST_CUT * len(cases):
            lines.append(
                f"{cut} of {_number(len(cases), f'{label} canary', f'{label} canaries')} were ended before the planned "
                "end (or had none, see `archive --horizon`): a slower judge cannot be judged on them, and there is no "
                "single rate"
            )
    if any(0 < one.worth < _WORTH * one.total for one in _rates(found)):
        lines.append(
            "canaries of one service and one calendar week, or of one deployment of the baseline, share their luck: "
            "they are worth fewer independent ones"
        )
    unknown = [case.id for case in found.cases if case.label == "unknown"]
    if unknown:
        more = ", ..." if len(unknown) > _MOST_SHOWN else ""
        lines.append(
            f"{_number(len(unknown), 'canary has', 'canaries have')} no label, and no part in a rate: "
            f"`canary-judge history label`: {', '.join(unknown[:_MOST_SHOWN])}{more}"
        )
    if made_up := sum(case.reconstructed for case in found.cases):
        lines.append(
            f"the looks of {_number(made_up, 'canary', 'canaries')} were made up when a table or a source was archived"
        )
    if found.skipped:
        lines.append(
            f"{len(found.skipped)} canaries were left out, the first because {printable(found.skipped[0].reason)}"
        )
    return [*lines, f"This cannot show {_CANNOT}."]


def _rates(found: Backtest) -> list[Rate]:
    return [rate(found, number, label) for number in range(len(found.judges)) for label in ("healthy", "bad")]


def _percent(share: float) -> str:
    value = 100 * share
    if value in (0.0, 100.0) or not math.isfinite(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
