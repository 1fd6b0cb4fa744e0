"""The requests of both sides: how many the canary gets, and whether that is what is configured."""

from __future__ import annotations

from canary_judge.config.model import JudgeConfig, TrafficExpectation
from canary_judge.frozen import replaced
from canary_judge.results import TrafficSplit
from canary_judge.samples import CountData, Samples, UserData
from canary_judge.stats.counts import Counts
from canary_judge.stats.split import split_finding, users_split

__all__ = ["MOST_FOR_A_CANARY", "canary_share", "most_users", "requests", "traffic_split", "unequal"]

# A canary with more of the requests may be the baseline.
MOST_FOR_A_CANARY = 0.6
# So many times the other side's traffic is another.
_MOST_UNEQUAL = 2.0
_USUAL_TOLERANCE = TrafficExpectation().tolerance


def requests(config: JudgeConfig, samples: Samples) -> Counts | None:
    """Requests of both sides, interval by interval, from the metric that counts most of them."""
    best, most = None, 0.0
    for metric in config.metrics:
        data = samples.metrics[metric.name].data
        # of a time in which the baseline was not seen no share can be told
        if metric.is_proportion and isinstance(data, CountData) and data.counts.exposure_baseline.any():
            total = float(data.counts.exposure_baseline.sum() + data.counts.exposure_canary.sum())
            if total > most:
                best, most = data.counts, total
    return best


def canary_share(config: JudgeConfig, counts: Counts | None, *, weight: float | None = None) -> float | None:
    """The canary's share of the requests: counted where any metric counts them, else the weight."""
    if counts is None:
        if weight is None and config.traffic is not None:
            weight = config.traffic.weight
        return None if weight is None else weight / 100
    canary, baseline = float(counts.exposure_canary.sum()), float(counts.exposure_baseline.sum())
    return canary / (canary + baseline)


def unequal(share: float | None) -> bool:
    """Whether the sides' traffic is known to differ so much that sums over requests cannot be compared."""
    return share is not None and 0 < share < 1 and max(share, 1 - share) > _MOST_UNEQUAL * min(share, 1 - share)


def most_users(samples: Samples) -> UserData | None:
    """The users of the metric that saw most of them; None where none is by user."""
    known = [one.data for one in samples.metrics.values() if isinstance(one.data, UserData)]
    return max(known, key=lambda data: data.canary.whole.users + data.baseline.whole.users, default=None)


def traffic_split(
    config: JudgeConfig, counts: Counts | None, weight: float | None = None, *, users: UserData | None = None
) -> TrafficSplit | None:
    """The observed against the configured share of the requests, and of the users.

    Args:
        config: Its `traffic` holds the configured weight and the tolerance.
        counts: The requests, as exposures, while the weight held.
        weight: Percent, in place of the config's.
        users: The users since the weight last changed, each of whom is one draw.

    Returns:
        The split of the requests, with what is found of the users; that of the users where no request is counted;
        None where no share is configured, or nothing was seen.
    """
    expected = config.traffic.weight if weight is None and config.traffic is not None else weight
    if expected is None:
        return None
    of_users = None if users is None else _users_split(users, expected / 100)
    if of_users is not None and (
        counts is None or not (counts.exposure_baseline.any() or counts.exposure_canary.any())
    ):
        return of_users
    if counts is None:
        return None
    tolerance = config.traffic.tolerance if config.traffic is not None else _USUAL_TOLERANCE
    found = split_finding(
        baseline=counts.exposure_baseline, canary=counts.exposure_canary, share=expected / 100, tolerance=tolerance
    )
    if not found.finding and of_users is not None:
        return replaced(found, finding=of_users.finding)
    return found


def _users_split(users: UserData, share: float) -> TrafficSplit:
    # who was seen on both sides is a draw of the one he was seen on first
    return users_split(
        baseline=users.baseline.whole.users + users.baseline.strays,
        canary=users.canary.whole.users + users.canary.strays,
        share=share,
    )
