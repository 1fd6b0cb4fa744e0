"""The ends of the window at one look: a canary that broke in the last tenth of it is bad."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from canary_judge.arrays import Float
from canary_judge.config.metrics import Metric
from canary_judge.frozen import replaced
from canary_judge.stats.counts import Counts
from canary_judge.stats.events import CountTest, p_at_least
from canary_judge.stats.margins import Margin
from canary_judge.stats.questions import AtMargin, Compared, Once, Question, beyond, directions

__all__ = ["scanned"]

# One look also asks the last half, quarter, ... of the window; half of the error is theirs, in equal parts.
_PARTS = (2, 4, 8, 16)
_WHOLE, _OF_PART = 2.0, 2.0 * len(_PARTS)
# So few intervals may be a burst, or its absence.
_FEWEST_INTERVALS = 2


def scanned(metric: Metric, counts: Counts, compared: Compared, phi: float, *, late: float = 1.0) -> Compared:
    """The evidence of one look with that of the ends of its window.

    Half of the error is spent on the whole window, the rest in equal parts on its last half, quarter, eighth and
    sixteenth (Bonferroni); no part may rest on its most harmful interval.

    Args:
        metric: For its harmful direction and its margin.
        counts: Of which harm may be said, one entry per interval.
        compared: The evidence of the whole window.
        phi: Dispersion that takes no late change for clumps.
        late: Dispersion by events that come late, over the whole window; it is so many times as large for a part.
    """
    harm, margin, comparison = metric.harm, metric.parsed_margin(), compared.evidence
    ends = _Ends.of(metric, counts, phi, late)

    def at_margin(margin: Margin, *, upward: bool, only: Question | None = None) -> AtMargin:
        at = compared.at_margin(margin, upward=upward, only=only)
        if only == "within":
            return at
        shared = ends.shared(
            at.beyond, lambda one: one.at_margin(margin, upward=upward, only="beyond").beyond, margin, (upward,)
        )
        return at._replace(beyond=shared)

    def beyond_margin(one: CountTest) -> float:
        tested = one.tested(margin)
        return 1.0 if tested is None else beyond(harm, tested, one.at_margin)

    p_beyond = comparison.p_beyond_margin
    if p_beyond is not None:
        p_beyond = ends.shared(p_beyond, beyond_margin, margin, directions(harm))
    p_harm = ends.shared(comparison.p_harm, lambda one: one.worse_at_all(harm), None, directions(harm))
    evidence = replaced(comparison, p_harm=p_harm, p_beyond_margin=p_beyond)
    return replaced(compared, evidence=evidence, at_margin=at_margin)


@dataclass(frozen=True, slots=True)
class _Ends:
    """The ends of a window.

    Attributes:
        counts: One entry per interval.
        proportion: As in `compare_counts`.
        firsts: Where each end begins, the shortest one last.
        parts: Of each end the tests of all of it, and of it without its most harmful interval, made when asked for;
            None without exposure on both sides.
    """

    counts: Counts
    proportion: bool
    firsts: list[int]
    parts: list[list[Once[CountTest | None]]]

    @classmethod
    def of(cls, metric: Metric, counts: Counts, phi: float, late: float) -> _Ends:
        """Those that are long enough."""
        number, margin = counts.events_canary.size, metric.parsed_margin()

        def tested(length: int, *, without: Callable[[Counts], Float] | None = None) -> Once[CountTest | None]:
            def find() -> CountTest | None:
                one = counts.since(number - length)
                if without is not None:
                    one = one.select(np.arange(length) != np.argmax(without(one)))
                part = number / max(one.events_canary.size, 1)
                of_part = max(phi, 1 + part * (late - 1))
                return CountTest.of(one, margin=margin, proportion=metric.is_proportion, between=1.0, phi=of_part)

            return Once(find)

        lengths = [one for one in dict.fromkeys(number // part for part in _PARTS) if one >= _FEWEST_INTERVALS]
        harmful = [_of_canary if upward else _of_baseline for upward in directions(metric.harm)]
        parts = [[tested(length), *(tested(length, without=one) for one in harmful)] for length in lengths]
        return cls(counts, metric.is_proportion, [number - length for length in lengths], parts)

    def shared(
        self,
        whole: float,
        p_value: Callable[[CountTest], float],
        margin: Margin | None,
        upwards: Sequence[bool],
    ) -> float:
        """The least of the whole's and the ends' p-values of a margin, each times its share of the error.

        An end has the largest p-value of its parts, so one that cannot be the least is left early: by a part whose
        p-value is surely at least a half, too, for that is more than its share of any error.
        """
        least = min(_WHOLE * whole, 1.0)
        for parts, surely in zip(self.parts, self._p_at_least(margin, upwards), strict=True):
            if _OF_PART * surely >= least:
                continue
            largest = 0.0
            for part in parts:
                one = part()
                if one is None or all(one.unremarkable(margin, upward=upward) for upward in upwards):
                    break
                largest = max(largest, p_value(one))
                if _OF_PART * largest >= least:
                    break
            else:
                least = _OF_PART * largest
        return least

    def _p_at_least(self, margin: Margin | None, upwards: Sequence[bool]) -> list[float]:
        """Of each end, what the p-value of all of it surely is at least, for reasons that cost little."""
        if margin is not None and margin.relative is None:
            return [0.0] * len(self.firsts)
        ratios = ((1.0 if margin is None else margin.factor(upward=upward), upward) for upward in upwards)
        found = [
            p_at_least(self.counts, self.firsts, ratio=ratio, upward=upward, proportion=self.proportion)
            for ratio, upward in ratios
        ]
        return cast("list[float]", (len(found) * np.minimum.reduce(found)).tolist())


def _of_canary(one: Counts) -> Float:
    return one.events_canary


def _of_baseline(one: Counts) -> Float:
    return one.events_baseline
