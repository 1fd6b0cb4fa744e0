"""Who bears a metric by user: few of many, one of all, or fewer than on the baseline."""

from __future__ import annotations

import math
from collections.abc import Iterator

from canary_judge.config.metrics import Metric
from canary_judge.judging.look import Look
from canary_judge.results import Comparison, Harm, Role, Side
from canary_judge.samples import UserData

__all__ = ["few_bear", "giants"]

# So many of the canary's users must have anything that the numerator is divided by; and so many an event, if the
# canary is as bad as the margin allows, where events are harm.
_FEWEST_BEARING, _FEWEST_WITH_EVENTS = 50, 12
# A denominator that fell to so much, by so many standard errors, may have taken what went wrong along.
_FELL, _SURELY_FELL = 0.75, 5.0
# One user's part of a side beyond which the side speaks for him (a bot?): this, and so many average users. Of few
# users the busiest one has more than 5 % by chance.
_MOST_OF_ONE, _AVERAGE_USERS = 0.05, 25
# Beside the baseline's largest user, by chance; and what is a bot beside any other.
_AS_LARGE, _SURELY_A_BOT = 1.5, 0.2


def _by_itself(metric: Metric, name: str) -> bool:
    """Whether a gate judges this per user."""
    asked = metric.per_user()
    return asked is not None and asked.numerator == name and asked.denominator is None and metric.role is Role.GATE


def few_bear(look: Look, metric: Metric, comparison: Comparison, data: UserData) -> Iterator[str]:
    """Few of many users have what is divided by, or what is counted; or fewer than on the baseline."""
    per_user, margin = metric.per_user(), metric.parsed_margin()
    if per_user is None or per_user.denominator is None:
        return
    baseline, canary = data.baseline.whole, data.canary.whole
    # where each has less than one, most have none
    if canary.mean[1] < 1 and (bearing := canary.bearing(1)) < min(_FEWEST_BEARING, canary.users):
        yield (
            f"about {bearing:.0f} of the canary's {canary.users:,} users have `{per_user.denominator}`, fewer than the "
            f"{_FEWEST_BEARING} that safety needs"
        )
    level = comparison.baseline or 0.0
    if metric.is_proportion and metric.harm is Harm.INCREASE and margin is not None and level > 0:
        expected = baseline.bearing(0) * canary.users / baseline.users * (1 + margin.amount(level) / level)
        if expected < _FEWEST_WITH_EVENTS:
            yield (
                f"about {expected:.0f} of the canary's users would have `{per_user.numerator}` at the margin, fewer "
                f"than the {_FEWEST_WITH_EVENTS} that safety needs"
            )
    if any(_by_itself(one, per_user.denominator) for one in look.config.metrics):
        return
    usual, new = float(baseline.mean[1]), float(canary.mean[1])
    error = math.sqrt(sum(float(one.covariance[1, 1]) / one.users for one in (baseline, canary)))
    if new < _FELL * usual and usual - new > _SURELY_FELL * error:
        yield (
            f"the canary's users have {new / usual:.2g}x as many `{per_user.denominator}` as the baseline's: what "
            "is no more there may be what went wrong; judge it, too, as a mean by user"
        )


def giants(metric: Metric, data: UserData) -> Iterator[str]:
    """A user who is a large part of a side."""
    per_user, usual = metric.per_user(), 0.0
    for side in (Side.BASELINE, Side.CANARY):
        moments = getattr(data, side.value)
        largest = moments.whole.largest_share
        as_large = min(usual / moments.whole.users, _SURELY_A_BOT)
        if largest > max(_MOST_OF_ONE, _AVERAGE_USERS / moments.whole.users, as_large):
            remedy = "" if per_user is None or per_user.cap is not None else " `cap` counts no user for more"
            yield f"one user makes {largest:.0%} of the {side}: a bot?{remedy}"
        else:  # where few users do anything, the largest of them is as large on a side of its size
            usual = _AS_LARGE * largest * moments.whole.users
