"""Seeded rows of users for the reference cases: name -> (baseline rows, canary rows), arrays (n, 4) of x, y, x0, y0.

    python rows.py DIR [NAME ...]      # writes DIR/NAME.baseline.f64 and .canary.f64 (row-major little-endian doubles)

numpy only. Each case has its own seed, crc32(name), so cases can be added or left out without changing the others.
"""

import sys
import zlib
from pathlib import Path

import numpy as np


def people(rng, n, *, visits=3.0, sd=1.0, seen=9.0, rate=0.05, rate_sd=0.5, stable=0.7, before=3.5, lift=0.0, new=0.0):
    """Clicks of impressions: lognormal activity, users with rates of their own, a past of `before` times as long."""
    activity = np.exp(sd * rng.standard_normal(n) - sd**2 / 2) * visits
    z = rng.standard_normal(n)
    z0 = stable * z + np.sqrt(1 - stable**2) * rng.standard_normal(n)
    odds = np.log(rate / (1 - rate))
    y = 1.0 + rng.poisson(activity * seen)
    y0 = rng.poisson(activity * seen * before).astype(float)
    x = rng.binomial(y.astype(int), np.clip((1 + lift) / (1 + np.exp(-odds - rate_sd * z)), 0, 1)).astype(float)
    x0 = rng.binomial(y0.astype(int), 1 / (1 + np.exp(-odds - rate_sd * z0))).astype(float)
    strangers = rng.random(n) < new
    x0[strangers] = y0[strangers] = 0.0
    return np.column_stack([x, y, x0, y0])


def spend(rng, n, *, sd=1.0, common=0.7, scale=20.0, lift=0.0, past=1.0):
    """An amount with a heavy (lognormal) tail, its past, and counts of visits as denominators."""
    z = rng.standard_normal((n, 3))
    user = common * z[:, 0]
    own = np.sqrt(1 - common**2)
    y = 1.0 + rng.poisson(2.0, n)
    y0 = 1.0 + rng.poisson(4.0, n)
    x = scale * (1 + lift) * y * np.exp(sd * (user + own * z[:, 1]))
    x0 = scale * past * y0 * np.exp(sd * (user + own * z[:, 2]))
    # through single precision: numpy's exp differs in the last bit between versions and processors
    return np.column_stack([x, y, x0, y0]).astype(np.float32).astype(float)


CASES = {}


def case(nb, nc):
    def register(f):
        CASES[f.__name__] = (f, nb, nc)
        return f

    return register


# --- few users
@case(5, 5)
def tiny_5_5(rng, n, canary):
    rows = [[3, 10, 7, 20], [1, 12, 2, 18], [4, 9, 5, 11], [0, 7, 3, 16], [6, 15, 9, 30]]
    other = [[2, 11, 6, 21], [5, 14, 8, 25], [1, 6, 1, 9], [3, 13, 4, 15], [2, 8, 6, 19]]
    return np.array(other if canary else rows, float)


@case(9, 5)
def tiny_9_5(rng, n, canary):
    return people(rng, n, rate=0.3)


@case(6, 30)
def tiny_6_30(rng, n, canary):
    return spend(rng, n, lift=0.2 * canary)


@case(20, 20)
def small_20_20(rng, n, canary):
    return people(rng, n, rate=0.2)


@case(100, 100)
def small_100_100(rng, n, canary):
    return people(rng, n, lift=-0.1 * canary)


# --- sides of unequal size
@case(2000, 40)
def clicks_2000_40(rng, n, canary):
    return people(rng, n)


@case(40, 2000)
def clicks_40_2000(rng, n, canary):
    return people(rng, n)


@case(3000, 120)
def clicks_3000_120(rng, n, canary):
    return people(rng, n, lift=-0.15 * canary)


@case(3000, 3000)
def clicks_3000_3000(rng, n, canary):
    return people(rng, n, lift=0.05 * canary)


@case(1000, 300)
def clicks_none(rng, n, canary):
    return people(rng, n)


@case(600, 600)
def clicks_triple(rng, n, canary):
    return people(rng, n, lift=2.0 * canary)


# --- heavy tails
@case(2500, 150)
def heavy_activity(rng, n, canary):
    return people(rng, n, sd=1.5, rate_sd=0.8)


@case(2500, 150)
def bots(rng, n, canary):
    rows = people(rng, n)
    k = 4 if not canary else 1
    rows[:k, 1] = rng.integers(2000, 4000, k)
    rows[:k, 3] = rows[:k, 1] * rng.integers(3, 5, k)
    rows[:k, 0] = rng.binomial(rows[:k, 1].astype(int), 0.002)
    rows[:k, 2] = rng.binomial(rows[:k, 3].astype(int), 0.002)
    return rows


@case(1500, 400)
def pareto_1_5(rng, n, canary):
    user = rng.pareto(1.5, n) + 1
    y = 1.0 + rng.poisson(2.0, n)
    y0 = 1.0 + rng.poisson(5.0, n)
    return np.column_stack([user * y * rng.uniform(0.5, 1.5, n), y, user * y0 * rng.uniform(0.5, 1.5, n), y0])


@case(1500, 200)
def minutes_sd_1_8(rng, n, canary):
    return spend(rng, n, sd=1.8, lift=-0.1 * canary)


@case(800, 80)
def canary_more_variable(rng, n, canary):
    return spend(rng, n, sd=1.5 if canary else 0.3)


# --- ties and denominators
@case(400, 90)
def ratings_y_is_1(rng, n, canary):
    taste = rng.standard_normal(n)
    cuts = np.array([-2.2, -1.6, -0.6, 0.6])
    rating = 1.0 + np.searchsorted(cuts, taste + rng.standard_normal(n) - 0.2 * canary)
    earlier = 1.0 + np.searchsorted(cuts, taste + rng.standard_normal(n))
    return np.column_stack([rating, np.ones(n), earlier, np.ones(n)])


@case(500, 500)
def shares_0_1(rng, n, canary):
    p = rng.beta(2, 8, n)
    return np.column_stack([rng.random(n) < p, np.ones(n), rng.random(n) < p, np.ones(n)]).astype(float)


@case(700, 100)
def ratings_per_rating(rng, n, canary):
    y = rng.poisson(1.2, n).astype(float)
    y0 = rng.poisson(2.5, n).astype(float)
    level = np.clip(np.round(3.5 + rng.standard_normal(n)), 1, 5)
    return np.column_stack([level * y, y, level * y0 + rng.integers(0, 2, n) * (y0 > 0), y0])


@case(900, 110)
def zero_y(rng, n, canary):
    rows = people(rng, n, rate=0.1)
    rows[rng.random(n) < 0.4, :2] = 0.0
    return rows


@case(300, 60)
def zero_y_with_x(rng, n, canary):
    rows = spend(rng, n)
    rows[rng.random(n) < 0.25, 1] = 0.0
    rows[rng.random(n) < 0.25, 3] = 0.0
    return rows


# --- signs
@case(1200, 130)
def refunds(rng, n, canary):
    rows = spend(rng, n)
    back = rng.random(n) < 0.1
    rows[back, 0] *= -1.5
    rows[rng.random(n) < 0.1, 2] *= -1.0
    return rows


@case(500, 120)
def below_zero(rng, n, canary):
    rows = spend(rng, n, lift=0.1 * canary)
    rows[:, [0, 2]] *= -1.0
    return rows


@case(800, 90)
def mean_near_zero(rng, n, canary):
    z = rng.standard_normal((n, 3))
    return np.column_stack([z[:, 0] + z[:, 1] + 0.05, 1.0 + rng.poisson(2.0, n), z[:, 0] + z[:, 2] + 0.5, 1.0 + rng.poisson(3.0, n)])


# --- the past
@case(1200, 140)
def new_30(rng, n, canary):
    return people(rng, n, new=0.3)


@case(1200, 140)
def new_90(rng, n, canary):
    return people(rng, n, new=0.9)


@case(600, 100)
def past_opposite(rng, n, canary):
    rows = spend(rng, n, sd=0.5)
    rows[:, 2] = 900.0 * rows[:, 3] ** 2 / np.maximum(rows[:, 0] / rows[:, 1], 1.0)
    return rows


@case(600, 100)
def past_unrelated(rng, n, canary):
    rows = spend(rng, n)
    rows[:, 2:] = rng.permutation(rows[:, 2:])
    return rows


@case(600, 100)
def past_nearly_equal(rng, n, canary):
    rows = spend(rng, n)
    rows[:, 3] = rows[:, 1]
    rows[:, 2] = 2.0 * rows[:, 0] * (1 + 1e-3 * rng.standard_normal(n))
    return rows


@case(700, 90)
def past_differs_by_side(rng, n, canary):
    rows = people(rng, n, rate=0.2, rate_sd=0.8)
    if canary:
        rows[:, 2] = rng.binomial(rows[:, 3].astype(int), 0.35)
    return rows


@case(700, 90)
def past_y0_is_1(rng, n, canary):
    rows = spend(rng, n)
    rows[:, 3] = 1.0
    return rows


# --- size of the numbers
@case(500, 100)
def large_1e9(rng, n, canary):
    return spend(rng, n, scale=1e9, lift=-0.05 * canary)


@case(500, 100)
def large_1e12(rng, n, canary):
    rows = people(rng, n)
    return rows * np.array([1e12, 1e12, 1e12, 1e12])


@case(500, 100)
def offset_1e9(rng, n, canary):
    return 1e9 + 1e6 * rng.standard_normal((n, 4)) + 1e6 * rng.standard_normal((n, 1))


@case(500, 100)
def small_1e_6(rng, n, canary):
    rows = spend(rng, n, scale=1e-6)
    rows[:, [1, 3]] *= 1e3
    return rows


# --- edges: statistics may be infinite or not a number
@case(300, 60)
def edge_no_past(rng, n, canary):
    return people(rng, n) * np.array([1.0, 1.0, 0.0, 0.0])


@case(300, 60)
def edge_no_x0(rng, n, canary):
    return people(rng, n) * np.array([1.0, 1.0, 0.0, 1.0])


@case(300, 60)
def edge_canary_no_past(rng, n, canary):
    return people(rng, n) * (np.array([1.0, 1.0, 0.0, 0.0]) if canary else 1.0)


@case(300, 60)
def edge_canary_no_x(rng, n, canary):
    return people(rng, n) * (np.array([0.0, 1.0, 1.0, 1.0]) if canary else 1.0)


@case(50, 10)
def edge_constant(rng, n, canary):
    return np.full((n, 4), [2.0, 4.0, 3.0, 5.0])


@case(50, 1)
def edge_one_user(rng, n, canary):
    return people(rng, n)


def rows(name):
    f, nb, nc = CASES[name]
    seed = zlib.crc32(name.encode())
    return tuple(np.ascontiguousarray(f(np.random.default_rng([seed, side]), n, bool(side)), float)
                 for side, n in enumerate((nb, nc)))


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or CASES:
        for side, data in zip(("baseline", "canary"), rows(name)):
            data.astype("<f8").tofile(out / f"{name}.{side}.f64")
