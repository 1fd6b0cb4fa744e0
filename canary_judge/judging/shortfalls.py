"""What an undecided metric still needs: samples, time at this weight, or a weight."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from canary_judge.config.metrics import Metric
from canary_judge.config.model import JudgeConfig
from canary_judge.frozen import replaced
from canary_judge.judging.look import Look
from canary_judge.results import Comparison, Harm, Scale, Shortfall
from canary_judge.special import special
from canary_judge.stats.dispersion import clump_size
from canary_judge.stats.margins import Margin
from canary_judge.stats.sample_sizes import (
    limit_sample_size,
    proportions_sample_size,
    rate_ratio_events,
    share_ratio_trials,
    well_within,
)
from canary_judge.wording import count, wait

__all__ = ["count_shortfall", "instance_shortfall", "time_shortfall", "users_shortfall", "would_do"]

_NO_TIME = "; no realistic time would do: widen the margin"
# A margin that is so many times as wide is another promise.
_WIDEST = 16.0
# A share of the traffic beyond which the baseline has too little.
_EVEN = 0.5
# So many margins are tried, and the narrowest is found to this factor.
_STEPS, _NEAR = 8, 1.02


def _more(look: Look, seconds: float) -> str:
    """The time that is needed, and whether the plan has it."""
    ends = look.left is not None and seconds > look.left > 0
    return f"{wait(seconds)} more" + (f" (the plan ends in {wait(look.left or 0.0)})" if ends else "")


def would_do(
    margin: Margin | None, have: float, required: Callable[[Margin], float | None], *, share: bool
) -> str | None:
    """The narrowest margin, to two digits, at which what there is would do, as it is written in a config.

    Args:
        margin: The one that is asked for.
        have: What there is.
        required: What a margin needs of it; None when nothing shows it.
        share: Absolute parts are percentage points.

    Returns:
        None where a wide one would not do either.
    """
    if margin is None or have <= 0:
        return None
    # sizes go about by the square of the margin, so a few steps come near from below, or beyond
    short, factor = 1.0, 1.0
    for _ in range(_STEPS):
        needed = required(margin.times(factor))
        if needed is None or factor > _WIDEST:
            return None
        if needed <= have:
            break
        short, factor = factor, factor * max(math.sqrt(needed / have), _NEAR)
    else:
        return None
    while factor / short > _NEAR:
        middle = math.sqrt(short * factor)
        needed = required(margin.times(middle))
        short, factor = (short, middle) if needed is not None and needed <= have else (middle, factor)
    wide = margin.times(factor)
    parts = [] if wide.relative is None else [f"{_up(100 * wide.relative):g}%"]
    if wide.absolute is not None:
        parts.append(f"+{_up(100 * wide.absolute):g}pp" if share else f"+{_up(wide.absolute):g}")
    return " or ".join(parts)


def _up(value: float) -> float:
    """Rounded up to two digits."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / step - 1e-9) * step:.12g}")


def _decided_at(margin: str | None) -> str:
    return "" if margin is None else f"; of an unchanged canary, so much usually shows a margin of {margin}"


# --- ranks -------------------------------------------------------------------------------------------------------


def time_shortfall(
    look: Look,
    *,
    needs: str,
    have: float,
    planned: float | None,
    tau: float,
    least: float,
    fewest: int,
    margin: Callable[[], str | None],
) -> Shortfall | None:
    """What a comparison by ranks needs.

    Args:
        look: The look.
        needs: What is counted, for the text.
        have: Effective samples per side.
        planned: Independent values per side that show the margin; None when no number does.
        tau: Autocorrelation time, in samples.
        least: Fewest effective samples.
        fewest: Values on the smaller side.
        margin: Gives the one at which what there is would do.
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
    min_samples = look.config.min_samples
    required = max(planned * look.cost, least, min_samples / tau)
    if have >= required and fewest >= min_samples:
        return None
    seconds = look.more_time(max(required / have, min_samples / fewest))
    wider = margin()
    return Shortfall(
        needs=needs,
        have=have,
        required=required,
        seconds=seconds,
        weight_percent=None,
        text=f"needs about {math.ceil(required)} independent {needs}, has {have:.1f}"
        + (f": {_more(look, seconds)}" if seconds is not None else _NO_TIME)
        + _decided_at(wider),
        margin=wider,
    )


def instance_shortfall(*, have: float, required: float, text: str) -> Shortfall:
    """What a comparison of instances needs: no time does."""
    return Shortfall(needs="instances", have=have, required=required, seconds=None, weight_percent=None, text=text)


def users_shortfall(
    look: Look,
    *,
    have: float,
    required: float,
    seconds: float | None,
    share: float | None = None,
    margin: Margin | None = None,
    needs: Callable[[Margin], float | None] | None = None,
    proportion: bool = False,
) -> Shortfall:
    """What a comparison of users needs.

    Args:
        look: The look.
        have: Users of the smaller side.
        required: How many would do.
        seconds: How long until they are seen.
        share: The canary's part of the users; None: no weight is named.
        margin: The one that is asked for; None: no other one is named.
        needs: How many users a margin needs.
        proportion: Absolute parts are percentage points.
    """
    weight = None if share is None else _weight(share * (1 - share) * required / have)
    if weight is not None and share is not None and weight <= 100 * share:
        weight = None
    ways = [_more(look, seconds)] if seconds is not None else []
    ways += [f"{weight:.0f} % of the traffic"] if weight is not None else []
    wider = None if needs is None else would_do(margin, have, needs, share=proportion)
    text = f"needs about {math.ceil(required):,} canary users, has {have:,.0f}"
    return Shortfall(
        needs="canary users",
        have=have,
        required=required,
        seconds=seconds,
        weight_percent=weight,
        text=text + (f": {' or '.join(ways)}" if ways else _NO_TIME if have else "") + _decided_at(wider),
        margin=wider,
    )


# --- counts ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Need:
    """What counts have, and need, of one thing.

    Attributes:
        what: What is counted, for the text.
        have: How many there are.
        required: How many would do.
        expected: Canary events to be expected where safety is to be shown.
        product: share x (1 - share) of the traffic at which the same time would do; None where it is not known.
    """

    what: str
    have: float
    required: float
    expected: float
    product: float | None = None

    def times(self, look: Look) -> float:
        """How many times as much is needed; infinitely many of nothing."""
        return self.required * look.cost / self.have if self.have > 0 else math.inf


def count_shortfall(look: Look, metric: Metric, comparison: Comparison) -> tuple[Shortfall | None, str | None]:
    """What an undecided count needs, and why it cannot be found safe yet (too few expected events)."""
    config = look.config
    share = comparison.n_canary / (comparison.n_canary + comparison.n_baseline)
    absolute = comparison.scale is Scale.DIFFERENCE
    need = _of_margin(config, metric, comparison, share)
    if need is None:  # everything, or nothing, is an event already: no change of the size of the margin is left
        text = "no amount of data shows this margin: the rate is at its end already"
        trials = comparison.n_canary / (comparison.dispersion or 1.0)
        never = Shortfall(
            needs="canary requests", have=trials, required=None, seconds=None, weight_percent=None, text=text
        )
        return never, text
    limit = None if metric.limit is None else _of_limit(config, metric, comparison)
    if limit is not None and metric.margin is None:
        need, limit = limit, None
    blocked = None
    if need.expected < config.min_events:
        blocked = (
            f"only {need.expected:.1f} canary events are expected {'at the margin' if absolute else 'at this rate'}, "
            f"fewer than the {config.min_events:g} that safety needs"
        )
    factor = need.times(look)
    if blocked is not None and need.have > 0 and need.expected > 0:
        factor = max(factor, config.min_events / need.expected)
    of_limit = None if limit is None or limit.times(look) <= 1 else limit
    if factor <= 1 and blocked is None:
        return None if of_limit is None else _lacking(look, of_limit, of_limit.times(look), share), None
    enough = blocked is None and metric.limit is None
    margin = _margin_now(look, metric, comparison, share) if enough else None
    lacking = _lacking(look, need, factor, share)
    lacking = replaced(lacking, text=lacking.text + _decided_at(margin), margin=margin)
    if of_limit is not None and of_limit.times(look) > factor:
        slower = _lacking(look, of_limit, of_limit.times(look), share)
        lacking = replaced(lacking, seconds=slower.seconds, text=f"{lacking.text}; its limit {slower.text}")
    return lacking, blocked


def _lacking(look: Look, need: _Need, factor: float, share: float) -> Shortfall:
    """What is lacking of one thing, and until when, at this share of the traffic."""
    seconds = look.more_time(factor)
    weight = None if need.product is None else _weight(need.product * look.cost)
    if weight is not None and weight <= 100 * share:
        weight = None
    ways = [_more(look, seconds)] if seconds is not None else []
    ways += [f"{weight:.0f} % of the traffic"] if weight is not None else []
    required = need.required * look.cost
    text = f"needs {count(required)} {need.what}, has {count(need.have)}"
    return Shortfall(
        needs=need.what,
        have=need.have,
        required=required,
        seconds=seconds,
        weight_percent=weight,
        text=text + (f": {' or '.join(ways)}" if ways else "" if math.isinf(factor) else _NO_TIME),
    )


def _margin_now(look: Look, metric: Metric, comparison: Comparison, share: float) -> str | None:
    """The margin that the counts so far would show with the wanted power when nothing changed."""
    config, phi = look.config, comparison.dispersion or 1.0
    events = (comparison.events_baseline or 0.0) + (comparison.events_canary or 0.0)
    rate = events / (comparison.n_canary + comparison.n_baseline)
    alpha, power, upward = config.false_pass_rate, config.power, metric.harm is not Harm.DECREASE
    if rate <= 0:
        return None
    have = rate * comparison.n_canary / phi
    frequent = partial(share_ratio_trials, rate=rate, canary_share=share, alpha=alpha, power=power)

    def required(margin: Margin) -> float | None:
        # in canary events, of the part that is the larger one
        if margin.absolute is not None and margin.absolute >= (margin.relative or 0.0) * rate:
            bound = rate + margin.absolute if upward else rate - margin.absolute
            if not 0 <= bound <= 1 or not metric.is_proportion:
                return None
            per_side = proportions_sample_size(rate, bound, alpha=alpha, power=power)
            return look.cost * per_side / 2 / (1 - share) * rate
        ratio = margin.factor(upward=upward)
        if ratio <= 0:
            return None
        if metric.is_proportion and (trials := frequent(ratio)):
            return look.cost * trials * rate
        return look.cost * rate_ratio_events(ratio, canary_share=share, alpha=alpha, power=power)

    return would_do(metric.parsed_margin(), have, required, share=metric.is_proportion)


def _of_margin(config: JudgeConfig, metric: Metric, comparison: Comparison, share: float) -> _Need | None:
    """What shows the margin with the wanted power when nothing changed; None when nothing does."""
    margin = metric.parsed_margin()
    exposure = comparison.n_canary + comparison.n_baseline
    phi = comparison.dispersion or 1.0
    clump = clump_size(phi)
    rate = ((comparison.events_baseline or 0.0) + (comparison.events_canary or 0.0)) / exposure
    expected = rate * comparison.n_canary / phi
    alpha, power = config.false_pass_rate, config.power
    trials, bound = None, rate
    if margin is not None and comparison.scale is Scale.DIFFERENCE and margin.absolute is not None:
        bound = min(max(rate + (comparison.margin or 0.0), 0.0), 1.0)
        if bound == rate:
            return None
        per_side = proportions_sample_size(min(max(rate, 1e-12), 1.0), bound, alpha=alpha, power=power)
        # a one-sided test with n on each side has the information of n / 2 per unit of share * (1 - share)
        trials = per_side / 2 / (1 - share)
    elif metric.is_proportion and comparison.margin:
        trials = share_ratio_trials(comparison.margin, rate=rate, canary_share=share, alpha=alpha, power=power)
    if trials is not None:
        return _Need(
            what="canary requests",
            have=comparison.n_canary / phi,
            required=max(trials, config.min_events * clump / phi / max(bound, rate, 1e-12)),
            expected=max(bound, rate) * comparison.n_canary / clump,
            product=trials * (1 - share) * phi / exposure,
        )
    least = config.min_events * clump / phi
    need = _Need(what="expected canary events", have=expected, required=least, expected=expected * phi / clump)
    ratio = comparison.margin
    if margin is None or margin.relative is None or not ratio:
        return need
    events = rate_ratio_events(ratio, canary_share=share, alpha=alpha, power=power)
    quantiles = float(special.ndtri(1 - alpha) + special.ndtri(power))
    return replaced(
        need,
        required=max(least, events),
        product=(quantiles / math.log(ratio)) ** 2 * phi / (rate * exposure) if rate > 0 else None,
    )


def _of_limit(config: JudgeConfig, metric: Metric, comparison: Comparison) -> _Need:
    """What shows that a canary well within its limit keeps it."""
    limit, phi = metric.parsed_limit() or 0.0, comparison.dispersion or 1.0
    trials = limit_sample_size(
        limit=limit,
        rate=well_within(limit, harm=metric.harm, proportion=metric.is_proportion),
        proportion=metric.is_proportion,
        alpha=config.false_pass_rate,
        power=config.power,
    )
    share = trials * phi / (comparison.n_canary + comparison.n_baseline)
    return _Need(
        what="canary requests",
        have=comparison.n_canary / phi,
        required=trials,
        expected=limit * comparison.n_canary / clump_size(phi),
        product=share * (1 - share) if share <= _EVEN else None,
    )


def _weight(product: float) -> float | None:
    """The share (in %) with share * (1 - share) = product; None when even an even split has less."""
    return None if product > 0.25 else float(math.ceil(100 * (1 - math.sqrt(1 - 4 * product)) / 2))
