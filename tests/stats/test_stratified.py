"""Ranks within intervals: by hand, by permutation within intervals, and their level where both sides share a swing."""

import numpy as np
import pytest
from scipy import stats

from canary_judge.stats.stratified import stratified_ranks


def drawn(seed, *, intervals=40, per=(12, 6), shared=0.0, shift=0.0):
    rng = np.random.default_rng(seed)
    swing = shared * rng.normal(size=intervals)
    where = [np.repeat(np.arange(intervals), rng.poisson(mean, intervals)) for mean in per]
    baseline, canary = (swing[at] + rng.normal(size=at.size) for at in where)
    return {"baseline": baseline, "canary": canary + shift, "intervals": tuple(where)}


def by_hand(baseline, canary, intervals):
    """Score and permutation variance of each interval, from the ranks of all values."""
    ranks = stats.rankdata(np.concatenate([baseline, canary]))
    mine, others = ranks[baseline.size :], ranks[: baseline.size]
    scores, variance = [], 0.0
    for one in np.intersect1d(*intervals):
        x, y = mine[intervals[1] == one], others[intervals[0] == one]
        both = np.concatenate([x, y])
        scores.append(x.sum() - x.size * both.mean())
        variance += x.size * y.size / both.size * both.var(ddof=1)
    return np.array(scores), variance


@pytest.mark.parametrize("seed", range(5))
def test_the_statistic_is_that_of_scores_by_interval(seed):
    one = drawn(seed, shared=1.0, shift=0.2)
    scores, chance = by_hand(**one)
    found = stratified_ranks(**one, tau=1.0)
    spread = ((scores - scores.mean()) ** 2).sum() * scores.size / (scores.size - 1)
    t = scores.sum() / np.sqrt(max(spread, chance))
    assert found.tails.above == pytest.approx(stats.t.sf(t, scores.size - 1), rel=1e-9)
    assert found.tails.below == pytest.approx(stats.t.cdf(t, scores.size - 1), rel=1e-9)
    assert found.design_effect == pytest.approx(max(spread, chance) / chance, rel=1e-9)
    assert found.intervals == scores.size


def test_the_variance_of_chance_is_that_of_permutations_within_intervals():
    one = drawn(7, intervals=15, per=(5, 4), shared=2.0)
    scores, chance = by_hand(**one)
    rng, sums = np.random.default_rng(1), []
    labels = np.concatenate(one["intervals"])
    is_canary = np.arange(labels.size) >= one["baseline"].size
    values = np.concatenate([one["baseline"], one["canary"]])
    for _ in range(4000):
        order = np.lexsort([rng.random(labels.size), labels])
        usual = np.lexsort([np.arange(labels.size), labels])
        moved = is_canary.copy()
        moved[usual] = is_canary[order]
        sides = {
            "baseline": values[~moved],
            "canary": values[moved],
            "intervals": (labels[~moved], labels[moved]),
        }
        sums.append(by_hand(**sides)[0].sum())
    assert np.var(sums) == pytest.approx(chance, rel=0.1)
    assert scores.size == np.intersect1d(*one["intervals"]).size


def test_a_swing_that_both_sides_share_neither_hides_nor_makes_an_effect():
    found = [stratified_ranks(**drawn(seed, shared=3.0)).tails.above for seed in range(400)]
    assert stats.binomtest(int(np.sum(np.less_equal(found, 0.05))), 400, 0.05).pvalue > 0.001
    worse = [stratified_ranks(**drawn(seed, shared=3.0, shift=0.5)).tails.above for seed in range(50)]
    assert np.mean(np.less_equal(worse, 0.01)) > 0.9


def test_too_few_intervals_with_both_sides_say_nothing():
    assert stratified_ranks(**drawn(1, intervals=9)) is None
    one = drawn(2, intervals=30)
    apart = {**one, "intervals": (one["intervals"][0], one["intervals"][1] + 100)}
    assert stratified_ranks(**apart) is None


def test_values_that_are_all_equal_show_nothing():
    one = drawn(3)
    same = {**one, "baseline": np.ones(one["baseline"].size), "canary": np.ones(one["canary"].size)}
    found = stratified_ranks(**same)
    assert found.tails == (0.5, 0.5)
    assert found.design_effect == 1.0
