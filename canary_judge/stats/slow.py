"""Large harm in series that move too slowly for tau: judged against a random walk, once.

Where a series is worth only a handful of independent values, no test of a stationary series has a level. But a memory
28 times the baseline's is no matter of swings. The differences are taken for a random walk whose start is off by as
much as it moves in the window; its mean over its low frequencies then has quantiles that are 8.5 times those of
Student's t with 5.5 degrees of freedom (200,000 simulated walks: 2 %, 0.2 % and 0.02 % points 27.6, 47.6, 74.9). For
large harm only: safety is never shown by it, and it is valid for one look, or few that are spaced out.

References:
    Müller, U. K. (2014), doi:10.1080/07350015.2014.931238 (low frequencies under local-to-unity dependence).
    Lazarus et al. (2018), see `canary_judge.stats.paired` (equal-weighted cosines).
"""

from __future__ import annotations

import numpy as np

from canary_judge.arrays import Float, in_errors
from canary_judge.results import Harm
from canary_judge.special import special
from canary_judge.stats.margins import Margin
from canary_judge.stats.paired import ewc_error
from canary_judge.stats.questions import AtMargin, PValues, Question, Tails, ask

__all__ = ["FEWEST_SLOW", "slow_limit_tail", "slow_p_values", "slow_tails"]

FEWEST_SLOW = 20
_COSINES, _WIDER, _DEGREES = 6, 8.5, 5.5
_ROUNDING = 1e-14


def slow_tails(differences: Float) -> Tails:
    """Both tails of the mean of differences that may be a random walk.

    Args:
        differences: Canary minus what it is held against, shape (n,), n at least 20, in order of time.

    Examples:
        >>> walk = np.cumsum(np.random.default_rng(1).normal(size=60))
        >>> round(slow_tails(walk).above, 2), slow_tails(walk + 100).above < 1e-3
        (0.52, True)
    """
    error, _ = ewc_error(differences, count=_COSINES)
    mean = float(differences.mean())
    if error <= _ROUNDING * float(np.abs(differences).max(initial=0.0)):
        error = 0.0
    t = in_errors(mean, error) / _WIDER
    return Tails(above=float(special.stdtr(_DEGREES, -t)), below=float(special.stdtr(_DEGREES, t)))


def slow_p_values(*, baseline: Float, canary: Float, harm: Harm, margin: Margin | None) -> PValues:
    """Harm at all and beyond the margin; "within the margin" is never shown.

    Args:
        baseline: Shape (n,), finite, n at least 20.
        canary: Shape (n,), at the same moments or a time later: the difference of two walks is one in either case.
        harm: The harmful direction.
        margin: Largest tolerated degradation; None: only "worse at all" is asked.
    """

    def tails(reference: Float) -> Tails:
        if min(reference.min(), canary.min()) > 0:
            return slow_tails(np.log(canary) - np.log(reference))
        return slow_tails(canary - reference)

    def at_margin(margin: Margin, *, upward: bool, only: Question | None = None) -> AtMargin:  # noqa: ARG001
        return AtMargin.of(tails(margin.shifted(baseline, upward=upward)), upward=upward)

    found = ask(harm, margin, at_par=tails(baseline), at_margin=at_margin)
    return found._replace(within=None if margin is None else 1.0)


def slow_limit_tail(*, canary: Float, limit: float, harm: Harm) -> float:
    """The p-value of "the canary keeps the limit".

    Args:
        canary: Shape (n,), finite, n at least 20.
        limit: The bound.
        harm: `INCREASE`: an upper one; `DECREASE`: a lower one.
    """
    return slow_tails(canary - limit).worse(upward=harm is Harm.INCREASE)
