"""Comparisons of values and instances, limits by signs, against R and scipy; levels by simulation."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats

from canary_judge.results import Harm
from canary_judge.stats.gauges import Pairs, compare_values, limit_values, series_tau
from canary_judge.stats.instances import compare_instances
from canary_judge.stats.margins import Margin
from canary_judge.stats.means import compare_means, compare_raw_means, ties_outweigh
from canary_judge.stats.sample_sizes import margin_sample_size

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
    found = compare_values(baseline=b, canary=c, tau=1.0, harm=Harm.INCREASE, margin=None).at(0.9)
    u = stats.mannwhitneyu(c, b, method="asymptotic", use_continuity=False, alternative="greater")
    n = 2 * 30 * 40 / 70
    assert found.p_harm == pytest.approx(special.stdtr(2 * n - 2, special.ndtri(u.pvalue)), rel=1e-9)
    assert found.n_effective == pytest.approx(n)
    assert (found.p_beyond_margin, found.p_within_margin, found.margin) == (None, None, None)


def test_dependence_divides_the_sample_and_the_score():
    rng = np.random.default_rng(2)
    b, c = rng.normal(10, 2, 40), rng.normal(11, 2, 40)
    one, four = (
        compare_values(baseline=b, canary=c, tau=tau, harm=Harm.INCREASE, margin=None).at(0.9) for tau in (1.0, 4.0)
    )
    assert four.n_effective == pytest.approx(one.n_effective / 4)
    z = -special.stdtrit(2 * one.n_effective - 2, one.p_harm)
    assert four.p_harm == pytest.approx(special.stdtr(2 * four.n_effective - 2, -z / 2), rel=1e-9)
    assert four.method.endswith("on n/tau effective samples")


def test_brunner_and_munzels_variance_is_taken_where_it_is_the_larger_one():
    rng = np.random.default_rng(3)
    b, c = rng.normal(0, 1, 120), rng.normal(0.2, 4, 12)
    found = compare_values(baseline=b, canary=c, tau=1.0, harm=Harm.INCREASE, margin=None, spreads_differ=True).at(0.9)
    reference = stats.brunnermunzel(b, c, alternative="less", distribution="normal")
    n = 2 * 120 * 12 / 132
    assert found.p_harm == pytest.approx(special.stdtr(2 * n - 2, -abs(reference.statistic)), rel=1e-2)
    usual = compare_values(baseline=b, canary=c, tau=1.0, harm=Harm.INCREASE, margin=None).at(0.9)
    assert abs(found.p_harm - 0.5) < abs(usual.p_harm - 0.5)
    same = compare_values(
        baseline=b, canary=b[:40] + 0.1, tau=1.0, harm=Harm.INCREASE, margin=None, spreads_differ=True
    ).at(0.9)
    plain = compare_values(baseline=b, canary=b[:40] + 0.1, tau=1.0, harm=Harm.INCREASE, margin=None).at(0.9)
    assert same.p_harm >= plain.p_harm  # never the smaller variance


# --- means and instances -----------------------------------------------------------------------------------------


def test_a_relative_margin_of_means_is_fiellers():
    rng = np.random.default_rng(6)
    b, c = rng.normal(100, 5, 60), rng.normal(106, 5, 60)
    found = compare_means(baseline=b, canary=c, harm=Harm.INCREASE, margin=Margin(relative=0.1)).at(0.9)
    both = compare_means(baseline=1.1 * b, canary=c, harm=Harm.INCREASE, margin=None).at(0.9)
    other = compare_means(baseline=1.1 * b, canary=c, harm=Harm.DECREASE, margin=None).at(0.9)
    assert found.p_beyond_margin == pytest.approx(both.p_harm, rel=1e-9)
    assert found.p_within_margin == pytest.approx(other.p_harm, rel=1e-9)
    assert found.margin == 1.1


def test_the_level_without_an_interval_gives_none():
    rng = np.random.default_rng(7)
    b, c = rng.normal(100, 5, (6, 30)), rng.normal(104, 5, (3, 30))
    for margin in (Margin(relative=0.1), Margin(absolute=5.0)):
        common = {"harm": Harm.INCREASE, "margin": margin}
        assert compare_instances(baseline=b, canary=c, **common).at(1.0).interval == (None, None)
        assert compare_means(baseline=b[0], canary=c[0], **common).at(1.0).interval == (None, None)
        assert compare_values(baseline=b[0], canary=c[0], tau=1.0, **common).at(1.0).interval == (None, None)


def test_a_history_can_only_lengthen_the_memory_of_a_series():
    rng = np.random.default_rng(8)
    b, c = rng.normal(size=60), rng.normal(size=60)
    slow = np.cumsum(rng.normal(size=300))
    alone, larger = series_tau(baseline=b, canary=c, history=slow)
    assert larger > 10 > alone
    assert series_tau(baseline=b, canary=c, history=np.empty(0)) == (alone, alone)
    slow_now, kept = series_tau(baseline=slow[:60], canary=slow[60:120], history=b)
    assert kept == slow_now > alone


def test_a_shared_wave_cancels_where_the_moments_are_the_same():
    rng = np.random.default_rng(1)
    wave = 100 + 30 * np.sin(np.arange(120) / 6)
    b, c = wave * rng.lognormal(0, 0.05, 120), 1.1 * wave * rng.lognormal(0, 0.05, 120)
    evidence = {
        pairs is not None: compare_values(
            baseline=b, canary=c, tau=10.0, harm=Harm.INCREASE, margin=Margin(relative=0.05), design=pairs
        ).evidence.p_harm
        for pairs in (None, Pairs(baseline=b, canary=c))
    }
    assert evidence[False] > 0.05
    assert evidence[True] < 1e-6


def test_means_of_few_and_of_many_requests_have_equal_means_and_not_equal_ranks():
    """Latency means of 1 request on one side, of 20 on the other: ranks differ, means do not."""
    rng = np.random.default_rng(3)
    found = {"ranks": 0, "means": 0}
    for _ in range(600):
        c, b = rng.lognormal(0, 1, 60), rng.lognormal(0, 1, (60, 20)).mean(axis=1)
        common = {"baseline": b, "canary": c, "margin": None}
        found["ranks"] += compare_values(tau=1.0, harm=Harm.DECREASE, **common).evidence.p_harm < 0.05
        found["means"] += compare_means(harm=Harm.DECREASE, **common).evidence.p_harm < 0.05
    assert found["ranks"] > 400
    assert found["means"] / 600 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)


# --- tied values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_ties_outweigh_a_margin_by_the_pairs(seed):
    rng = np.random.default_rng(seed)
    step = rng.choice([0.5, 1.0, 3.0])
    baseline, canary = (step * rng.integers(-3, 6, size) for size in rng.integers(5, 40, 2))
    margin = Margin(absolute=float(rng.choice([0.2, 1.0, 2.0])))
    apart = np.abs(canary[:, None] - baseline[None, :])
    expected = (apart == 0).sum() > ((apart > 0) & (apart <= margin.absolute)).sum()
    assert ties_outweigh(baseline=baseline, canary=canary, margin=margin) == expected


@pytest.mark.parametrize("seed", range(30))
def test_ties_outweigh_a_relative_margin_by_the_pairs(seed):
    rng = np.random.default_rng(seed)
    baseline, canary = (rng.integers(1, 30, size).astype(float) for size in rng.integers(5, 40, 2))
    share = float(rng.choice([0.03, 0.11, 0.3]))
    b, c = baseline[None, :], canary[:, None]
    near = (b != c) & (b >= c / (1 + share)) & (b <= c * (1 + share))
    expected = (b == c).sum() > near.sum()
    assert ties_outweigh(baseline=baseline, canary=canary, margin=Margin(relative=share)) == expected


def test_no_margin_is_too_fine_for_continuous_values():
    rng = np.random.default_rng(3)
    values = rng.normal(size=200)
    assert not ties_outweigh(baseline=values, canary=rng.normal(size=50), margin=Margin(absolute=1e-9))


def test_means_of_raw_values_are_welchs_where_nothing_is_known_of_time():
    rng = np.random.default_rng(4)
    baseline, canary = 1.0 + rng.integers(0, 5, 4000), 1.0 + rng.integers(0, 5, 4000)
    none = (np.empty(0, dtype=np.int64),) * 2
    margin = Margin(absolute=0.05)
    found = compare_raw_means(baseline=baseline, canary=canary, intervals=none, harm=Harm.INCREASE, margin=margin)
    welch = stats.ttest_ind(canary, baseline + 0.05, equal_var=False, alternative="less")
    # bent for skewness, which is next to nothing here
    assert found.evidence.p_within_margin == pytest.approx(welch.pvalue, rel=0.02)
    shown = found.at(0.9)
    interval = stats.ttest_ind(canary, baseline, equal_var=False).confidence_interval(0.9)
    assert shown.interval == pytest.approx((interval.low, interval.high), rel=1e-3)


def test_values_that_share_their_interval_are_worth_less():
    rng = np.random.default_rng(5)
    minute = np.repeat(np.arange(60), 50)
    shared = rng.normal(0, 1, (2, 60))
    baseline, canary = (np.rint(10 + swing[minute] + rng.normal(0, 0.3, minute.size)) for swing in shared)
    known, unknown = (
        compare_raw_means(
            baseline=baseline, canary=canary, intervals=intervals, harm=Harm.INCREASE, margin=Margin(absolute=0.4)
        ).at(0.9)
        for intervals in ((minute, minute), (np.empty(0, dtype=np.int64),) * 2)
    )
    width = [one.interval[1] - one.interval[0] for one in (known, unknown)]
    assert width[0] > 4 * width[1]
    both = np.concatenate([minute]), np.concatenate([minute])
    alike = compare_raw_means(
        baseline=baseline, canary=baseline + 0.0, intervals=both, harm=Harm.INCREASE, margin=Margin(absolute=0.4)
    )
    assert alike.evidence.p_within_margin < 1e-6


def test_constant_values_are_what_they_are():
    same = np.full(50, 3.0)
    minute = np.arange(50)
    for canary, within in ((same, 0.0), (same + 1, 1.0)):
        found = compare_raw_means(
            baseline=same, canary=canary, intervals=(minute, minute), harm=Harm.INCREASE, margin=Margin(absolute=0.5)
        )
        assert found.evidence.p_within_margin == within


# --- scrapes of one side that are lost -----------------------------------------------------------------------------


def with_gaps(seed, lost, *, times=1.0, side="canary", n=60):
    """A gauge of which the largest values of one side are lost."""
    rng = np.random.default_rng(seed)
    b, c = 100 * np.exp(0.15 * rng.normal(size=n)), 100 * times * np.exp(0.15 * rng.normal(size=n))
    one = c if side == "canary" else b
    one[np.argsort(one)[n - lost :]] = np.nan
    both = ~np.isnan(b) & ~np.isnan(c)
    common = {"baseline": b[both], "canary": c[both], "tau": 1.0, "harm": Harm.INCREASE}
    return common, Pairs(baseline=b, canary=c)


@pytest.mark.parametrize("lost", [3, 6])
def test_lost_values_are_worst_where_safety_is_asked_and_best_where_harm_is(lost):
    safe, dropped, found = [], [], []
    for seed in range(200):
        common, pairs = with_gaps(seed, lost, times=1.1)
        whole = Pairs(baseline=common["baseline"], canary=common["canary"])
        margin = Margin(relative=0.1)
        safe.append(compare_values(**common, margin=margin, design=pairs).evidence.p_within_margin <= 0.05)
        dropped.append(compare_values(**common, margin=margin, design=whole).evidence.p_within_margin <= 0.05)
        common, pairs = with_gaps(seed, lost, side="baseline")
        found.append(compare_values(**common, margin=None, design=pairs).evidence.p_harm <= 0.01)
    assert np.mean(safe) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert np.mean(found) <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / 200)
    assert np.mean(dropped) > np.mean(safe)


def test_without_gaps_pairs_are_what_they_were():
    common, _ = with_gaps(1, 0)
    pairs = Pairs(baseline=common["baseline"], canary=common["canary"])
    found = compare_values(**common, margin=Margin(relative=0.1), design=pairs).evidence
    mirrored = compare_values(
        baseline=common["canary"],
        canary=common["baseline"],
        tau=1.0,
        harm=Harm.DECREASE,
        margin=Margin(relative=0.1),
        design=Pairs(baseline=common["canary"], canary=common["baseline"]),
    ).evidence
    assert found.p_harm == pytest.approx(mirrored.p_harm, rel=1e-9)


def test_harm_that_is_clear_stays_so_whatever_was_lost():
    common, pairs = with_gaps(2, 6, times=1.5)
    assert compare_values(**common, margin=Margin(relative=0.1), design=pairs).evidence.p_beyond_margin < 1e-3


DECIMALS = ((10, 0.3, 1), (10, 0.7, 1), (100, 0.05, 2), (1000, 0.012, 2))  # steps in a unit, median, margin in steps


@pytest.mark.parametrize(("steps", "median", "margin"), DECIMALS)
@pytest.mark.parametrize("harm", [Harm.INCREASE, Harm.DECREASE])
def test_what_ties_in_decimals_ties_in_whole_units_and_in_parts_of_them(steps, median, margin, harm):
    rng = np.random.default_rng(7)
    for _ in range(20):
        whole = [np.rint(rng.lognormal(np.log(median), 0.3, 200) * steps) + 2 * margin for _ in range(2)]
        whole[1] += margin if harm is Harm.INCREASE else -margin
        found = []
        for unit in (1, steps):
            baseline, canary = (side / unit for side in whole)
            found.append(
                compare_values(
                    baseline=baseline,
                    canary=canary,
                    tau=1.0,
                    harm=harm,
                    margin=Margin(absolute=margin / unit),
                    spreads_differ=True,
                ).evidence
            )
            size = margin_sample_size(
                baseline=baseline, margin=Margin(absolute=margin / unit), harm=harm, alpha=0.05, power=0.9
            )
            found.append(size)
        assert found[1] == pytest.approx(found[3], rel=1e-9)
        for name in ("p_harm", "p_beyond_margin", "p_within_margin"):
            assert getattr(found[0], name) == pytest.approx(getattr(found[2], name), rel=1e-9)


def test_decimals_at_their_margin_keep_the_levels():
    rng, safe, beyond = np.random.default_rng(8), 0, 0
    for _ in range(400):
        baseline, canary = (np.rint(rng.lognormal(-0.36, 0.15, 300) * 10) / 10 for _ in range(2))
        canary = np.rint(canary * 10 + 1) / 10
        found = compare_values(
            baseline=baseline,
            canary=canary,
            tau=1.0,
            harm=Harm.INCREASE,
            margin=Margin(absolute=0.1),
            spreads_differ=True,
        ).evidence
        safe, beyond = safe + (found.p_within_margin <= 0.05), beyond + (found.p_beyond_margin <= 0.05)
    assert max(safe, beyond) <= stats.binom.ppf(0.999, 400, 0.05)  # 33


def test_a_constant_that_lies_at_the_margin_is_neither_within_nor_beyond_it():
    for baseline, canary, margin in ((0.7, 0.8, 0.1), (0.2, 0.3, 0.1), (1.1, 2.2, 1.1), (-0.1, 0.2, 0.3)):
        found = compare_values(
            baseline=np.full(60, baseline),
            canary=np.full(60, canary),
            tau=1.0,
            harm=Harm.INCREASE,
            margin=Margin(absolute=margin),
            spreads_differ=True,
        ).evidence
        assert (found.p_beyond_margin, found.p_within_margin) == (0.5, 0.5)
    ten = compare_values(
        baseline=np.full(60, 0.7),
        canary=np.full(60, 0.77),
        tau=1.0,
        harm=Harm.INCREASE,
        margin=Margin(relative=0.1),
        spreads_differ=True,
    ).evidence
    assert ten.p_beyond_margin == 0.5


def test_an_effect_beyond_all_floats_is_none():
    rng = np.random.default_rng(1)
    sides = {"baseline": rng.uniform(1, 2, 40) * 1e-200, "canary": rng.uniform(1, 2, 40) * 1e200}
    found = compare_values(**sides, tau=1.0, harm=Harm.INCREASE, margin=Margin(relative=0.1), spreads_differ=True)
    shown = found.at(0.9)
    assert (shown.effect, shown.interval) == (None, (None, None))
    assert shown.p_beyond_margin < 1e-9


def test_a_limit_that_is_either_is_refused():
    with pytest.raises(ValueError, match="harm is either; a limit needs increase"):
        limit_values(canary=np.ones(5), tau=1.0, limit=2.0, harm=Harm.EITHER)
