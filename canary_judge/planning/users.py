"""How many users a margin needs, and how long they take to come: from what the baseline's users did lately.

Users return, so twice the time brings less than twice the users, and each of them is known better; the variance per
user is therefore measured over several lengths, and never taken to be the same.

References:
    Deng, A., Knoblich, U. & Lu, J. (2018), doi:10.1145/3219819.3219919 (variance of a ratio of means).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from canary_judge.config.metrics import Metric
from canary_judge.judging.users import FEWEST_FOR_SAFETY, information_needed
from canary_judge.moments import Moments
from canary_judge.planning.plans import DAY, Need
from canary_judge.results import Harm
from canary_judge.series import Window
from canary_judge.stats.margins import Margin
from canary_judge.stats.users import users_spread
from canary_judge.wording import span, wait

__all__ = ["NO_USERS", "Seen", "lengths_of", "time_of_users"]

NO_USERS = "no users"
_LENGTHS = tuple(timedelta(hours=hours) for hours in (6, 12, 24, 48))
# Beyond so many times the longest measured length a time is a guess, and what could be shown now is told, too.
_FURTHEST = 4.0
# Information grows at least by this power of the time.
_SLOWEST = 0.1


class Seen(NamedTuple):
    """The baseline's users of one length of time."""

    seconds: float
    moments: Moments


def lengths_of(window: Window, step: timedelta) -> list[Window]:
    """The spans over which users are counted: all end with the window, and none is shorter for a short one."""
    found = [length for length in _LENGTHS if length >= step] or [step]
    return [Window(window.end - length // step * step, window.end) for length in found]


def time_of_users(metric: Metric, seen: Sequence[Seen], shares: Sequence[float], *, error: float, power: float) -> Need:
    """How long it takes until a harmless canary is shown to be within its margin.

    Args:
        metric: By user.
        seen: The baseline's users over several lengths, ascending; some may have none.
        shares: The canary's shares of the users.
        error: How often a canary at its margin may be found safe.
        power: Probability to show that a harmless one is harmless.
    """
    known = [one for one in seen if users_spread(one.moments) is not None]
    never = (None,) * len(shares)
    margin = metric.parsed_margin()
    if not known or margin is None:
        return Need(
            measured=NO_USERS,
            seconds=never,
            problem="the baseline had no users in this window; check the table and its side",
        )
    longest = known[-1]
    level, spread = users_spread(longest.moments) or (0.0, 0.0)
    if not level or not spread:
        return Need(
            measured=f"{longest.moments.users:,} users",
            seconds=never,
            problem="all users have the same value, or none at all",
        )
    shape = (
        f"{longest.moments.users:,} users in {span(longest.seconds)}, variance {spread / level**2:.2g} of the level^2"
    )
    need = information_needed(margin, level, alpha=error, power=power)
    times = tuple(_time(known, share, margin, metric, need) for share in shares)
    return Need(measured=shape, seconds=times, problem=_problem(metric, margin, known, shares, times, need))


def _information(one: Seen, share: float, margin: Margin, metric: Metric) -> float:
    """At the margin: as `users_information` once so many users of both sides were seen."""
    level, spread = users_spread(one.moments) or (0.0, 0.0)
    users = one.moments.users
    factor = margin.factor(upward=metric.harm is not Harm.DECREASE) if margin.absolute is None else 1.0
    variance: float = spread * (1 / (share * users) + factor**2 / ((1 - share) * users))
    return level**2 / variance if variance else 0.0


def _time(known: Sequence[Seen], share: float, margin: Margin, metric: Metric, need: float) -> float | None:
    # of users and of information the scarcer one decides: as shares of what is needed
    reached = [
        min(_information(one, share, margin, metric) / need, share * one.moments.users / FEWEST_FOR_SAFETY)
        for one in known
    ]
    if reached[0] >= 1:
        return known[0].seconds / max(reached[0], 1.0)
    for before, after, low, high in zip(known, known[1:], reached, reached[1:], strict=False):
        if high >= 1:
            part = math.log(1 / low) / math.log(high / low) if high > low > 0 else 1.0
            return float(before.seconds * (after.seconds / before.seconds) ** part)
    power = 1.0
    if len(known) > 1 and min(reached[-2:]) > 0:
        power = math.log(reached[-1] / reached[-2]) / math.log(known[-1].seconds / known[-2].seconds)
    if reached[-1] <= 0:
        return None
    return known[-1].seconds * float((1 / reached[-1]) ** (1 / max(power, _SLOWEST)))


def _problem(
    metric: Metric,
    margin: Margin,
    known: Sequence[Seen],
    shares: Sequence[float],
    times: Sequence[float | None],
    need: float,
) -> str:
    parts = []
    longest = known[-1]
    far = [time is None or time > _FURTHEST * longest.seconds for time in times]
    if any(far):
        share = shares[far.index(True)]
        users = share * longest.moments.users
        reached = _information(longest, share, margin, metric) / need
        text = f"{100 * share:g} % are {users:,.0f} users in {span(longest.seconds)}"
        if users >= FEWEST_FOR_SAFETY and 0 < reached < 1:
            wider = margin.times(1 / math.sqrt(reached))
            shown = [f"{100 * wider.relative:.2g}%"] if wider.relative is not None else []
            if wider.absolute is not None:
                amount = f"{100 * wider.absolute:.2g}pp" if metric.is_proportion else f"{wider.absolute:.2g}"
                shown.append(f"+{amount}")
            text += f", which show a margin of about {' or '.join(shown)}"
        else:
            text += f", fewer than the {FEWEST_FOR_SAFETY} that safety needs" if users < FEWEST_FOR_SAFETY else ""
        parts.append(text)
    if any(time is not None and time < DAY for time in times):
        parts.append(f"judge whole days ({wait(DAY)}): those who come by night are others")
    return "; ".join(parts)
