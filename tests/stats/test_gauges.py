"""Comparisons of values and instances, limits by signs, against R and scipy; levels by simulation."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats

from canary_judge.results import Harm, Scale
from canary_judge.stats.gauges import compare_instances, compare_means, compare_values, limit_values, series_tau
from canary_judge.stats.margins import Margin

FROM_R = json.loads((Path(__file__).parents[1] / "data" / "limits.json").read_text())["rows"]
SIGNS = [row for row in FROM_R if row["kind"] == "share" and row["limit"] == 0.5]


@pytest.mark.parametrize("row", SIGNS, ids=lambda row: f"{row['events']}-of-{row['exposure']}")
def test_a_limit_of_values_is_the_sign_test_of_r(row):
    above, n = int(row["events"]), int(row["exposure"])
    canary = np.concatenate([np.full(above, 3.0), np.full(n - above, 1.0)])
    check = limit_values(canary=canary, tau=1.0, limit=2.0, harm=Harm.INCREASE)
    assert check.p_beyond_limit == pytest.approx(row["greater"], rel=1e-10)
    assert check.p_within_limit == pytest.approx(row["less"], rel=1e-10)
    other = limit_values(canary=canary, tau=1.0, limit=2.0, harm=Harm.DECREASE)
    assert (other.p_beyond_limit, other.p_within_limit) == (check.p_within_limit, check.p_beyond_limit)


def test_values_at_the_limit_count_half_and_dependent_ones_less():
    canary = np.concatenate([np.full(6, 3.0), np.full(4, 2.0), np.full(2, 1.0)])
    check = limit_values(canary=canary, tau=1.0, limit=2.0, harm=Harm.INCREASE)
    assert check.p_beyond_limit == pytest.approx(stats.binomtest(8, 12, 0.5, alternative="greater").pvalue, rel=1e-10)
    assert check.canary == 2.5
    half = limit_values(canary=canary, tau=2.0, limit=2.0, harm=Harm.INCREASE)
    assert half.p_beyond_limit == pytest.approx(stats.binomtest(4, 6, 0.5, alternative="greater").pvalue, rel=1e-10)
    none = limit_values(canary=np.ones(5), tau=1.0, limit=2.0, harm=Harm.INCREASE)
    assert (none.p_beyond_limit, none.p_within_limit) == (1.0, pytest.approx(0.5**5))


# --- values ------------------------------------------------------------------------------------------------------


def test_independent_values_are_compared_by_mann_whitney_with_students_tail():
    rng = np.random.default_rng(1)
    b, c = rng.normal(10, 2, 30), rng.normal(11, 2, 40)
    found = compare_values(baseline=b, canary=c, tau=1.0, harm=Harm.INCREASE, margin=None, level=0.9)
    u = stats.mannwhitneyu(c, b, method="asymptotic", use_continuity=False, alternative="greater")
    n = 2 * 30 * 40 / 70
    assert found.p_harm == pytest.approx(special.stdtr(2 * n - 2, special.ndtri(u.pvalue)), rel=1e-9)
    assert found.n_effective == pytest.approx(n)
    assert (found.p_beyond_margin, found.p_within_margin, found.margin) == (None, None, None)


def test_dependence_divides_the_sample_and_the_score():
    rng = np.random.default_rng(2)
    b, c = rng.normal(10, 2, 40), rng.normal(11, 2, 40)
    one, four = (
        compare_values(baseline=b, canary=c, tau=tau, harm=Harm.INCREASE, margin=None, level=0.9) for tau in (1.0, 4.0)
    )
    assert four.n_effective == pytest.approx(one.n_effective / 4)
    z = -special.stdtrit(2 * one.n_effective - 2, one.p_harm)
    assert four.p_harm == pytest.approx(special.stdtr(2 * four.n_effective - 2, -z / 2), rel=1e-9)
    assert four.method.endswith("on n/tau effective samples")


def test_brunner_and_munzels_variance_is_taken_where_it_is_the_larger_one():
    rng = np.random.default_rng(3)
    b, c = rng.normal(0, 1, 120), rng.normal(0.2, 4, 12)
    found = compare_values(
        baseline=b, canary=c, tau=1.0, harm=Harm.INCREASE, margin=None, level=0.9, spreads_differ=True
    )
    reference = stats.brunnermunzel(b, c, alternative="less", distribution="normal")
    n = 2 * 120 * 12 / 132
    assert found.p_harm == pytest.approx(special.stdtr(2 * n - 2, -abs(reference.statistic)), rel=1e-2)
    usual = compare_values(baseline=b, canary=c, tau=1.0, harm=Harm.INCREASE, margin=None, level=0.9)
    assert abs(found.p_harm - 0.5) < abs(usual.p_harm - 0.5)
    same = compare_values(
        baseline=b, canary=b[:40] + 0.1, tau=1.0, harm=Harm.INCREASE, margin=None, level=0.9, spreads_differ=True
    )
    plain = compare_values(baseline=b, canary=b[:40] + 0.1, tau=1.0, harm=Harm.INCREASE, margin=None, level=0.9)
    assert same.p_harm >= plain.p_harm  # never the smaller variance


# --- means and instances -----------------------------------------------------------------------------------------


def test_two_sides_of_instances_are_compared_by_students_t():
    rng = np.random.default_rng(4)
    b, c = rng.normal(100, 5, (6, 30)), rng.normal(104, 5, (3, 30))
    found = compare_instances(baseline=b, canary=c, harm=Harm.INCREASE, margin=Margin(absolute=10.0), level=0.9)
    reference = stats.ttest_ind(c.mean(axis=1), b.mean(axis=1), alternative="greater")
    assert found.p_harm == pytest.approx(reference.pvalue, rel=1e-9)
    assert found.interval == pytest.approx(
        stats.ttest_ind(c.mean(axis=1), b.mean(axis=1)).confidence_interval(0.9), rel=1e-9
    )
    assert (found.scale, found.margin, found.n_effective) == (Scale.DIFFERENCE, 10.0, 4.0)


def test_one_instance_against_a_sample_is_crawford_and_howells_case():
    rng = np.random.default_rng(5)
    b, c = rng.normal(100, 5, (5, 30)), rng.normal(130, 5, (1, 30))
    found = compare_instances(baseline=b, canary=c, harm=Harm.INCREASE, margin=None, level=0.9)
    usual = b.mean(axis=1)
    t = (c.mean() - usual.mean()) / (usual.std(ddof=1) * np.sqrt(6 / 5))
    assert found.p_harm == pytest.approx(stats.t.sf(t, 4), rel=1e-9)


def test_a_relative_margin_of_means_is_fiellers():
    rng = np.random.default_rng(6)
    b, c = rng.normal(100, 5, 60), rng.normal(106, 5, 60)
    found = compare_means(baseline=b, canary=c, harm=Harm.INCREASE, margin=Margin(relative=0.1), level=0.9)
    both = compare_means(baseline=1.1 * b, canary=c, harm=Harm.INCREASE, margin=None, level=0.9)
    other = compare_means(baseline=1.1 * b, canary=c, harm=Harm.DECREASE, margin=None, level=0.9)
    assert found.p_beyond_margin == pytest.approx(both.p_harm, rel=1e-9)
    assert found.p_within_margin == pytest.approx(other.p_harm, rel=1e-9)
    assert found.margin == 1.1


def test_the_level_without_an_interval_gives_none():
    rng = np.random.default_rng(7)
    b, c = rng.normal(100, 5, (6, 30)), rng.normal(104, 5, (3, 30))
    for margin in (Margin(relative=0.1), Margin(absolute=5.0)):
        common = {"harm": Harm.INCREASE, "margin": margin, "level": 1.0}
        assert compare_instances(baseline=b, canary=c, **common).interval == (None, None)
        assert compare_means(baseline=b[0], canary=c[0], **common).interval == (None, None)
        assert compare_values(baseline=b[0], canary=c[0], tau=1.0, **common).interval == (None, None)


def test_a_history_can_only_lengthen_the_memory_of_a_series():
    rng = np.random.default_rng(8)
    b, c = rng.normal(size=60), rng.normal(size=60)
    slow = np.cumsum(rng.normal(size=300))
    alone, larger = series_tau(baseline=b, canary=c, history=slow)
    assert larger > 10 > alone
    assert series_tau(baseline=b, canary=c, history=np.empty(0)) == (alone, alone)
    slow_now, kept = series_tau(baseline=slow[:60], canary=slow[60:120], history=b)
    assert kept == slow_now > alone
