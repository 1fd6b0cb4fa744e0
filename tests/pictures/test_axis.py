"""Where a bar lies: by what the library decided, and where it has no deciding interval, by its p-values."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.picture_cases import judged
from canary_judge.pictures.axis import Place, place_of
from canary_judge.pictures.numbers import bound_text, effect_text
from canary_judge.pictures.rows import State
from canary_judge.pictures.shapes import Track, bar
from canary_judge.results import Harm, Outcome, Scale

ERRORS = judged("fail")["errors"]
ALPHA, BETA = 0.01, 0.05
P_VALUES = st.floats(0, 1) | st.just(0.0)
EFFECTS = st.none() | st.floats(-5, 50)


def place(metric):
    return place_of(metric, false_alarm_rate=ALPHA, false_pass_rate=BETA)


def metric(*, deciding=None, harm=Harm.INCREASE, outcome=Outcome.INCONCLUSIVE, harm_level=ALPHA, **comparison):
    return replace(
        ERRORS,
        deciding=deciding,
        harm=harm,
        outcome=outcome,
        harm_level=harm_level,
        limit=None,
        decided_at=None,
        comparison=replace(ERRORS.comparison, **comparison),
    )


@given(
    effect=EFFECTS,
    ends=st.tuples(EFFECTS, EFFECTS),
    p_beyond=P_VALUES,
    p_within=P_VALUES,
    scale=st.sampled_from(Scale),
    harm=st.sampled_from([Harm.INCREASE, Harm.DECREASE]),
)
def test_without_a_deciding_interval_the_p_values_say_on_which_side_a_bar_lies(
    effect, ends, p_beyond, p_within, scale, harm
):
    rising = harm is Harm.INCREASE
    margin = (1.5 if rising else 0.8) if scale is Scale.RATIO else (0.3 if rising else -0.3)
    one = metric(
        effect=effect,
        interval=ends,
        p_beyond_margin=p_beyond,
        p_within_margin=p_within,
        scale=scale,
        margin=margin,
        harm=harm,
    )
    found = place(one)
    assert found.shows_harm is (p_beyond <= ALPHA)
    assert found.rules_out_harm is (p_within <= BETA and p_beyond > ALPHA)
    assert found.low <= found.high
    assert not math.isnan(found.low)
    assert not math.isnan(found.high)


def test_what_is_withheld_is_not_ruled_out():
    one = metric(
        effect=1.0, interval=(0.9, 1.1), p_beyond_margin=1.0, p_within_margin=1e-6, outcome=Outcome.INSUFFICIENT
    )
    assert place(one).high == math.inf


@pytest.mark.parametrize(
    ("deciding", "harm", "margin", "shows", "rules_out"),
    [
        ((1.5, 3.0), Harm.INCREASE, 1.5, True, False),
        ((1.4999, 3.0), Harm.INCREASE, 1.5, False, False),
        ((0.5, 1.5), Harm.INCREASE, 1.5, False, True),
        ((0.5, 1.5001), Harm.INCREASE, 1.5, False, False),
        ((None, 1.2), Harm.INCREASE, 1.5, False, True),
        ((1.6, None), Harm.INCREASE, 1.5, True, False),
        ((0.2, 0.8), Harm.DECREASE, 0.8, True, False),
        ((0.8, 1.4), Harm.DECREASE, 0.8, False, True),
        # both directions hurt: a fall by 4 % is one to 0.96x, not to 1 / 1.04
        ((0.96, 1.04), Harm.EITHER, 1.04, False, True),
        ((0.9599, 1.04), Harm.EITHER, 1.04, False, False),
        ((0.9, 0.96), Harm.EITHER, 1.04, True, False),
        ((1.04, None), Harm.EITHER, 1.04, True, False),
        ((None, 0.9), Harm.EITHER, 1.04, True, False),
        ((None, 1.01), Harm.EITHER, 1.04, False, False),
    ],
)
def test_an_end_at_the_margin_has_just_decided(deciding, harm, margin, shows, rules_out):
    found = place(metric(deciding=deciding, harm=harm, margin=margin))
    assert (found.shows_harm, found.rules_out_harm) == (shows, rules_out)


def test_ratios_are_equally_far_on_both_sides():
    found = place(metric(deciding=(0.5, 2.0), margin=2.0, effect=1.0))
    assert (found.low, found.effect, found.high) == (-1.0, 0.0, 1.0)


def test_new_events_lie_beyond_every_margin():
    assert place(metric(effect=None, deciding=(4.0, None))).effect == math.inf


@pytest.mark.parametrize("margin", [None, 1.0, 0.9, 0.0, -1.0, math.nan])
def test_what_bounds_no_harm_is_no_place(margin):
    assert place(metric(margin=margin)) is None


def test_a_limit_on_the_wrong_side_of_the_baseline_is_no_place():
    limit = replace(judged("clipped")["slow share"].limit, limit=ERRORS.comparison.baseline / 2)
    assert place(replace(metric(margin=None), limit=limit)) is None
    assert place(replace(metric(margin=None), limit=replace(limit, limit=1.0))) is not None


@pytest.mark.parametrize(
    ("comparison", "effect", "interval"),
    [
        ({"effect": 2.96, "deciding": (1.71, 4.92)}, "3.0x", "1.7 to 4.9"),
        ({"effect": 0.9634, "deciding": (0.9541, 0.9712), "margin": 1.05}, "0.963x", "0.954 to 0.971"),
        ({"effect": 111.4, "deciding": (48.2, None)}, "111x", "at least 48x"),
        ({"effect": None, "deciding": (18.3, None)}, "new events", "at least 18x"),
        ({"effect": 0.0041, "deciding": (0.0011, 0.0069), "scale": Scale.DIFFERENCE, "margin": 0.002}, "+0.41 pp", "+0.11 to +0.69"),
        ({"effect": -1e-9, "deciding": (-0.01, 0.01), "scale": Scale.DIFFERENCE, "margin": 0.02}, "0 pp", "at most +1.0 pp"),
        ({"effect": 1.0, "deciding": (None, None)}, "1.00x", "no bound yet"),
        ({"effect": 0.4, "deciding": (0.0, 1.2)}, "0.40x", "at most 1.2x"),
    ],
)  # fmt: skip
def test_numbers_have_as_many_digits_as_mean_something(comparison, effect, interval):
    assert effect_text(metric(**comparison)) == (effect, interval)


def test_of_both_directions_one_end_alone_bounds_no_harm():
    one = metric(effect=1.0, deciding=(None, 1.0), harm=Harm.EITHER, margin=1.04)
    assert effect_text(one)[1] == "no bound yet"
    assert bound_text(one) == "±4 %"


def test_a_metric_without_data_keeps_its_margin():
    assert bound_text(replace(judged("no data")["cpu per request"], limit=None)) == "+0.05ms"


@pytest.mark.parametrize(
    ("low", "high", "tips"),
    [(0.0, 1.0, []), (0.0, 9.0, [244.0]), (-9.0, 1.0, [4.0]), (-9.0, 9.0, [244.0, 4.0]), (9.0, math.inf, [244.0])],
)
def test_an_end_that_is_cut_is_an_arrow_and_no_other(low, high, tips):
    """A tip is the one point of a bar at its middle height."""
    track = Track(left=0, right=248)
    (shape,) = bar(track, 50, State.BAD, Place(effect=None, low=low, high=high, moved=False))
    assert [x for x, y in shape.points if y == 50] == tips
    assert len(shape.points) == 4 + 3 * len(tips)
