"""Instances against instances: Student's t, Crawford and Howell's case, and each with its own past."""

import numpy as np
import pytest
from scipy import stats

from canary_judge.results import Harm, Scale
from canary_judge.stats.instances import compare_instances
from canary_judge.stats.margins import Margin


def test_two_sides_of_instances_are_compared_by_students_t():
    rng = np.random.default_rng(4)
    b, c = rng.normal(100, 5, (6, 30)), rng.normal(104, 5, (3, 30))
    found = compare_instances(baseline=b, canary=c, harm=Harm.INCREASE, margin=Margin(absolute=10.0)).at(0.9)
    reference = stats.ttest_ind(c.mean(axis=1), b.mean(axis=1), alternative="greater")
    assert found.p_harm == pytest.approx(reference.pvalue, rel=1e-9)
    assert found.interval == pytest.approx(
        stats.ttest_ind(c.mean(axis=1), b.mean(axis=1)).confidence_interval(0.9), rel=1e-9
    )
    assert (found.scale, found.margin, found.n_effective) == (Scale.DIFFERENCE, 10.0, 4.0)


def test_one_instance_against_a_sample_is_crawford_and_howells_case():
    rng = np.random.default_rng(5)
    b, c = rng.normal(100, 5, (5, 30)), rng.normal(130, 5, (1, 30))
    found = compare_instances(baseline=b, canary=c, harm=Harm.INCREASE, margin=None).at(0.9)
    usual = b.mean(axis=1)
    t = (c.mean() - usual.mean()) / (usual.std(ddof=1) * np.sqrt(6 / 5))
    assert found.p_harm == pytest.approx(stats.t.sf(t, 4), rel=1e-9)


def test_instances_are_compared_with_their_own_past():
    rng = np.random.default_rng(5)
    level_b, level_c = rng.lognormal(0, 0.5, 10), rng.lognormal(0, 0.5, 10)
    b, c = level_b[:, None] * rng.lognormal(0, 0.1, (10, 60)), 1.25 * level_c[:, None] * rng.lognormal(0, 0.1, (10, 60))
    common = {"baseline": b, "canary": c, "harm": Harm.INCREASE, "margin": Margin(relative=0.1)}
    assert compare_instances(**common).at(0.9).p_beyond_margin > 0.01
    with_past = compare_instances(**common, before=(level_b, level_c)).at(0.9)
    assert with_past.p_beyond_margin < 1e-6
    assert with_past.effect == pytest.approx(1.25, rel=0.05)
    assert "since before" in with_past.method


@pytest.mark.parametrize("seed", range(5))
def test_at_a_margin_of_both_kinds_the_baseline_is_scaled_for_ranks_too(seed):
    """A canary that is 1.5 times a skewed baseline lies exactly at the margin, and is no better than that."""
    levels = np.random.default_rng(seed).lognormal(3, 1.2, 12)
    b, c = (np.tile(side[:, None], (1, 20)) for side in (levels, 1.5 * levels))
    found = compare_instances(baseline=b, canary=c, harm=Harm.INCREASE, margin=Margin(relative=0.5, absolute=1e-6)).at(
        0.9
    )
    assert found.scale is Scale.DIFFERENCE
    assert found.p_within_margin == pytest.approx(0.5, abs=0.05)
    assert found.p_beyond_margin == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("canary", "margin"), [(0.1, 0.05), (0.3, 0.05), (0.2, 0.1)])
@pytest.mark.parametrize("lost", [0, 1, 3])
def test_equal_constants_are_no_certainty_whichever_scrapes_were_lost(canary, margin, lost):
    sides = {"baseline": np.full((3, 30), 0.1), "canary": np.full((2, 30), canary)}
    sides["canary"][1, :lost] = np.nan
    sides["baseline"][0, 7 : 7 + lost] = np.nan
    found = compare_instances(**sides, harm=Harm.INCREASE, margin=Margin(absolute=margin)).evidence
    assert {found.p_beyond_margin, found.p_within_margin} <= {0.1, 0.5, 1.0}


def test_many_instances_at_their_margin_in_decimals_tie():
    levels = np.repeat([0.2, 0.7, 0.3], 10)
    sides = {"baseline": levels[:, None] * np.ones(5), "canary": np.repeat([0.3, 0.8, 0.4], 10)[:, None] * np.ones(5)}
    found = compare_instances(**sides, harm=Harm.INCREASE, margin=Margin(absolute=0.1)).evidence
    assert found.p_beyond_margin == pytest.approx(0.5, abs=0.05)
    assert found.p_within_margin == pytest.approx(0.5, abs=0.05)
