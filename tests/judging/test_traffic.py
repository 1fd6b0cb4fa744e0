"""The canary's share of the requests and of the users."""

from dataclasses import replace

import numpy as np
import pytest

from canary_judge.judging.traffic import canary_share, most_users, requests, traffic_split, unequal
from canary_judge.moments import Moments, UserMoments
from canary_judge.samples import UserData
from tests.builders import RATIO, config, counted, samples

N = 30


def users(number, strays=0):
    whole = Moments(users=number)
    return UserMoments(whole=whole, strays=strays, since=0, until=1)


def by_user(baseline, canary, strays=(0, 0)):
    return UserData(baseline=users(baseline, strays[0]), canary=users(canary, strays[1]))


def test_who_was_seen_on_both_sides_is_a_draw_of_the_side_he_was_seen_on_first():
    split = traffic_split(config(RATIO), None, 10.0, users=by_user(9000, 1000))
    assert (split.canary_requests, split.requests, split.finding) == (1000.0, 10_000.0, "")
    strayed = traffic_split(config(RATIO), None, 10.0, users=by_user(9000, 600, strays=(40, 400)))
    assert (strayed.canary_requests, strayed.requests) == (1000.0, 10_040.0)


def test_what_is_found_of_users_is_told_with_the_requests():
    counts = counted(np.full(N, 9.0), np.full(N, 900.0), np.full(N, 1.0), np.full(N, 100.0)).data.counts
    fine = traffic_split(config(RATIO), counts, 10.0, users=by_user(9000, 1000))
    assert (fine.counted, fine.finding) == ("requests", "")
    odd = traffic_split(config(RATIO), counts, 10.0, users=by_user(9900, 100))
    assert odd.counted == "requests"
    assert odd.finding == traffic_split(config(RATIO), None, 10.0, users=by_user(9900, 100)).finding != ""


def test_users_stand_in_for_requests_that_nobody_counts():
    none = counted(*(np.zeros(N) for _ in range(4))).data.counts
    assert traffic_split(config(RATIO), none, 10.0, users=by_user(900, 100)).counted == "users"
    assert traffic_split(config(RATIO), none, 10.0).requests == 0
    assert traffic_split(config(RATIO), None, 10.0) is None
    assert traffic_split(config(RATIO), none) is None


def test_a_weight_that_is_told_goes_before_the_configs():
    one = config(RATIO, traffic={"weight": 5})
    counts = counted(np.full(N, 9.0), np.full(N, 900.0), np.full(N, 1.0), np.full(N, 100.0)).data.counts
    assert traffic_split(one, counts).configured == 0.05
    assert traffic_split(one, counts, 10.0).configured == 0.1
    assert canary_share(one, None) == 0.05
    assert canary_share(one, None, weight=20.0) == 0.2
    assert canary_share(one, counts, weight=20.0) == 0.1
    assert canary_share(config(RATIO), None) is None


def test_requests_are_those_of_the_metric_that_counts_most_of_them():
    few, many = (counted(np.zeros(N), np.full(N, n), np.zeros(N), np.full(N, n / 9)) for n in (90.0, 900.0))
    alone = counted(np.zeros(N), np.zeros(N), np.zeros(N), np.full(N, 9000.0))
    both = config(*({**RATIO, "name": name} for name in ("a", "b", "c")))
    found = requests(both, samples({"a": few, "b": many, "c": alone}, N))
    assert found is many.data.counts
    assert requests(config(RATIO), samples(alone, N)) is None


@pytest.mark.parametrize(("share", "told"), [(None, False), (0.0, False), (0.5, False), (0.34, False), (0.33, True)])
def test_sides_are_unequal_from_twice_the_traffic_on(share, told):
    assert unequal(share) is told
    if share is not None:
        assert unequal(1 - share) is told


def test_the_users_are_those_of_the_metric_that_saw_most_of_them():
    found = samples(counted(1, 1, 1, 1), N)
    assert most_users(found) is None
    some = [replace(found.metrics["m"], data=one) for one in (by_user(10, 5), by_user(9, 7))]
    assert most_users(replace(found, metrics={"a": some[0], "b": some[1]})) is some[1].data
