"""Moments of users: taken as they are, for the store has counted the users."""

from __future__ import annotations

import numpy as np

from canary_judge.arrays import Int
from canary_judge.moments import UserMoments
from canary_judge.results import Quality, Side, Sides
from canary_judge.samples.data import MetricSamples, UserData
from canary_judge.samples.grid import Parts, Unusable
from canary_judge.series import Form, Result

__all__ = ["is_late", "user_samples"]

# Of means beyond these the squares leave the range of floats.
_HUGE = 1e70
# Rows that come at random leave a pause of so many usual distances as good as never.
_PAUSE = 10.0


def user_samples(parts: Parts, edges: Int) -> MetricSamples:
    """The users of both sides."""
    found = Sides.of(lambda side: _moments(parts.get(("users", side), Result(form=Form.MOMENTS)), side))
    if found.baseline is None or found.canary is None:
        return MetricSamples(data=None)
    if (found.baseline.since, found.baseline.until) != (found.canary.since, found.canary.until):
        raise Unusable("the source counted the users of both sides over different times; ask them at once")
    data = UserData(baseline=found.baseline, canary=found.canary)
    for side in Side:
        mean = np.abs(getattr(data, side.value).whole.mean)
        if (mean > _HUGE).any() or ((mean > 0) & (mean < 1 / _HUGE)).any():
            raise Unusable(f"{side}: means of {mean.max():.3g} cannot be compared; is their unit right?")
    users = data.canary.whole.users + data.baseline.whole.users
    step, count = int(edges[1] - edges[0]), edges.size - 1
    quality = Quality(
        coverage_baseline=float(data.baseline.whole.users > 0),
        coverage_canary=float(data.canary.whole.users > 0),
        silent_baseline=_silent(data.baseline, step, count),
        silent_canary=_silent(data.canary, step, count),
        canary_share=data.canary.whole.users / users if users else None,
        series_baseline=int(data.baseline.rows > 0),
        series_canary=int(data.canary.rows > 0),
    )
    return MetricSamples(data=data, quality=quality)


def _moments(result: Result, side: Side) -> UserMoments | None:
    if result.form is not Form.MOMENTS or (result.moments is None and result.series):
        raise Unusable(
            f"{side}: the source gave {result.form.value}, and not its users: only a source that knows users (a table "
            "with a column `user`, kind sql) can answer a metric by user"
        )
    if result.moments is not None and not result.moments.fits():
        raise Unusable(f"{side}: the source gave moments that are none: numbers must be finite, of four totals")
    return result.moments


def _silent(found: UserMoments, step: int, count: int) -> int:
    """Intervals of this look at the end of which nothing is known, where rows used to come."""
    if found.latest is None:
        return count
    return min((found.until - found.latest) // step, count) if is_late(found, step) else 0


def is_late(found: UserMoments, step: int) -> bool:
    """Whether rows of this side have stopped coming: nothing for an interval, and not by chance.

    Args:
        found: The side.
        step: Length of an interval in nanoseconds.
    """
    if found.latest is None:
        return False
    pause, span = found.until - found.latest, found.latest - found.since
    return pause >= step and found.rows * pause > _PAUSE * span
