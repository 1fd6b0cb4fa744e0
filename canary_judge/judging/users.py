"""Metrics by user: from moments to evidence, and to what forbids to use it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from canary_judge.config.metrics import Metric
from canary_judge.config.model import JudgeConfig
from canary_judge.frozen import replaced
from canary_judge.judging.assessed import Assessed
from canary_judge.judging.counts import tolerates_all
from canary_judge.judging.doubts.bearers import few_bear, giants
from canary_judge.judging.doubts.left_out import (
    MOST_CAPPED,
    TOO_MANY_LEFT_OUT,
    doubled,
    missing_alone,
    rows_apart,
    sessions,
)
from canary_judge.judging.doubts.odd_values import far_better
from canary_judge.judging.look import LONGEST_WAIT_SECONDS, Look
from canary_judge.judging.shortfalls import users_shortfall
from canary_judge.judging.silence import PATIENCE
from canary_judge.moments import LAST, UserMoments
from canary_judge.results import Comparison, Harm, Outcome, Quality, Shortfall, Side
from canary_judge.samples import UserData
from canary_judge.samples.users import is_late
from canary_judge.series import nanoseconds
from canary_judge.special import special
from canary_judge.stats.margins import Margin
from canary_judge.stats.users import Past, alike_before, change_since, compare_users, users_information
from canary_judge.wording import span

__all__ = ["FEWEST_FOR_SAFETY", "FEWEST_USERS", "assess_users", "information_needed"]

# With fewer skewed users on a side an alarm is false more often than promised; and a pass, with fewer than so many.
FEWEST_USERS, FEWEST_FOR_SAFETY = 100, 200
# The part of the canary's users that may be left out.
_MOST_LEFT_OUT = 0.05
# Standard errors beyond which the sides' users differed before the run by more than chance.
_UNLIKE_BEFORE = 4.0
# Standard errors beyond which an effect that becomes worse fades; and beyond which it is told.
_FADES, _WORTH_TELLING = 2.33, 1.64
# Standard errors by which the newest part is worse than the whole where something broke; and users that tell it.
_BROKE, _FEWEST_LAST = 3.0, 50
# Users who were due to have any numerator, where nobody has.
_SURELY_DUE = 30.0
# A level so few standard errors from 0 has no relative margin.
_NO_LEVEL = 5.0
# The canary may have so many of its rows before the run, by clocks that go wrong.
_MOST_BEFORE = 0.01
# A pause of so many usual distances is none of chance; of both sides, it may be a night of this share of the time.
_PAUSE, _LONGEST_PAUSE = 10.0, 0.1
# Of a shorter part of the time nothing is asked.
_SHORT = 0.04
# Standard errors by which the canary's share of the users changed between the thirds.
_MOVED = 5.0
# A part that a cap leaves out from which on it is told.
_WORTH_A_WORD = 0.001
# Of so many users some come twice.
_COME_AGAIN = 1000
# Seconds of a day.
_DAY = 86400.0
# Standard deviations of a user's, from which a level tells of a quantity that is hardly ever negative.
_WELL_ABOVE_0 = 0.25


def assess_users(look: Look, metric: Metric, data: UserData, bare: Assessed) -> Assessed:
    """What both sides' users did since the weight last changed.

    Args:
        look: Config and window.
        metric: By user.
        data: Their moments.
        bare: The metric without evidence.
    """
    bare = replaced(bare, warnings=(*bare.warnings, *_told(metric, data)))
    sides = {"baseline": data.baseline.whole, "canary": data.canary.whole}
    fewest = min(sides, key=lambda side: sides[side].users)
    have = sides[fewest].users
    if have < FEWEST_USERS:
        text = f"{have} users were seen on the {fewest}, at least {FEWEST_USERS} are needed" + _since(data)
        shortfall = users_shortfall(
            look, have=have, required=FEWEST_USERS, seconds=_seconds(data, FEWEST_USERS / have if have else None)
        )
        return replaced(bare, settled=(Outcome.INSUFFICIENT, text), shortfall=shortfall)
    per_user = metric.per_user()
    assert per_user is not None  # noqa: S101  (the metric is by user)
    alone = per_user.denominator is None
    margin = metric.parsed_margin()
    for side, moments in sides.items():
        x, y = moments.mean.tolist()[:2]
        if min(x if metric.is_proportion else 0.0, y) < 0:
            what, value = (per_user.numerator, x) if metric.is_proportion and x < 0 else (per_user.denominator, y)
            text = f"the users of the {side} have {value:.3g} `{what}` each, and a count is not negative"
            return replaced(bare, settled=(Outcome.ERROR, text))
        if metric.is_proportion and x > y:
            text = (
                f"the users of the {side} have {x / y if y else math.inf:.3g} times as many `{per_user.numerator}` as "
                f"`{per_user.denominator}`, so that these are no share: are they swapped? Else use kind: mean"
            )
            return replaced(bare, settled=(Outcome.ERROR, text))
    past: Past = "left out" if _contaminated(data) else "both" if _apart(data) else "taken off"
    compared = compare_users(
        data.baseline.whole, data.canary.whole, harm=metric.harm, margin=margin, per_user=alone, past=past
    )
    if compared is None:
        text = f"`{per_user.denominator}` of all users is 0 on a side, so there is nothing to divide by"
        return replaced(bare, settled=(Outcome.NO_DATA, text))
    if not compared.evidence.standard_error:
        text = "all users of both sides have the same value: chance cannot be told from effect"
        return replaced(bare, settled=(Outcome.INSUFFICIENT, text))
    level = compared.evidence.baseline or 0.0
    nothing = tolerates_all(metric, level, compared.evidence.n_baseline) or _no_bound(metric, level, data)
    for why in (nothing, _first_day(look, data)):
        bare = bare if why is None else bare.unsafe(why)
    objections = list(_objections(look, metric, compared.evidence, data, bare.quality))
    # no time mends rows that differ, or a bot
    lasting = any(True for _ in (*giants(metric, data), *rows_apart(metric, data)))
    needs = None if lasting else _shortfall(look, metric, compared.evidence, data, held=bool(objections))
    found = replaced(bare.with_comparison(compared), shortfall=needs)
    for text, settles in objections:
        if settles:
            return replaced(found, settled=(Outcome.INSUFFICIENT, text))
        found = found.doubted(text)
    return found


def _first_day(look: Look, data: UserData) -> str | None:
    """Why a run that is planned for a day or more is not found safe before one has passed.

    What is new is used more at first, whatever it is worth, and an effect that fades is seen only once it has; who
    comes in the evening is another than who comes in the morning.
    """
    passed = (data.canary.until - data.canary.since) / 1e9
    several = look.stages is not None and len(look.newest.acts) + 1 < look.stages  # others are to come
    planned = look.window.duration.total_seconds() + (look.left or 0.0)
    if not look.left or several or passed >= _DAY or planned < _DAY:
        return None
    known = "" if look.stages else " (or say how many `stages` there are, where the weight is to rise before)"
    return (
        f"{span(passed)} of a run of {span(planned)} are too few: what is new is used otherwise at first, "
        f"and others come by night; a whole day is waited for{known}"
    )


def _no_bound(metric: Metric, level: float, data: UserData) -> str | None:
    """Why an absolute margin is no bound on the fall of a mean that is never negative, as far as moments tell."""
    margin, own = metric.parsed_margin(), data.baseline.whole
    if margin is None or margin.absolute is None or metric.is_proportion or metric.harm is not Harm.DECREASE:
        return None
    spread = math.sqrt(max(float(own.covariance[0, 0]), 0.0)) / (abs(float(own.mean[1])) or 1.0)
    if level <= _WELL_ABOVE_0 * spread or margin.amount(level) < level:
        return None
    return f"the margin {metric.margin} tolerates everything: the baseline's level is {level:.3g}; give a narrower one"


def information_needed(margin: Margin, level: float, *, alpha: float, power: float) -> float:
    """As `users_information`: what shows this margin at one look, with this power when nothing changed."""
    quantiles = float(special.ndtri(1 - alpha) + special.ndtri(power))
    amount = margin.amount(level)
    return (quantiles * level / amount) ** 2 if amount else math.inf


def _planned(config: JudgeConfig, margin: Margin, level: float) -> float:
    return information_needed(margin, level, alpha=config.false_pass_rate, power=config.power)


def _shortfall(look: Look, metric: Metric, comparison: Comparison, data: UserData, *, held: bool) -> Shortfall | None:
    margin, level = metric.parsed_margin(), comparison.baseline or 0.0
    have, users = users_information(comparison), comparison.n_canary
    if margin is None or not have:
        return None

    def required(margin: Margin) -> float | None:
        if metric.harm is Harm.DECREASE and (margin.relative or 0.0) >= 1:
            return None  # no fall is that large
        return users / have * look.cost * _planned(look.config, margin, level)

    need = max(required(margin) or math.inf, FEWEST_FOR_SAFETY)
    if users >= need or not math.isfinite(need):
        return None
    share = users / (users + comparison.n_baseline)
    return users_shortfall(
        look,
        have=users,
        required=need,
        seconds=_seconds(data, need / users),
        share=share,
        margin=margin if users >= FEWEST_FOR_SAFETY and not held else None,  # no margin does away with what holds it
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
    canary = data.canary
    strays = (data.baseline.strays + canary.strays) / (data.baseline.strays + canary.strays + comparison.n_canary)
    apart = abs((comparison.canary or 0.0) / (comparison.baseline or math.inf) - 1)
    left_out = max(strays, canary.strayed / canary.rows if canary.rows else 0.0)
    if left_out > _MOST_LEFT_OUT:
        what = "users" if strays >= left_out else "rows are of users who"
        text = (
            f"{left_out:.0%} of the canary's {what} were seen on the baseline, too: is the assignment sticky, or had "
            "the canary not begun yet?"
        )
        # who comes more often strays sooner: without those a mean of each user is lower, by no more than their part
        yield text, left_out > TOO_MANY_LEFT_OUT or (_of_each_user(metric) and apart <= left_out)
    users = min(comparison.n_canary, comparison.n_baseline)
    if quality is not None and quality.unread:
        yield f"the last {quality.unread} intervals could not be read", False
    if users < FEWEST_FOR_SAFETY:
        yield f"only {users:.0f} users, fewer than the {FEWEST_FOR_SAFETY} that safety needs", False
    told = *few_bear(look, metric, comparison, data), *giants(metric, data), *sessions(data), *doubled(data)
    yield from ((text, False) for text in told)
    for name, text in rows_apart(metric, data):
        # rows without a user are missing in what each user did: of one side more than of the other
        explained = name == "anonymous" and _of_each_user(metric) and apart <= missing_alone(data)
        yield text, explained or name == "elsewhere"  # they may be the clicks, and not what is clicked on
    yield from _timing(look, metric, data)
    if not metric.is_proportion:
        better = far_better(comparison.baseline or 0.0, comparison.canary or 0.0, metric.harm)
        yield from () if better is None else ((better, False),)
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
        good = {Harm.INCREASE: early < 0, Harm.DECREASE: early > 0, Harm.EITHER: abs(early) > abs(late)}[metric.harm]
        if worse > _FADES:
            yield f"{'the effect fades' if good else 'the harm grows'}: {_thirds(data, early, late)}", False
    if (broke := _broke(metric, data)) is not None:
        yield broke, False


def _timing(look: Look, metric: Metric, data: UserData) -> Iterator[tuple[str, bool]]:
    """Sides that were not counted over the same time; means per user are then of different lengths."""
    end = nanoseconds(look.window.end)
    if look.newest.decides and data.canary.until < end:
        yield f"the rows of the last {span((end - data.canary.until) / 1e9)} are not loaded yet", False
    for text in _late(look, data):
        yield text, False
    alone = _of_each_user(metric)
    step = round(look.config.interval.total_seconds() * 1e9)
    missed = {side: _missed_at_first(getattr(data, side.value)) for side in Side}
    for side, other in ((Side.CANARY, Side.BASELINE), (Side.BASELINE, Side.CANARY)):
        moments = getattr(data, side.value)
        begun = None if moments.earliest is None else moments.earliest - moments.since
        # at night both have pauses, and in a short part of the time little is missed
        alone_late = missed[side] > _PAUSE * max(missed[other], 1.0)
        if begun is not None and alone_late and begun >= max(step / 4, _SHORT * (moments.until - moments.since)):
            yield (
                f"the {side}'s first row comes {span(begun / 1e9)} after the {other}'s could: was it not counted yet?",
                alone,
            )
            return
    if (moved := _moved(data)) is not None:
        yield moved, alone
    elif alone and (hollow := _hollow(data)) is not None:
        yield hollow, True


def _of_each_user(metric: Metric) -> bool:
    """Whether it is a mean over users, and not over what they did."""
    per_user = metric.per_user()
    return per_user is not None and per_user.denominator is None


def _missed_at_first(moments: UserMoments) -> float:
    """Rows that would have come in the pause before the first one, at the pace of the others."""
    if moments.earliest is None or moments.latest is None:
        return 0.0
    pause, length = moments.earliest - moments.since, moments.latest - moments.earliest
    return moments.rows * pause / length if length else math.inf if pause else 0.0


def _missed_at_last(moments: UserMoments) -> float:
    """The same of the pause after the newest one."""
    if moments.latest is None or moments.latest <= moments.since:
        return 0.0
    return moments.rows * (moments.until - moments.latest) / (moments.latest - moments.since)


def _moved(data: UserData) -> str | None:
    """A hole in one side's rows: its share of the users in the first or in the last third is another."""
    parts = []
    for name in ("early", "late"):
        sides = [getattr(getattr(data, side.value), name) for side in Side]
        if any(one is None for one in sides):
            return None
        parts.append([one.users for one in sides])
    (b_1, c_1), (b_2, c_2) = parts
    if min(b_1, b_2) < FEWEST_USERS or not c_1 + c_2:
        return None
    share = (c_1 + c_2) / (b_1 + b_2 + c_1 + c_2)
    off = c_1 / (b_1 + c_1) - c_2 / (b_2 + c_2)
    error = math.sqrt(share * (1 - share) * (1 / (b_1 + c_1) + 1 / (b_2 + c_2)))
    if error and abs(off) > _MOVED * error:
        return (
            f"the canary has {c_1 / (b_1 + c_1):.2%} of the users in the first third of the time and "
            f"{c_2 / (b_2 + c_2):.2%} in the last: are there holes in its rows?"
        )
    return None


def _hollow(data: UserData) -> str | None:
    """A hole in the middle of one side's rows: its first and last third have another part of all that it did.

    Under a cap each third is capped for itself, so that the parts add up to more than the whole, by no more than what
    the cap leaves out of it: so far the sides may differ because one of them does more.
    """
    parts, variance = [], 0.0
    for side in Side:
        moments = getattr(data, side.value)
        if moments.early is None or moments.late is None:
            return None
        whole, *ends = (float(one.users * one.mean[0]) for one in (moments.whole, moments.early, moments.late))
        if min(whole, *ends) <= 0 or min(moments.early.users, moments.late.users) < FEWEST_USERS:
            return None
        parts.append(sum(ends) / whole)
        # of a sum over users whose number is one of chance, as a share of it
        errors = [(1 + one.covariance[0, 0] / one.mean[0] ** 2) / one.users for one in (moments.early, moments.late)]
        variance += max(errors) + sum(errors) / 4  # of the middle, and of the ends, beside each other
    middle = max(1 - sum(parts) / 2, 1 / 3)
    off = abs(math.log(parts[1] / parts[0]))
    by_the_cap = -math.log1p(-min(max(data.baseline.capped, data.canary.capped), MOST_CAPPED))
    if off - by_the_cap <= _MOVED * middle * math.sqrt(variance):
        return None
    return (
        f"the canary did {parts[1]:.0%} of all that it did, and the baseline {parts[0]:.0%}, in the first and the last "
        "third of the time: are there holes in the rows, or did it break for a while?"
    )


def _late(look: Look, data: UserData) -> Iterator[str]:
    """One side's rows have stopped coming and the other's have not; or both have, for longer than a pause."""
    step = round(look.config.interval.total_seconds() * 1e9)
    late = {side: is_late(getattr(data, side.value), step) for side in Side}
    if all(late.values()):
        age = min(getattr(data, side.value).until - (getattr(data, side.value).latest or 0) for side in Side)
        if age > max(PATIENCE * step, _LONGEST_PAUSE * (data.canary.until - data.canary.since)):
            yield f"neither side has a row of the last {span(age / 1e9)}"
    for side, other in ((Side.BASELINE, Side.CANARY), (Side.CANARY, Side.BASELINE)):
        # where the other one is quiet, too, it is night
        moments, quiet = getattr(data, side.value), _missed_at_last(getattr(data, other.value))
        if late[side] and not late[other] and _missed_at_last(moments) > _PAUSE * max(quiet, 1.0):
            yield f"the {side}'s rows are late: the newest is {span((moments.until - moments.latest) / 1e9)} old"


def _contaminated(data: UserData) -> bool:
    """Whether the canary was there before the run."""
    return data.canary.before > _MOST_BEFORE * data.canary.rows


def _apart(data: UserData) -> float:
    """Standard errors by which the users differed before the run, beyond chance; 0 where they did not."""
    apart = abs(alike_before(data.baseline.whole, data.canary.whole))
    known = [getattr(data, side.value).known for side in Side]
    if None not in known:  # and whether as many of them were there at all
        users = [getattr(data, side.value).whole.users for side in Side]
        share = min(sum(one or 0 for one in known) / (sum(users) or 1), 1.0)
        error = math.sqrt(share * (1 - share) * sum(1 / one for one in users if one))
        off = abs((known[1] or 0) / (users[1] or 1) - (known[0] or 0) / (users[0] or 1))
        apart = max(apart, off / error if error else 0.0)
    return apart if apart > _UNLIKE_BEFORE else 0.0


def _unlike(data: UserData) -> Iterator[str]:
    """The users were others before the canary could do anything to them; or it did already."""
    if _contaminated(data):
        yield (
            f"the canary has {data.canary.before:,} rows in the time before the run (`history`): it ran already, so "
            "that what its users did before is not taken off; or users are called the canary's since before it began: "
            "call them so from its start on"
        )
    elif (apart := _apart(data)) > 0:
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


def _broke(metric: Metric, data: UserData) -> str | None:
    """Why a canary broke at its end: the effect of the newest part is worse than of the whole, by no chance."""
    whole, last = (data.baseline.whole, data.canary.whole), (data.baseline.last, data.canary.last)
    if last[0] is None or last[1] is None or min(one.users for one in last if one is not None) < _FEWEST_LAST:
        return None
    if (change := change_since(whole, (last[0], last[1]))) is None:
        return None
    before, after, z = change
    worse = {Harm.INCREASE: z, Harm.DECREASE: -z, Harm.EITHER: abs(z)}[metric.harm]
    if worse <= _BROKE:
        return None
    length = span((data.canary.until - data.canary.since) / LAST / 1e9)
    return (
        f"the effect of the last {length} is {after:+.1%}, where that of all the time is {before:+.1%}: did it break?"
    )


def _not_loaded(metric: Metric, data: UserData) -> str | None:
    """Whether neither side has any numerator in the newest part, where many users were due to: it is joined later."""
    per_user, sides = metric.per_user(), (data.baseline, data.canary)
    if per_user is None or any(one.last is None or not one.last.users or one.last.mean[0] for one in sides):
        return None
    due = 0.0
    for one in sides:
        assert one.last is not None  # noqa: S101
        shown, whole = (float(part.mean[1]) * part.users for part in (one.last, one.whole))
        due += one.whole.bearing(0) * shown / whole if whole else 0.0
    if due < _SURELY_DUE:
        return None
    length = span((data.canary.until - data.canary.since) / LAST / 1e9)
    return (
        f"neither side has any `{per_user.numerator}` in the last {length}, where about {due:,.0f} users were due to "
        "have some: is it not loaded yet (set `delay` of the source to how late it is), or is that so by night?"
    )


def _thirds(data: UserData, early: float, late: float) -> str:
    length = span((data.canary.until - data.canary.since) / 3e9)
    return f"{early:+.1%} in the first {length}, {late:+.1%} in the last"


def _told(metric: Metric, data: UserData) -> Iterator[str]:
    """What a reader should know."""
    per_user = metric.per_user()
    if (late := _not_loaded(metric, data)) is not None:  # or at night nobody does
        yield late
    if per_user is not None and max(data.baseline.capped, data.canary.capped) > _WORTH_A_WORD:
        what = per_user.denominator or per_user.numerator
        yield (
            f"the cap leaves out {data.canary.capped:.0%} of the canary's and {data.baseline.capped:.0%} of the "
            f"baseline's `{what}`"
        )
    if per_user is not None and (undefined := data.canary.undefined + data.baseline.undefined):
        yield f"{undefined:,} rows have no `{per_user.numerator}`, which counts as 0"
    if all(_once_each(getattr(data, side.value)) for side in Side):
        yield (
            "every user has one row, which is well where it sums up a user: are these ids of sessions, of which one "
            "user has several? Then less is known than it seems"
        )
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


def _once_each(moments: UserMoments) -> bool:
    """Whether no user of many came twice."""
    return moments.whole.users >= _COME_AGAIN and moments.rows == moments.whole.users


def _since(data: UserData) -> str:
    length = (data.canary.until - data.canary.since) / 1e9
    return f" (in {span(length)} since the weight last changed)" if length > 0 else " (the weight has just changed)"
