"""What a fall or a birth of a counter may count: no series may count what did not happen, whatever it does."""

import numpy as np
import pytest

from canary_judge.samples.pace import looks_cumulative, looks_like, plausible, rises
from canary_judge.series import Series

MINUTE = 60_000_000_000


def at(values):
    return np.arange(len(values)) * MINUTE, np.asarray(values, dtype=float)


def told(values):
    times, values = at(values)
    return looks_like(Series(timestamps=times, values=values, labels={"pod": "a"}), values)


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ([7000, 7010, 7009, 7020], [10, 0, 10]),
        ([7000, 7010, 7020, 4, 15], [10, 10, 4, 11]),
        ([7000, 7010, 7020, 0, 0, 9], [10, 10, 0, 0, 9]),
        ([7000, 7010, 3400, 3410, 3420], [10, 0, 0, 0]),
        ([7000, 7010, 10, 7030, 7040], [10, 0, 20, 10]),
        ([5, 6, 1, 2], [1, 1, 1]),
        ([90, 100, 110, 55, 65], [10, 10, 55, 10]),
        ([50_000, 50_100, 49_000, 49_100, 50_000, 50_100, 50_200], [100, 0, 0, 0, 0, 100]),
    ],
    ids=[
        "dips",
        "restarts",
        "restarts and is idle",
        "half is left",
        "an old replica for once",
        "few",
        "exactly half is left",
        "comes back slowly",
    ],
)
def test_only_what_happened_is_counted(values, steps):
    assert rises(*at(values)).steps.tolist() == steps


def test_a_restart_and_a_fall_are_told_apart():
    found = rises(*at([100, 110, 3, 12, 11, 22]))
    assert found.restarts.tolist() == [False, True, False, False, False]
    assert found.falls.tolist() == [False, False, False, True, False]
    assert found.uncounted.tolist() == [0, 0, 0, 11, 1]


@pytest.mark.parametrize("seed", range(40))
def test_any_dips_count_at_most_what_happened(seed):
    rng = np.random.default_rng(seed)
    true = 1e5 + np.cumsum(rng.poisson(rng.uniform(5, 200), 120)).astype(float)
    seen = true.copy()
    dips = rng.choice(np.arange(2, 119), rng.integers(1, 12), replace=False)
    seen[dips] = seen[dips - 1] - rng.integers(1, 50, dips.size)
    found = rises(*at(seen))
    assert found.steps.sum() == seen.max() - seen[0]
    assert found.uncounted.sum() <= 50 * dips.size
    assert found.falls.sum() == (np.diff(seen) < 0).sum()
    assert not found.restarts.any()


@pytest.mark.parametrize("seed", range(40))
def test_restarts_lose_nothing_that_was_seen(seed):
    rng = np.random.default_rng(seed)
    added = rng.poisson(rng.uniform(20, 200), 120).astype(float)
    first = rng.choice(np.arange(10, 110, 10), rng.integers(1, 4), replace=False)
    seen, value = [], 1e6
    for k, amount in enumerate(added):
        value = amount if k in first else value + amount
        seen.append(value)
    found = rises(*at(seen))
    assert found.restarts.sum() == first.size
    assert found.steps.tolist() == added[1:].tolist()


def test_a_birth_must_be_possible():
    assert plausible(40.0, 30.0, pace=0.5)
    assert not plausible(1e6, 30.0, pace=5.0)
    assert plausible(10.0, 0.0, pace=0.0)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.tile([0.010, 0.012, 0.009], 20), "a rate or a gauge"),
        (np.tile([10.0, 12, 9], 20), "delta temporality"),
        (np.repeat(np.arange(0, 2000, 100), 3) + np.tile([0.0, 700, 300], 20), "workers"),
    ],
    ids=["rate", "delta", "workers"],
)
def test_what_falls_often_is_no_counter(values, what):
    assert what in told(values)


@pytest.mark.parametrize(
    "values",
    [np.arange(60), np.r_[np.arange(30), np.arange(30)], [5, 4, 3, 2], []],
    ids=["rises", "once", "few", "none"],
)
def test_what_may_be_a_counter_is_not_refused(values):
    assert told(values) is None


def test_a_replica_that_answers_nothing_for_once_has_not_restarted():
    found = rises(*at([7000, 7010, 0, 7030, 7040]))
    assert found.steps.tolist() == [10, 0, 20, 10]
    assert not found.restarts.any()


def test_a_restart_with_a_burst_counts_up_to_the_requests_since():
    values = [5000, 5001, 5002, 300, 301]
    most = np.full(4, 700.0)
    assert rises(*at(values), most).steps.tolist() == [1, 1, 300, 1]
    assert rises(*at(values), np.full(4, 200.0)).steps.tolist() == [1, 1, 0, 0]
    assert rises(*at(values)).steps.tolist() == [1, 1, 0, 0]


def test_what_a_fall_may_have_cost_is_bounded_by_the_requests_since():
    times, values = at([500, 501, 502, 400, 401])
    assert rises(times, values, np.full(4, 700.0)).uncounted.tolist() == [0, 0, 400, 1]
    assert rises(times, values, np.full(4, 50.0)).uncounted.tolist() == [0, 0, 0, 1]  # no restart can have had so many
    assert rises(times, values, np.full(4, np.inf)).uncounted.tolist() == [0, 0, 400, 1]


@pytest.mark.parametrize(("amount", "believed"), [(10.0, True), (10.5, False), (11.9, False)])
def test_a_few_events_are_always_possible_and_no_more(amount, believed):
    assert plausible(amount, 60.0, pace=0.0) is believed
    assert plausible(5 * 2.0 * 60.0 + amount, 60.0, pace=2.0) is believed


@pytest.mark.parametrize(("steps", "told"), [(18, False), (22, True)])
def test_counts_that_never_fall_are_cumulative_where_ten_falls_were_to_be_expected(steps, told):
    """Equal neighbours fall by chance in half of the steps; five rises by one hardly change that."""
    values = 50_000.0 + np.minimum(np.arange(steps + 1), 5)
    assert looks_cumulative(values) is told


@pytest.mark.parametrize(("falls", "refused"), [(4, False), (5, True)])
def test_five_falls_in_a_quarter_of_the_steps_make_it_no_counter(falls, refused):
    steps = np.where(np.arange(4 * falls) % 4 == 1, -5.0, 10.0)
    assert (told(100 + np.concatenate([[0.0], np.cumsum(steps)])) is not None) is refused
