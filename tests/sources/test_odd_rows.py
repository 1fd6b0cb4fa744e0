"""Numbers of users' rows that are none of what is asked: seen, and not where numbers are only unlike."""

from __future__ import annotations

import numpy as np
import pytest

from canary_judge.series import PerUser
from canary_judge.sources.odd_rows import Numbers, odd_numbers

N = 20_000
CANARY = np.arange(N) % 10 == 0
USERS = np.where(CANARY, 10_000 + np.arange(N) // 10 % 370, np.arange(N) * 7 // 9 % 3700)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def odd(x, y=None, canary=CANARY, users=USERS):
    asked = PerUser(numerator="x", denominator=None if y is None else "y")
    return odd_numbers(asked, Numbers(canary=canary, users=users, numerator=np.asarray(x, dtype=float), denominator=y))


def error(*given, **more):
    """What forbids a pass."""
    found = odd(*given, **more)
    return found.error or found.doubt or ""


# --- codes on one side -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [-1.0, -99.0, -999.0])
@pytest.mark.parametrize("side", [CANARY, ~CANARY], ids=["canary", "baseline"])
def test_a_negative_code_on_one_side_is_refused(rng, code, side):
    minutes = rng.gamma(2, 5, N)
    coded = np.where(side & (rng.random(N) < 0.05), code, minutes)
    assert f"'x' is {code:g} in " in error(coded)
    assert error(minutes) == ""


def test_a_positive_code_is_one_where_it_is_far_above_all_else(rng):
    stars = rng.integers(1, 6, N).astype(float)
    assert "a code for nothing?" in error(np.where(CANARY & (rng.random(N) < 0.05), 99.0, stars))
    assert error(np.where(CANARY & (rng.random(N) < 0.05), 99.0, rng.choice([9.0, 19.0, 49.0], N))) == ""  # a price
    dwell = rng.gamma(2, 20, N).round()
    assert error(np.where(CANARY & (rng.random(N) < 0.05), 99.0, dwell)) == ""  # others come near it


def test_a_code_in_the_denominator_is_refused_too(rng):
    y = np.where(CANARY & (rng.random(N) < 0.05), -1.0, rng.poisson(5, N) + 2.0)
    assert "'y' is -1 in" in error(rng.poisson(2, N), y)


def test_thumbs_and_what_both_sides_have_are_no_codes(rng):
    thumbs = np.where(rng.random(N) < 0.2, -1.0, 1.0)
    assert error(np.where(CANARY, 1.0, thumbs)) == ""
    assert error(np.where(rng.random(N) < 0.05, -1.0, rng.gamma(2, 5, N))) == ""


def test_of_a_code_that_is_rare_the_other_side_may_have_none_by_chance(rng):
    minutes = rng.gamma(2, 5, N)
    rare = ~CANARY & (rng.random(N) < 0.004)
    assert np.count_nonzero(rare) > 20
    assert error(np.where(rare, -1.0, minutes)) == ""


# --- statuses --------------------------------------------------------------------------------------------------------


def test_statuses_of_http_are_no_numbers(rng):
    status = rng.choice([200.0, 204.0, 404.0, 500.0], N, p=[0.5, 0.2, 0.2, 0.1])
    assert "'x': the values are 200, 204, 404, 500: are these statuses of HTTP?" in odd(status).error
    fails = Numbers(canary=CANARY, users=USERS, numerator=rng.choice([200.0, 500.0], N, p=[0.9, 0.1]), denominator=None)
    assert "HTTP" in odd_numbers(PerUser(numerator="ok"), fails).error
    assert odd_numbers(PerUser(numerator="coins"), fails) == (None, None, ())


@pytest.mark.parametrize(
    "values",
    [
        (200.0, 250.0, 500.0),
        (100.0, 200.0),
        (404.0, 500.0),
        (200.0, 200.0),
        (200.0, 300.0, 500.0),
        tuple(range(200, 209)),
    ],
)
def test_other_numbers_of_that_size_are_none(rng, values):
    assert "HTTP" not in error(rng.choice(values, N))


# --- twice, or in another unit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [2, 10, 1000])
@pytest.mark.parametrize("side", [CANARY, ~CANARY], ids=["canary", "baseline"])
def test_what_is_counted_several_times_on_one_side_is_refused(rng, times, side):
    likes = rng.poisson(1.5, N).astype(float)
    which = "canary" if side is CANARY else "baseline"
    assert f"every 'x' of the {which} is a multiple of {times}, and" in error(np.where(side, times * likes, likes))


def test_clicks_in_percent_on_one_side_are_refused(rng):
    clicks = (rng.random(N) < 0.3).astype(float)
    assert "a multiple of 100" in error(np.where(CANARY, 100 * clicks, clicks), np.ones(N))


def test_a_scale_of_ten_beside_one_of_five_is_refused(rng):
    stars = rng.integers(1, 6, N).astype(float)
    assert "a multiple of 2" in error(np.where(CANARY, 2 * stars, stars), np.ones(N))


@pytest.mark.parametrize("worse", [0, 1, 2])
def test_grades_of_two_scales_are_refused(rng, worse):
    five, ten = rng.integers(1, 6, N), np.maximum(rng.integers(1, 11, N) - worse * (rng.random(N) < 0.5), 1)
    assert "'x' is at most 5 on the baseline and 10 on the canary, and many are as much" in error(
        np.where(CANARY, ten, five), np.ones(N)
    )
    assert error(np.where(CANARY, ten, five)) == ""  # so many are shown, or bought


def test_counts_have_no_edge(rng):
    counts = np.where(CANARY, rng.poisson(2.5, N), rng.poisson(1.5, N)).astype(float)
    assert error(np.minimum(counts, 5.0)) == ""  # both are cut off at the same number
    for cap in (5.0, 10.0):
        assert "two scales" not in error(np.where(CANARY, counts, np.minimum(counts, cap)))
    stars = rng.integers(1, 6, N)
    assert error(np.where(CANARY & (stars == 5), 4, stars)) == ""  # nobody is delighted any more


def test_other_prices_and_sizes_of_a_page_are_not(rng):
    prices = rng.choice([12.0, 24.0, 36.0], N)
    assert error(np.where(CANARY, rng.choice([10.0, 20.0, 30.0], N), prices)) == ""
    assert error(np.where(CANARY, 10.0, 12.0)) == ""
    shown = np.where(CANARY, 20.0, rng.integers(5, 21, N).astype(float))
    assert error(rng.poisson(1, N), shown) == ""


def test_of_few_users_all_may_be_even(rng):
    likes = rng.poisson(1.5, N).astype(float)
    users = np.where(CANARY, 10_000 + np.arange(N) % 5, USERS)
    assert error(np.where(CANARY, 2 * likes, likes), users=users) == ""


# --- who did nothing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [CANARY, ~CANARY], ids=["canary", "baseline"])
def test_a_side_without_users_who_did_nothing_is_refused(rng, side):
    idle = rng.random(11_000) < 0.3
    minutes = np.where(idle[USERS], 0.0, rng.gamma(2, 5, N))
    kept = ~(side & idle[USERS])
    which = "canary" if side is CANARY else "baseline"
    found = error(minutes[kept], canary=CANARY[kept], users=USERS[kept])
    assert f"users of the {which} has some 'x', and " in found
    assert error(minutes) == ""


def test_where_nearly_all_do_something_none_may_have_done_nothing(rng):
    idle = rng.random(11_000) < 0.01
    idle[10_000:] = False
    assert error(np.where(idle[USERS], 0.0, rng.gamma(2, 5, N))) == ""


def test_who_comes_ten_times_as_often_does_something(rng):
    clicks = (rng.random(N) < 0.1).astype(float)
    users = np.where(CANARY, 10_000 + np.arange(N) // 10 % 37, USERS)
    assert error(clicks, np.ones(N), users=users) == ""


def test_what_is_not_known_is_not_nothing(rng):
    minutes = rng.gamma(2, 5, N)
    minutes[~CANARY & (rng.random(11_000) < 0.3)[USERS]] = np.nan
    assert error(minutes) == ""


# --- words -----------------------------------------------------------------------------------------------------------


def test_codes_for_yes_and_no_are_told(rng):
    assert odd(rng.choice([1.0, 2.0], N), np.ones(N)).words == (
        "'x' is 1 or 2 in every row: codes for yes and no? Give 1 and 0",
    )
    assert odd(rng.choice([0.0, 1.0, 2.0], N), np.ones(N)).words == ()


def test_ratings_with_zeros_for_none_are_told(rng):
    stars = rng.choice([1.0, 2.0, 3.0, 4.0, 5.0], N, p=[0.1, 0.1, 0.2, 0.4, 0.2])
    zeros = np.where(rng.random(N) < 0.9, 0.0, stars)
    (word,) = odd(zeros, np.ones(N)).words
    assert word.startswith("'x' is 0 in 90% of the rows and 1 to 5 in the others: ratings, and 0 where nothing was")
    assert odd(zeros, np.where(zeros > 0, 1.0, 0.0)).words == ()
    assert odd(np.where(rng.random(N) < 0.9, 0.0, np.minimum(1.0 + rng.poisson(0.3, N), 5.0)), np.ones(N)).words == ()


@pytest.mark.parametrize("seed", range(8))
def test_healthy_numbers_are_not_odd(seed):
    rng = np.random.default_rng(seed)
    shapes = {
        "counts": rng.poisson(rng.gamma(0.5, 4, 11_000)[USERS]).astype(float),
        "shares": (rng.random(N) < 0.05).astype(float),
        "money": rng.choice([0.0, 9.99, 19.99, 49.0], N, p=[0.9, 0.05, 0.03, 0.02]),
        "heavy": np.exp(rng.normal(1, 2, N)).round(),
        "refunds": np.where(rng.random(N) < 0.02, -20.0, rng.gamma(2, 10, N).round(2)),
        "stars": rng.integers(1, 6, N).astype(float),
    }
    for name, values in shapes.items():
        for y in (None, np.ones(N), rng.poisson(5, N).astype(float)):
            worse = np.where(CANARY, np.floor(values * 0.6), values) if name != "shares" else values
            assert odd(values, y) == (None, None, ()), name
            assert odd(worse, y)[:2] == (None, None), name


def test_rows_before_the_canary_may_have_been_written_otherwise(rng):
    minutes = rng.gamma(2, 5, N).round() + 1
    then = np.arange(N) < N // 2
    canary = CANARY & ~then
    assert error(np.where(then, minutes, 5 * minutes), canary=canary) == ""
    assert error(np.where(then & (rng.random(N) < 0.1), -1.0, minutes), canary=canary) == ""
    assert "a multiple of 5" in error(np.where(canary, 5 * minutes, minutes), canary=canary)


def test_nothing_is_said_without_a_canary(rng):
    assert odd(rng.poisson(2, N), canary=np.zeros(N, dtype=bool)) == (None, None, ())
    assert odd(np.empty(0), canary=np.empty(0, dtype=bool), users=np.empty(0, dtype=np.int64)) == (None, None, ())
