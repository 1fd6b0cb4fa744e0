"""The batched rank test equals counting pairs one by one, and scipy, on anything that can be ranked."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from canary_judge.stats import rank
from canary_judge.stats.rank import mann_whitney, mann_whitney_p_values, mid_ranks, ranks_of

ANY = st.floats(allow_nan=True, allow_infinity=True, width=64)
TIED = st.sampled_from([0.0, -0.0, 0.1, 0.2, 0.3, 1.0, -1.0, np.inf, -np.inf, np.nan, -np.nan, 5e-324, 1e-300, 1e300])
CLOSE = st.sampled_from([1.0, float(np.nextafter(1, 2)), float(np.nextafter(1, 0)), 2.0, float(np.nextafter(2, 3))])


def rows(values):
    return st.tuples(st.integers(1, 4), st.integers(0, 9), st.integers(0, 9)).flatmap(
        lambda shape: st.tuples(
            *(
                st.lists(st.lists(values, min_size=n, max_size=n), min_size=shape[0], max_size=shape[0]).map(
                    lambda table, n=n: np.array(table, dtype=float).reshape(len(table), n)
                )
                for n in shape[1:]
            )
        )
    )


def counted(baseline, canary):
    return sum(float(c > b) + 0.5 * float(c == b) for c, b in itertools.product(canary.tolist(), baseline.tolist()))


@settings(max_examples=300)
@given(st.one_of(rows(ANY), rows(TIED), rows(CLOSE)), st.sampled_from([1, 1 << 16]), st.sampled_from([1, 1 << 21]))
def test_the_statistic_equals_counting_all_pairs(sides, chunk, piece):
    baseline, canary = sides
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rank, "_CHUNK", chunk)
        patch.setattr(rank, "_PIECE", piece)
        test = mann_whitney(baseline=baseline, canary=canary)
    for row in range(len(baseline)):
        b, c = (side[row][~np.isnan(side[row])] for side in (baseline, canary))
        assert test.u[row] == counted(b, c)
        assert (test.n_baseline[row], test.n_canary[row]) == (b.size, c.size)
        total = b.size + c.size
        ties = sum(k**3 - k for k in np.unique(np.concatenate([b, c]), return_counts=True)[1].tolist())
        variance = b.size * c.size / 12 * (total + 1 - (ties / (total * (total - 1)) if total > 1 else 0))
        assert test.sigma[row] == pytest.approx(np.sqrt(max(variance, 0)), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-320, 1e-300, 1e-160, 1.0, 1e160, 1e300])
@pytest.mark.parametrize("mixed", [False, True])
def test_values_beyond_the_packed_range_are_ranked_by_sorting_alike(scale, mixed):
    rng = np.random.default_rng(1)
    baseline, canary = (rng.integers(-9 if mixed else 0, 10, (5, 30)) * scale for _ in range(2))
    test = mann_whitney(baseline=baseline, canary=canary)
    assert test.u.tolist() == [counted(b, c) for b, c in zip(baseline, canary, strict=True)]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("n_b", "n_c"), [(20, 20), (60, 61), (240, 30), (1440, 1440)])
def test_p_values_equal_scipys_asymptotic_ones(n_b, n_c, ties):
    rng = np.random.default_rng(n_b + n_c)
    baseline, canary = rng.lognormal(3, 1, (20, n_b)), rng.lognormal(3.1, 1, (20, n_c))
    if ties:
        baseline, canary = np.round(baseline), np.round(canary)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rank, "_EXACT", 0)
        higher, lower = mann_whitney_p_values(baseline=baseline, canary=canary)
    for ours, side in ((higher, "greater"), (lower, "less")):
        theirs = stats.mannwhitneyu(canary, baseline, axis=1, method="asymptotic", alternative=side).pvalue
        np.testing.assert_allclose(ours, theirs, rtol=1e-11)


@pytest.mark.parametrize(("n_b", "n_c"), [(1, 1), (2, 5), (7, 4), (12, 12), (30, 5)])
def test_small_samples_without_ties_equal_scipys_exact_p_values(n_b, n_c):
    rng = np.random.default_rng(n_b)
    baseline, canary = rng.normal(size=(10, n_b)), rng.normal(0.5, 1, (10, n_c))
    higher, lower = mann_whitney_p_values(baseline=baseline, canary=canary)
    for ours, side in ((higher, "greater"), (lower, "less")):
        theirs = stats.mannwhitneyu(canary, baseline, axis=1, method="exact", alternative=side).pvalue
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_small_samples_with_ties_equal_listing_every_assignment():
    rng = np.random.default_rng(3)
    for _ in range(20):
        n_b, n_c = rng.integers(1, 6, 2)
        baseline, canary = rng.integers(0, 4, n_b).astype(float), rng.integers(0, 4, n_c).astype(float)
        pooled = np.concatenate([canary, baseline])
        ranks = mid_ranks(pooled[None, :])[0][0]
        sums = np.array([ranks[list(chosen)].sum() for chosen in itertools.combinations(range(pooled.size), int(n_c))])
        seen = ranks[:n_c].sum()
        higher, lower = mann_whitney_p_values(baseline=baseline[None, :], canary=canary[None, :])
        constant = np.unique(pooled).size == 1
        assert higher[0] == pytest.approx(1.0 if constant else np.mean(sums >= seen - 1e-9))
        assert lower[0] == pytest.approx(1.0 if constant else np.mean(sums <= seen + 1e-9))


@pytest.mark.parametrize("n", [0, 1, 2, 60, 301])
def test_ranks_of_one_sample_are_those_of_a_row_and_scipys(n):
    rng = np.random.default_rng(n)
    for values in (
        rng.normal(size=n),
        rng.integers(0, 9, n) - 4.0,
        np.full(n, 0.1),
        rng.choice([-np.inf, 0.0, np.inf], n),
    ):
        found = ranks_of(values).tolist()
        assert found == mid_ranks(values[None, :])[0][0].tolist() == stats.rankdata(values).tolist()


def test_an_empty_side_is_no_evidence():
    nothing = np.full((1, 3), np.nan)
    some = np.array([[1.0, 2.0, 3.0]])
    for baseline, canary in ((nothing, some), (some, nothing), (nothing, nothing), (some[:, :0], some)):
        test = mann_whitney(baseline=baseline, canary=canary)
        assert (test.u[0], test.sigma[0], test.z[0]) == (0, 0, 0)
        assert [p.tolist() for p in mann_whitney_p_values(baseline=baseline, canary=canary)] == [[1.0], [1.0]]


def test_swapping_the_sides_mirrors_the_statistic():
    rng = np.random.default_rng(4)
    baseline, canary = np.round(rng.normal(size=(50, 40)), 1), np.round(rng.normal(size=(50, 25)), 1)
    one, other = mann_whitney(baseline=baseline, canary=canary), mann_whitney(baseline=canary, canary=baseline)
    np.testing.assert_array_equal(one.u + other.u, 1000)
    np.testing.assert_allclose(one.z, -other.z, rtol=1e-13)


def test_an_order_preserving_map_changes_nothing():
    rng = np.random.default_rng(5)
    baseline, canary = rng.integers(-5, 6, (20, 30)).astype(float), rng.integers(-5, 6, (20, 30)).astype(float)
    before = mann_whitney(baseline=baseline, canary=canary)
    after = mann_whitney(baseline=np.exp(baseline), canary=np.exp(canary))
    np.testing.assert_array_equal(before.z, after.z)
