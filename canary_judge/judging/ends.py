"""The ends of the window at one look: a canary that broke in the last tenth of it is bad."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from canary_judge.config.metrics import Metric
from canary_judge.stats.counts import Counts
from canary_judge.stats.events import CountTest
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
            at.beyond,
            lambda one: one.at_margin(margin, upward=upward, only="beyond").beyond,
            lambda one: one.unremarkable(margin, upward=upward),
        )
        return at._replace(beyond=shared)

    def unremarkable(margin: Margin | None) -> Callable[[CountTest], bool]:
        return lambda one: all(one.unremarkable(margin, upward=upward) for upward in directions(harm))

    def beyond_margin(one: CountTest) -> float:
        tested = one.tested(margin)
        return 1.0 if tested is None else beyond(harm, tested, one.at_margin)

    p_beyond = comparison.p_beyond_margin
    if p_beyond is not None:
        p_beyond = ends.shared(p_beyond, beyond_margin, unremarkable(margin))
    p_harm = ends.shared(comparison.p_harm, lambda one: one.worse_at_all(harm), unremarkable(None))
    evidence = replace(comparison, p_harm=p_harm, p_beyond_margin=p_beyond)
    return replace(compared, evidence=evidence, at_margin=at_margin)


@dataclass(frozen=True, slots=True)
class _Ends:
    """The ends of a window.

    Attributes:
        parts: Of each end the tests of all of it, and of it without its most harmful interval, made when asked for;
            None without exposure on both sides.
    """

    parts: list[list[Once[CountTest | None]]]

    @classmethod
    def of(cls, metric: Metric, counts: Counts, phi: float, late: float) -> _Ends:
        """Those that are long enough."""

        def tested(one: Counts) -> Once[CountTest | None]:
            part = number / max(one.events_canary.size, 1)
            of_part = max(phi, 1 + part * (late - 1))
            return Once(
                lambda: CountTest.of(
                    one, margin=metric.parsed_margin(), proportion=metric.is_proportion, between=1.0, phi=of_part
                )
            )

        number, found = counts.events_canary.size, []
        for length in dict.fromkeys(number // part for part in _PARTS):
            if length < _FEWEST_INTERVALS:
                continue
            last = counts.since(number - length)
            parts = [last]
            for upward in directions(metric.harm):
                most = int(np.argmax(last.events_canary if upward else last.events_baseline))
                parts.append(last.select(np.arange(length) != most))
            found.append([tested(one) for one in parts])
        return cls(found)

    def shared(
        self, whole: float, p_value: Callable[[CountTest], float], unremarkable: Callable[[CountTest], bool]
    ) -> float:
        """The least of the whole's and the ends' p-values, each times its share of the error.

        An end has the largest p-value of its parts, so one that cannot be the least is left early: by a part whose
        p-value is surely at least a half, too, for that is more than its share of any error.
        """
        least = min(_WHOLE * whole, 1.0)
        for parts in self.parts:
            largest = 0.0
            for part in parts:
                one = part()
                if one is None or unremarkable(one):
                    break
                largest = max(largest, p_value(one))
                if _OF_PART * largest >= least:
                    break
            else:
                least = _OF_PART * largest
        return least
