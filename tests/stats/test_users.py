"""Ratios of means over users: against tea-tasting, R's survey, and the formulas from raw rows in long floats."""

import json
import lzma
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from canary_judge.moments import Moments
from canary_judge.results import Harm, Scale
from canary_judge.stats.margins import Margin
from canary_judge.stats.users import alike_before, change_since, compare_users

HERE = Path(__file__).parent.parent / "data" / "users"


def cases(name: str) -> list[dict]:
    return json.loads(lzma.decompress((HERE / f"{name}.json.xz").read_bytes()))["cases"]


TEA = {case["name"]: case for case in cases("tea_tasting")}


def moments(side: dict, kind: str) -> Moments:
    """Of a case; without CUPED its past is nothing, and a mean has 1 as denominators."""
    mean, cov = np.array(side["mean"]), np.array(side["cov"])
    if kind.startswith("mean"):
        mean[[1, 3]] = 1.0
        cov[[1, 3], :] = cov[:, [1, 3]] = 0.0
    if not kind.endswith("cuped"):
        mean[2:] = 0.0
        cov[2:, :] = cov[:, 2:] = 0.0
    return Moments(users=side["n"], mean=mean, covariance=cov)


def compare(case: dict, kind: str, harm: Harm, margin: Margin | None = None):
    sides = {side: moments(case[side], kind) for side in ("baseline", "canary")}
    return compare_users(sides["baseline"], sides["canary"], harm=harm, margin=margin)


@pytest.mark.parametrize("kind", ["ratio", "ratio_cuped", "mean", "mean_cuped"])
def test_p_values_are_those_of_the_formulas_from_raw_rows(kind):
    seen = 0
    for case in cases("direct"):
        known = case[kind]
        for text, harm, margin in (
            ("1.0", Harm.DECREASE, None),
            ("0.9", Harm.DECREASE, Margin(relative=0.1)),
            ("1.25", Harm.INCREASE, Margin(relative=0.25)),
        ):
            at = {name: float(value) for name, value in known[text].items()}
            variance = max(at["own"], at["pooled"])
            if not variance or (float(known["R_b"]) < 0 and margin is not None):
                continue
            found = compare(TEA[case["name"]], kind, harm, margin).evidence
            p = found.p_harm if margin is None else found.p_beyond_margin
            t = at["T"] / math.sqrt(variance)
            # the formulas cancel where the past nearly equals the present
            near = 1e-6 if case["name"] in ("past_nearly_equal", "offset_1e9") else 1e-8
            assert p == pytest.approx(stats.t.cdf(t if harm is Harm.DECREASE else -t, at["df"]), rel=near, abs=1e-300)
            seen += 1
    assert seen > 90


@pytest.mark.parametrize("kind", ["ratio", "mean"])
def test_where_the_own_variance_is_the_larger_one_tea_tasting_says_the_same(kind):
    direct = {case["name"]: case[kind]["1.0"] for case in cases("direct")}
    seen = 0
    for name, case in TEA.items():
        known = case["results"][kind]["welch"]
        at = direct.get(name)
        if at is None or not float(at["own"]) or float(at["own"]) < float(at["pooled"]):
            continue
        found = compare(case, kind, Harm.DECREASE)
        near = max(1e-9, 100 * float(case["results"][kind]["rounding"]))
        assert found.evidence.p_harm == pytest.approx(float(known["less"]["pvalue"]), rel=near)
        assert found.evidence.standard_error == pytest.approx(float(known["se"]), rel=near)
        shown = found.at(0.9)
        assert shown.effect == pytest.approx(float(known["effect_size"]), rel=near, abs=1e-12)
        assert shown.interval == pytest.approx(
            (float(known["two-sided"]["lower"]), float(known["two-sided"]["upper"])), rel=near, abs=1e-9
        )
        seen += 1
    assert seen >= 8


def test_the_error_of_one_side_is_that_of_survey_svyratio():
    for case in cases("survey"):
        for side in ("baseline", "canary"):
            own = moments(TEA[case["name"]][side], "ratio")
            known = Moments(users=10 * own.users, mean=np.array([1.0, 1, 0, 0]), covariance=np.zeros((4, 4)))
            found = compare_users(known, own, harm=Harm.INCREASE, margin=None).evidence
            assert found.canary == pytest.approx(case[side]["now"]["ratio"], rel=1e-11)
            assert found.standard_error == pytest.approx(case[side]["now"]["se"], rel=1e-9)


def test_without_a_past_on_one_side_nothing_is_taken_off():
    case = TEA["edge_canary_no_past"]
    plain, cuped = (compare(case, kind, Harm.DECREASE).at(0.9) for kind in ("ratio", "ratio_cuped"))
    assert cuped == plain
    assert cuped.effect == pytest.approx(-0.0099, abs=0.001)


def drawn(rng: np.random.Generator, users: int, rate: float) -> np.ndarray:
    busy = np.exp(rng.standard_normal(users))
    seen, before = rng.poisson(5 * busy) + 1.0, rng.poisson(9 * busy)
    clicks = rng.binomial(seen.astype(int), rate)
    return np.column_stack([clicks, seen, rng.binomial(before, 0.1), before]).astype(float)


seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.floats(1e-6, 1e9), st.floats(1e-3, 1e3))
@settings(max_examples=60, deadline=None)
def test_no_unit_and_no_order_of_rows_changes_anything(seed, unit, other):
    rng = np.random.default_rng(seed)
    sides = [drawn(rng, 300, 0.1), drawn(rng, 150, 0.1)]
    scaled = [rng.permutation(side) * [unit, other, unit, other] for side in sides]
    margin = Margin(relative=0.1)
    one, two = (
        compare_users(Moments.of(a), Moments.of(b), harm=Harm.DECREASE, margin=margin).at(0.9)
        for a, b in (sides, scaled)
    )
    assert (two.p_harm, two.p_within_margin, two.effect) == pytest.approx(
        (one.p_harm, one.p_within_margin, one.effect), rel=1e-6
    )
    assert two.interval == pytest.approx(one.interval, rel=1e-6)


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_swapping_the_sides_swaps_the_directions(seed):
    rng = np.random.default_rng(seed)
    a, b = Moments.of(drawn(rng, 300, 0.1)), Moments.of(drawn(rng, 150, 0.12))
    worse = compare_users(a, b, harm=Harm.INCREASE, margin=None).evidence
    better = compare_users(b, a, harm=Harm.DECREASE, margin=None).evidence
    assert better.p_harm == pytest.approx(worse.p_harm, rel=1e-9)


@given(seeds, st.floats(0.02, 0.4), st.sampled_from([Harm.INCREASE, Harm.DECREASE]))
@settings(max_examples=80, deadline=None)
def test_the_interval_holds_what_the_test_does_not_reject(seed, relative, harm):
    rng = np.random.default_rng(seed)
    a, b = Moments.of(drawn(rng, 400, 0.1)), Moments.of(drawn(rng, 200, 0.1))
    found = compare_users(a, b, harm=harm, margin=Margin(relative=relative))
    low, high = found.at(0.9).interval
    null = 1 + relative if harm is Harm.INCREASE else 1 - relative
    p = min(found.evidence.p_beyond_margin, found.evidence.p_within_margin)
    if (
        low is not None and min(abs(null - low), abs(null - high)) > 0.01
    ):  # its degrees of freedom are those of the effect
        assert (low < null < high) == (p > 0.05)


def test_an_absolute_margin_is_a_difference_of_levels():
    rng = np.random.default_rng(1)
    a, b = Moments.of(drawn(rng, 5000, 0.10)), Moments.of(drawn(rng, 5000, 0.10))
    found = compare_users(a, b, harm=Harm.INCREASE, margin=Margin(absolute=0.02))
    assert found.evidence.scale is Scale.DIFFERENCE
    assert found.evidence.margin == 0.02
    assert found.evidence.p_within_margin < 0.001
    assert found.evidence.p_beyond_margin > 0.5
    both = compare_users(a, b, harm=Harm.INCREASE, margin=Margin(relative=0.001, absolute=0.02)).evidence
    assert both.p_within_margin == found.evidence.p_within_margin


def test_of_a_negative_level_more_is_harm_where_more_hurts():
    # refunds: -10 on the baseline, -8 on the canary, which is more
    def users(seed: int, mean: float) -> Moments:
        x = np.random.default_rng(seed).normal(mean, 1, 2000)
        return Moments.of(np.column_stack([x, np.ones(2000), np.zeros(2000), np.ones(2000)]))

    found = compare_users(users(1, -10), users(2, -8), harm=Harm.INCREASE, margin=Margin(relative=0.1))
    assert found.evidence.p_beyond_margin < 1e-9
    assert (
        compare_users(
            users(1, -10), users(2, -8), harm=Harm.DECREASE, margin=Margin(relative=0.1)
        ).evidence.p_within_margin
        < 1e-9
    )


def test_a_canary_without_one_click_is_found():
    rng = np.random.default_rng(1)
    dead = drawn(rng, 300, 0.1)
    dead[:, 0] = 0
    found = compare_users(
        Moments.of(drawn(rng, 3000, 0.1)), Moments.of(dead), harm=Harm.DECREASE, margin=Margin(relative=0.1)
    )
    assert found.evidence.p_beyond_margin < 1e-9
    assert found.at(0.9).effect == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("users", [0, 1])
def test_one_user_compares_with_nobody(users):
    rows = drawn(np.random.default_rng(1), 100, 0.1)
    assert compare_users(Moments.of(rows), Moments.of(rows[:users]), harm=Harm.DECREASE, margin=None) is None
    rows[:, 1] = 0
    assert compare_users(Moments.of(rows), Moments.of(rows), harm=Harm.DECREASE, margin=None) is None


def test_large_values_cancel_nothing():
    rng = np.random.default_rng(1)
    a, b = drawn(rng, 1000, 0.1), drawn(rng, 500, 0.1)
    near, far = [], []
    for rows in (a, b):
        near.append(Moments.of(np.column_stack([rows[:, 0], np.ones(len(rows)), 0 * rows[:, 0], np.ones(len(rows))])))
        far.append(
            Moments.of(np.column_stack([rows[:, 0] + 1e12, np.ones(len(rows)), 0 * rows[:, 0], np.ones(len(rows))]))
        )
    one, two = (compare_users(*pair, harm=Harm.DECREASE, margin=None).evidence for pair in (near, far))
    assert two.standard_error == pytest.approx(one.standard_error, rel=1e-3)


def test_users_who_differed_before_are_seen():
    rng = np.random.default_rng(1)
    alike = [abs(alike_before(Moments.of(drawn(rng, 2000, 0.1)), Moments.of(drawn(rng, 200, 0.1)))) for _ in range(200)]
    assert max(alike) < 4.5
    assert np.mean(np.array(alike) > 1.96) < 0.12
    chosen = drawn(rng, 400, 0.1)
    chosen[:, 2] *= 1.5
    assert alike_before(Moments.of(drawn(rng, 2000, 0.1)), Moments.of(chosen)) > 4


def test_a_change_of_the_effect_is_seen():
    rng = np.random.default_rng(1)
    pairs = {rate: (Moments.of(drawn(rng, 5000, 0.1)), Moments.of(drawn(rng, 5000, rate))) for rate in (0.1, 0.12)}
    early, late, z = change_since(pairs[0.12], pairs[0.1])
    assert early == pytest.approx(0.2, abs=0.05)
    assert late == pytest.approx(0.0, abs=0.05)
    assert z < -4
