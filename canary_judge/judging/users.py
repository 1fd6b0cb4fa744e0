"""Metrics by user: from moments to evidence, and to what forbids to use it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from scipy import special

from canary_judge.config.metrics import Metric
from canary_judge.config.model import JudgeConfig
from canary_judge.judging.assessed import Assessed
from canary_judge.judging.look import LONGEST_WAIT_SECONDS, Look
from canary_judge.judging.shortfalls import users_shortfall
from canary_judge.results import Comparison, Harm, Outcome, Quality, Shortfall, Side
from canary_judge.samples import UserData
from canary_judge.samples.users import is_late
from canary_judge.stats.margins import Margin
from canary_judge.stats.users import alike_before, change_since, compare_users, users_information
from canary_judge.wording import span

__all__ = ["FEWEST_FOR_SAFETY", "FEWEST_USERS", "assess_users", "information_needed"]

# With fewer skewed users on a side an alarm is false more often than promised; and a pass, with fewer than so many.
FEWEST_USERS, FEWEST_FOR_SAFETY = 100, 200
# One user's part of a side beyond which the side speaks for him (a bot?): this, and so many average users. Of few
# users the busiest one has more than 5 % by chance.
_MOST_OF_ONE, _AVERAGE_USERS = 0.05, 25
# The part of the canary's users (of its rows, for those without a user) that may be left out.
_MOST_LEFT_OUT, _TOO_MANY_LEFT_OUT = 0.05, 0.2
# Standard errors beyond which the sides' users differed before the run by more than chance.
_UNLIKE_BEFORE = 4.0
# Standard errors beyond which an effect that becomes worse fades; and beyond which it is told.
_FADES, _WORTH_TELLING = 2.33, 1.64
# A level so few standard errors from 0 has no relative margin.
_NO_LEVEL = 5.0


def assess_users(look: Look, metric: Metric, data: UserData, bare: Assessed) -> Assessed:
    """What both sides' users did since the weight last changed.

    Args:
        look: Config and window.
        metric: By user.
        data: Their moments.
        bare: The metric without evidence.
    """
    bare = replace(bare, warnings=(*bare.warnings, *_told(data)))
    sides = {"baseline": data.baseline.whole, "canary": data.canary.whole}
    fewest = min(sides, key=lambda side: sides[side].users)
    have = sides[fewest].users
    if have < FEWEST_USERS:
        text = f"{have} users were seen on the {fewest}, at least {FEWEST_USERS} are needed" + _since(data)
        shortfall = users_shortfall(
            look, have=have, required=FEWEST_USERS, seconds=_seconds(data, FEWEST_USERS / have if have else None)
        )
        return replace(bare, settled=(Outcome.INSUFFICIENT, text), shortfall=shortfall)
    per_user = metric.per_user()
    assert per_user is not None  # noqa: S101  (the metric is by user)
    alone = per_user.denominator is None
    margin = metric.parsed_margin()
    compared = compare_users(data.baseline.whole, data.canary.whole, harm=metric.harm, margin=margin, per_user=alone)
    if compared is None:
        text = f"`{per_user.denominator}` of all users is 0 on a side, so there is nothing to divide by"
        return replace(bare, settled=(Outcome.NO_DATA, text))
    if not compared.evidence.standard_error:
        text = "all users of both sides have the same value: chance cannot be told from effect"
        return replace(bare, settled=(Outcome.INSUFFICIENT, text))
    found = replace(bare.with_comparison(compared), shortfall=_shortfall(look, metric, compared.evidence, data))
    for text, settles in _objections(look, metric, compared.evidence, data, bare.quality):
        if settles:
            return replace(found, settled=(Outcome.INSUFFICIENT, text))
        found = found.unsafe(text)
    return found


def information_needed(margin: Margin, level: float, *, alpha: float, power: float) -> float:
    """As `users_information`: what shows this margin at one look, with this power when nothing changed."""
    quantiles = float(special.ndtri(1 - alpha) + special.ndtri(power))
    amount = margin.amount(level)
    return (quantiles * level / amount) ** 2 if amount else math.inf


def _planned(config: JudgeConfig, margin: Margin, level: float) -> float:
    return information_needed(margin, level, alpha=config.false_pass_rate, power=config.power)


def _shortfall(look: Look, metric: Metric, comparison: Comparison, data: UserData) -> Shortfall | None:
    margin, level = metric.parsed_margin(), comparison.baseline or 0.0
    have, users = users_information(comparison), comparison.n_canary
    if margin is None or not have:
        return None

    def required(margin: Margin) -> float:
        return users / have * look.cost * _planned(look.config, margin, level)

    need = max(required(margin), FEWEST_FOR_SAFETY)
    if users >= need or not math.isfinite(need):
        return None
    share = users / (users + comparison.n_baseline)
    return users_shortfall(
        look,
        have=users,
        required=need,
        seconds=_seconds(data, need / users),
        share=share,
        margin=margin if users >= FEWEST_FOR_SAFETY else None,
        needs=required,
        proportion=metric.is_proportion,
    )


def _seconds(data: UserData, factor: float | None) -> float | None:
    """How long until so many times the users are seen, at the pace so far; new users come ever more slowly."""
    if factor is None:
        return None
    seconds = (data.canary.until - data.canary.since) / 1e9 * (factor - 1)
    return seconds if 0 < seconds <= LONGEST_WAIT_SECONDS else None


def _objections(
    look: Look, metric: Metric, comparison: Comparison, data: UserData, quality: Quality | None
) -> Iterator[tuple[str, bool]]:
    """Why the metric cannot be found safe; and whether nothing can be told at all."""
    strays = data.baseline.strays + data.canary.strays
    left_out = strays / (strays + comparison.n_canary)
    if left_out > _MOST_LEFT_OUT:
        text = (
            f"{left_out:.0%} of the canary's users were seen on the baseline, too: is the assignment sticky, or had "
            "the canary not begun yet?"
        )
        yield text, left_out > _TOO_MANY_LEFT_OUT
    users = min(comparison.n_canary, comparison.n_baseline)
    if quality is not None and quality.unread:
        yield f"the last {quality.unread} intervals could not be read", False
    if users < FEWEST_FOR_SAFETY:
        yield f"only {users:.0f} users, fewer than the {FEWEST_FOR_SAFETY} that safety needs", False
    for side in Side:
        moments = getattr(data, side.value)
        largest = moments.whole.largest_share
        if largest > max(_MOST_OF_ONE, _AVERAGE_USERS / moments.whole.users):
            yield f"one user makes {largest:.0%} of the {side}: a bot?", False
        rows = moments.rows + moments.anonymous
        if moments.anonymous > _TOO_MANY_LEFT_OUT * rows:
            yield f"{moments.anonymous / rows:.0%} of the rows of the {side} have no user", False
    yield from ((text, False) for text in _late(look, data))
    level, own = comparison.baseline or 0.0, data.baseline.whole
    margin = metric.parsed_margin()
    if margin is not None and margin.absolute is None:
        error = math.sqrt(max(float(own.covariance[0, 0]), 0.0) / own.users) / (abs(float(own.mean[1])) or 1.0)
        if abs(level) < _NO_LEVEL * error:
            yield "the baseline's level is not known to be other than 0, so that no share of it is a margin", False
    yield from ((text, False) for text in _unlike(data))
    if (change := _change(data)) is not None:
        early, late, z = change
        worse = {Harm.INCREASE: z, Harm.DECREASE: -z, Harm.EITHER: abs(z)}[metric.harm]
        if worse > _FADES:
            yield f"the effect fades: {_thirds(data, early, late)}", False


def _late(look: Look, data: UserData) -> Iterator[str]:
    """One side's rows have stopped coming, and the other's have not."""
    step = round(look.config.interval.total_seconds() * 1e9)
    late = {side: is_late(getattr(data, side.value), step) for side in Side}
    for side in Side:
        if late[side] and not all(late.values()):
            moments = getattr(data, side.value)
            yield f"the {side}'s rows are late: the newest is {span((moments.until - moments.latest) / 1e9)} old"


def _unlike(data: UserData) -> Iterator[str]:
    """The users were others before the canary could do anything to them."""
    apart = abs(alike_before(data.baseline.whole, data.canary.whole))
    if apart > _UNLIKE_BEFORE:
        yield (
            f"the users of both sides differed before the run already, by {apart:.1f} standard errors: is it chance "
            "who gets the canary?"
        )


def _change(data: UserData) -> tuple[float, float, float] | None:
    """The effect in the first and in the last third, and its change in standard errors."""
    parts = []
    for name in ("early", "late"):
        sides = getattr(data.baseline, name), getattr(data.canary, name)
        if any(one is None or one.users < FEWEST_USERS for one in sides):
            return None
        parts.append(sides)
    return change_since(parts[0], parts[1])


def _thirds(data: UserData, early: float, late: float) -> str:
    length = span((data.canary.until - data.canary.since) / 3e9)
    return f"{early:+.1%} in the first {length}, {late:+.1%} in the last"


def _told(data: UserData) -> Iterator[str]:
    """What a reader should know."""
    strays = data.baseline.strays + data.canary.strays
    if strays:
        yield f"{strays:,} users were seen on both sides and are left out"
    yield from _unlike(data)
    for side in Side:
        moments = getattr(data, side.value)
        rows = moments.rows + moments.anonymous
        if moments.anonymous > _MOST_LEFT_OUT * rows:
            yield f"{moments.anonymous:,} of {rows:,} rows of the {side} have no user and are left out"
    if (change := _change(data)) is not None and abs(change[2]) > _WORTH_TELLING:
        yield f"the effect changes: {_thirds(data, change[0], change[1])}"


def _since(data: UserData) -> str:
    length = (data.canary.until - data.canary.since) / 1e9
    return f" (in {span(length)} since the weight last changed)" if length > 0 else " (the weight has just changed)"
