"""What an undecided metric still needs: samples, time at this weight, or a weight."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scipy import special

from canary_judge.results import Comparison, Scale, Shortfall
from canary_judge.stats.sample_sizes import proportions_sample_size, rate_ratio_events

if TYPE_CHECKING:
    from canary_judge.config.metrics import Metric
    from canary_judge.config.model import JudgeConfig
    from canary_judge.series import Window

__all__ = ["count_shortfall", "time_shortfall", "wait"]

_LONGEST_WAIT_SECONDS = 30 * 86400.0


def time_shortfall(
    config: JudgeConfig,
    needs: str,
    have: float,
    planned: float | None,
    tau: float,
    least: float,
    fewest: int,
    window: Window,
    cost: float = 1.0,
) -> Shortfall | None:
    """What a comparison by ranks needs.

    Args:
        config: For the wanted levels and power.
        needs: What is counted, for the text.
        have: Effective samples per side.
        planned: Independent values per side that show the margin; None when no number does.
        tau: Autocorrelation time, in samples.
        least: Fewest effective samples.
        fewest: Values on the smaller side.
        window: The judged window.
        cost: How much more data the design of the looks needs than one planned look.
    """
    if planned is None:
        return Shortfall(
            needs=needs,
            have=have,
            required=None,
            seconds=None,
            weight_percent=None,
            text="no amount of data shows this margin: the baseline looks the same with and without it",
        )
    required = max(planned * cost, least, config.min_samples / tau)
    if have >= required and fewest >= config.min_samples:
        return None
    factor = max(required / have, config.min_samples / fewest)
    seconds = _more_time(window, factor)
    return Shortfall(
        needs=needs,
        have=have,
        required=required,
        seconds=seconds,
        weight_percent=None,
        text=f"needs about {math.ceil(required)} independent {needs}, has {have:.1f}"
        + (f": {wait(seconds)} more" if seconds is not None else "; no realistic time would do: widen the margin"),
    )


def count_shortfall(
    config: JudgeConfig, metric: Metric, comparison: Comparison, window: Window, cost: float = 1.0
) -> tuple[Shortfall | None, str | None]:
    """What an undecided count needs, and why it cannot be found safe yet (too few expected events)."""
    margin, limit = metric.parsed_margin(), metric.parsed_limit()
    share = comparison.n_canary / (comparison.n_canary + comparison.n_baseline)
    exposure = comparison.n_canary + comparison.n_baseline
    phi = comparison.dispersion or 1.0
    rate = ((comparison.events_baseline or 0.0) + (comparison.events_canary or 0.0)) / exposure
    expected = rate * comparison.n_canary / phi
    quantiles = float(special.ndtri(1 - config.false_pass_rate) + special.ndtri(config.power))
    # information is proportional to exposure * share * (1 - share)
    needed_share_product: float | None = None
    have, required, what = expected, config.min_events, "expected canary events"
    absolute = comparison.scale is Scale.DIFFERENCE
    if margin is not None and absolute and margin.absolute is not None:
        bound = min(max(rate + (comparison.margin or 0.0), 0.0), 1.0)
        if bound == rate:  # everything, or nothing, is an event already: no change of the size of the margin is left
            text = "no amount of data shows this margin: the rate is at its end already"
            nothing = Shortfall(
                needs="canary requests", have=comparison.n_canary / phi, required=None, seconds=None,
                weight_percent=None, text=text,
            )  # fmt: skip
            return nothing, text
        per_side = proportions_sample_size(
            min(max(rate, 1e-12), 1.0), bound, alpha=config.false_pass_rate, power=config.power
        )
        # a side test with n on both sides has the information of n / 2 per unit of share * (1 - share)
        needed_share_product = per_side / 2 * phi / exposure
        expected = max(bound, rate) * comparison.n_canary / phi
        what = "canary requests"
        have = comparison.n_canary / phi
        required = max(needed_share_product * exposure / (1 - share) / phi, config.min_events / max(bound, rate, 1e-12))
    elif margin is not None and margin.relative is not None and comparison.margin:
        ratio = comparison.margin
        required = max(
            config.min_events,
            rate_ratio_events(ratio, canary_share=share, alpha=config.false_pass_rate, power=config.power),
        )
        if rate > 0:
            needed_share_product = (quantiles / math.log(ratio)) ** 2 * phi / (rate * exposure)
    if limit is not None:
        half = limit / 2
        if metric.is_proportion:
            spread = math.sqrt(limit * (1 - limit)), math.sqrt(half * (1 - half))
        else:
            spread = math.sqrt(limit), math.sqrt(half)
        alpha, beta = special.ndtri(1 - config.false_pass_rate), special.ndtri(config.power)
        least = float(((alpha * spread[0] + beta * spread[1]) / half) ** 2)
        if margin is None:
            what, have, required = "canary requests", comparison.n_canary / phi, least
            expected = limit * comparison.n_canary / phi
        elif what == "canary requests":
            required = max(required, least)
    required *= cost
    needed_share_product = None if needed_share_product is None else needed_share_product * cost
    blocked = None
    if expected < config.min_events:
        blocked = (
            f"only {expected:.1f} canary events are expected {'at the margin' if absolute else 'at this rate'}, "
            f"fewer than the {config.min_events:g} that safety needs"
        )
    if have >= required and blocked is None:
        return None, None
    factor = required / have if have > 0 else None
    seconds = None if factor is None else _more_time(window, factor)
    weight = None if needed_share_product is None else _weight(needed_share_product)
    if weight is not None and weight <= 100 * share:
        weight = None
    ways = [f"{wait(seconds)} more"] if seconds is not None else []
    ways += [f"{weight:.0f} % of the traffic"] if weight is not None else []
    text = f"needs {_count(required)} {what}, has {_count(have)}"
    text += (
        f": {' or '.join(ways)}" if ways else "" if factor is None else "; no realistic time would do: widen the margin"
    )
    return (
        Shortfall(needs=what, have=have, required=required, seconds=seconds, weight_percent=weight, text=text),
        blocked,
    )


def _more_time(window: Window, factor: float) -> float | None:
    seconds = window.duration.total_seconds() * (factor - 1)
    return seconds if 0 < seconds <= _LONGEST_WAIT_SECONDS else None


def _weight(product: float) -> float | None:
    """The share (in %) with share * (1 - share) = product; None when even an even split has less."""
    return None if product > 0.25 else float(math.ceil(100 * (1 - math.sqrt(1 - 4 * product)) / 2))


def wait(seconds: float) -> str:
    """A length of time in the largest unit that leaves at least two of it, rounded up."""
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{math.ceil(seconds / size)} {unit}"
    return f"{math.ceil(seconds)} seconds"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
