"""Totals that are not those of a side, counts of windows that overlap, and events by time of unequal traffic."""

import numpy as np
import pytest

from canary_judge import Outcome, judge_samples
from canary_judge.looks.observing import observe
from canary_judge.looks.state import MonitorState
from tests.builders import RATIO, START, config, counted, samples
from tests.judging.doubts.test_odd_counts import N, drawn

RATE = {"name": "m", "kind": "rate", "events": "e", "harm": "increase", "margin": "1.5x"}
BY_EXPOSURE = {**RATE, "exposure": "requests"}
SAME, PROBE, OVERLAP = "both sides have the same total", "does anything but a probe reach it?", "windows that overlap"


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def result(metric, one, n=N, **more):
    return judge_samples(config(metric, **more), samples(one, n))["m"]


# --- the same total on both sides ------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [RATIO, BY_EXPOSURE], ids=["ratio", "rate"])
def test_a_total_of_all_traffic_hides_a_canary_three_times_as_bad(rng, metric):
    e_b, n_b, e_c, n_c = drawn(rng, rate=0.004, times=3, requests=(9500, 500))
    found = result(metric, counted(e_b, n_b + n_c, e_c, n_b + n_c))
    assert found.outcome is Outcome.INSUFFICIENT
    assert SAME in found.reason
    assert result(metric, counted(e_b, n_b, e_c, n_c)).outcome is Outcome.REGRESSED


def test_a_healthy_canary_that_fails_by_it_is_told(rng):
    e_b, n_b, e_c, n_c = drawn(rng, rate=0.1, requests=(9500, 500))
    found = result({**RATIO, "harm": "decrease", "margin": "10%"}, counted(e_b, n_b + n_c, e_c, n_b + n_c))
    assert found.outcome is Outcome.REGRESSED
    assert f"; but {SAME}" in found.reason


def test_a_mirror_says_so_and_is_judged(rng):
    e_b, n_b, _, _ = drawn(rng, rate=0.02, requests=(9500, 500))
    one = counted(e_b, n_b, rng.binomial(n_b.astype(int), 0.02), n_b)
    assert SAME in result(RATIO, one).reason
    assert result(RATIO, one, traffic={"weight": 50}).outcome is Outcome.SAFE


@pytest.mark.parametrize(("weight", "held"), [(None, True), (50.0, False)])
def test_a_weight_that_a_driver_knows_says_so_too(rng, weight, held):
    e_b, n_b, _, _ = drawn(rng, rate=0.02, requests=(9500, 500))
    one = samples(counted(e_b, n_b, rng.binomial(n_b.astype(int), 0.02), n_b), N)
    found = observe(config(RATIO), MonitorState(start=START, horizon=None), one, weight=weight)[1]["m"]
    assert (SAME in found.reason) is held


@pytest.mark.parametrize(
    "profile", [lambda at: 100 + 30 * at, lambda at: 500 + (at % 15) * 123, lambda at: 1000 + 400 * np.sin(at / 20)]
)
def test_a_load_test_of_both_sides_with_one_profile_is_well(rng, profile):
    total = np.rint(profile(np.arange(N)))
    one = counted(rng.binomial(total.astype(int), 0.02), total, rng.binomial(total.astype(int), 0.02), total)
    assert SAME not in result({**RATIO, "margin": "2x"}, one).reason


def test_a_load_that_is_the_same_all_the_time_is_well(rng):
    one = counted(rng.binomial(1000, 0.01, N), 1000, rng.binomial(1000, 0.01, N), 1000)
    assert result(RATIO, one).outcome is Outcome.SAFE


# --- a probe ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("many", "n", "held"), [(6, 1440, True), (60, 120, False), (300, 120, False)])
def test_a_canary_that_only_a_probe_reaches_is_told_and_held(rng, many, n, held):
    """Of more requests it may be a limit, or a load that is made."""
    e_b, n_b, _, _ = drawn(rng, rate=0.004, requests=(9500, 500), n=n)
    found = result(RATIO, counted(e_b, n_b, 0, np.full(n, many)), n)
    assert (found.outcome is Outcome.INSUFFICIENT) is held
    assert (PROBE in found.reason) is held
    assert any(PROBE in text for text in found.warnings) is not held


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("mean", "weight"), [(3.0, 0.02), (30.0, 0.02), (30.0, 0.1)])
def test_a_thin_stream_is_no_probe(seed, mean, weight):
    rng = np.random.default_rng(seed)
    whole = rng.poisson(mean, 720)
    n_c = rng.binomial(whole, weight)
    dealt = np.diff(np.concatenate([[0], np.floor(np.cumsum(whole) * weight)]))
    for own in (n_c, dealt):
        found = result(RATIO, counted(0, whole - own, 0, own), 720)
        assert PROBE not in found.reason + "".join(found.warnings)


def test_a_probe_that_is_scraped_now_a_little_late(rng):
    e_b, n_b, _, _ = drawn(rng, rate=0.004, requests=(9500, 500), n=1440)
    seen = 6 + np.diff(rng.integers(0, 2, 1441))
    assert PROBE in result(RATIO, counted(e_b, n_b, 0, seen), 1440).reason


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("every", [20, 100, 150])
def test_a_router_that_deals_out_every_so_many_requests_is_none(seed, every):
    rng = np.random.default_rng(seed)
    whole = rng.poisson(10_000 * (1 + 0.3 * np.sin(np.arange(N) / 20)))
    n_c = np.diff(np.concatenate([[0], np.cumsum(whole) // every])).astype(float)
    one = counted(rng.binomial(whole - n_c.astype(int), 0.01), whole - n_c, rng.binomial(n_c.astype(int), 0.01), n_c)
    assert PROBE not in result(RATIO, one).reason


def test_who_says_how_much_it_should_get_is_told_by_that(rng):
    e_b, n_b, _, _ = drawn(rng, rate=0.004, requests=(9500, 500))
    found = result(RATIO, counted(e_b, n_b, 0, np.full(N, 60)), traffic={"weight": 0.63})
    assert PROBE not in found.reason


# --- windows that overlap --------------------------------------------------------------------------------------------


def rolling(values, length):
    return np.convolve(values, np.ones(length), "valid")


@pytest.mark.parametrize("length", [5, 15, 60])
def test_counts_of_windows_that_overlap_are_held(rng, length):
    sides = drawn(rng, requests=(1900, 400), n=N + length - 1)
    found = result(RATIO, counted(*(rolling(side, length) for side in sides)))
    assert found.outcome is not Outcome.SAFE
    assert OVERLAP in found.reason


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("swing", [np.zeros, lambda n: 0.8 * np.sin(np.arange(n) / 20), lambda n: np.arange(n) / n])
def test_counts_of_traffic_that_swings_are_not(seed, swing):
    rng = np.random.default_rng(seed)
    level = 1 + swing(N)
    n_b, n_c = rng.poisson(1900 * level), rng.poisson(100 * level)
    one = counted(rng.binomial(n_b, 0.02), n_b, rng.binomial(n_c, 0.02), n_c)
    assert OVERLAP not in result(RATIO, one).reason


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("weight", [0.01, 0.05, 0.2])
def test_successes_of_requests_that_are_dealt_out_are_by_chance(seed, weight):
    """Nearly all are successes, which are then as smooth as their total."""
    rng = np.random.default_rng(seed)
    whole = rng.poisson(3000 * (1 + 0.5 * np.sin(np.arange(N) / 20)))
    n_c = np.diff(np.floor(np.concatenate([[0], np.cumsum(whole) * weight])))
    n_b = whole - n_c
    e_b, e_c = (of - rng.binomial(of.astype(int), 0.003) for of in (n_b, n_c))
    metric = {**RATIO, "harm": "decrease", "margin": "+1pp"}
    assert OVERLAP not in result(metric, counted(e_b, n_b, e_c, n_c)).reason


def test_what_is_used_smoothly_by_time_is_told_and_not_held():
    smooth = np.rint(600 + 300 * np.sin(np.arange(N) / 20))
    found = result({**RATE, "margin": "2x"}, counted(smooth, 60, smooth + np.arange(N) % 2, 60))
    assert OVERLAP not in found.reason
    assert any(OVERLAP in text for text in found.warnings)


def test_a_load_that_is_made_to_rise_has_events_by_chance(rng):
    n_b, n_c = np.arange(N) * 10 + 500, np.arange(N) * 5 + 250
    one = counted(rng.binomial(n_b, 0.02), n_b, rng.binomial(n_c, 0.02), n_c)
    assert result(RATIO, one).outcome is Outcome.SAFE


# --- percentages, rounded --------------------------------------------------------------------------------------------


def test_percentages_rounded_to_whole_numbers_are_no_counts(rng):
    e_b, n_b, e_c, n_c = drawn(rng, rate=0.03, requests=(9500, 500))
    found = result(RATIO, counted(np.rint(100 * e_b / n_b), n_b, np.rint(100 * e_c / n_c), n_c))
    assert found.outcome is Outcome.REGRESSED  # the same number of so many fewer
    assert "are they percentages, rounded?" in found.reason


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("rate", [0.0003, 0.002, 0.01])
def test_few_events_by_chance_are_counts(seed, rate):
    one = counted(*drawn(np.random.default_rng(seed), rate=rate, requests=(9500, 500)))
    assert "percentages" not in result(RATIO, one).reason


# --- events by time --------------------------------------------------------------------------------------------------


def by_time(rng, *, pods=(1, 1), requests=(9500, 500), rate=0.004, times=3.0):
    """Events of each side by the time of its pods."""
    return counted(
        rng.poisson(requests[0] * rate, N), 60 * pods[0], rng.poisson(requests[1] * rate * times, N), 60 * pods[1]
    )


@pytest.mark.parametrize(("pods", "requests"), [((1, 1), (9500, 500)), ((4, 1), (9900, 100))])
def test_events_by_time_of_a_canary_with_few_requests(rng, pods, requests):
    found = result(RATE, by_time(rng, pods=pods, requests=requests))
    assert any("does it get as many requests?" in text for text in found.warnings)
    known = result(RATE, by_time(rng, pods=pods, requests=requests), traffic={"weight": 100 * requests[1] / 10_000})
    assert known.outcome is Outcome.INSUFFICIENT
    assert "grow with them, if they come of requests" in known.reason


def test_events_by_time_where_each_pod_gets_as_many(rng):
    one = by_time(rng, pods=(19, 1), requests=(9500, 500), times=1)
    assert result(RATE, one).outcome is Outcome.SAFE
    found = result(RATE, one, traffic={"weight": 5})
    assert (found.outcome, found.warnings) == (Outcome.SAFE, ())


def test_the_remedy_fits_what_is_there(rng):
    alike = result(RATE, by_time(rng, times=1), traffic={"weight": 5})
    assert "or leave the label `instance` in" in alike.reason
    apart = result(RATE, by_time(rng, pods=(4, 1), requests=(9900, 100), times=1), traffic={"weight": 1})
    assert "events by time of instances that had 1.0% of the requests" in apart.reason
    assert "leave the label" not in apart.reason


def test_restarts_by_the_time_of_pods_are_well_at_any_weight(rng):
    one = counted(rng.poisson(0.8, N), 240, rng.poisson(0.2, N), 60)
    found = result({**RATE, "margin": "3x"}, one, traffic={"weight": 1})
    assert "grow with them" not in found.reason
    assert any("grow with them" in text for text in found.warnings)


# --- multiples -------------------------------------------------------------------------------------------------------

TWICE = "multiples of 2 in each of"


@pytest.mark.parametrize("side", [0, 2], ids=["baseline", "canary"])
def test_events_that_are_counted_twice_on_one_side_are_held(rng, side):
    clicks = list(drawn(rng, rate=0.05, times=0.75, requests=(9500, 900)))
    clicks[side] = 2 * clicks[side]
    found = result({**RATIO, "harm": "decrease", "margin": "10%"}, counted(*clicks))
    assert TWICE in found.reason
    assert found.outcome not in (Outcome.SAFE, Outcome.TOLERABLE)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_counted_once_has_multiples_by_chance_only(seed):
    rng = np.random.default_rng(seed)
    for requests, rate in (((950, 50), 0.01), ((9500, 900), 0.05), ((200, 100), 0.5)):
        one = counted(*drawn(rng, rate=rate, times=1, requests=requests))
        assert "multiples of" not in (result(RATIO, one).reason + " ".join(result(RATIO, one).warnings))


def test_events_that_come_in_pairs_on_both_sides_are_left_alone(rng):
    e_b, n_b, e_c, n_c = drawn(rng, rate=0.05, requests=(9500, 900))
    assert "multiples of" not in result(RATIO, counted(2 * e_b, n_b, 2 * e_c, n_c)).reason


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("batch", [2, 10])
def test_batches_with_a_rare_single_one_are_left_alone(seed, batch):
    """The baseline has fifty times as many, and so all of the single ones."""
    rng = np.random.default_rng(seed)
    e_b, n_b, e_c, n_c = drawn(rng, rate=0.02 / batch, times=1, requests=(30_000, 600))
    e_b, e_c = batch * e_b + (rng.random(N) < 0.4), batch * e_c
    assert "multiples of" not in result(RATIO, counted(e_b, n_b, e_c, n_c)).reason


@pytest.mark.parametrize("seed", range(8))
def test_totals_that_come_in_tens_and_all_of_them_well_are_left_alone(seed):
    rng = np.random.default_rng(seed)
    n_b, n_c = (10.0 * rng.poisson(mean, N) + 10 for mean in (90, 9))
    e_b, e_c = (rng.binomial(n.astype(int), 0.995).astype(float) for n in (n_b, n_c))
    for canary in (e_c, n_c):
        one = counted(e_b, n_b, canary, n_c)
        assert "multiples of" not in result({**RATIO, "harm": "decrease", "margin": "10%"}, one).reason


# --- events of both sides, multiplied totals, running ones ------------------------------------------------------------

EVENTS = "both sides have the same events"


def test_events_of_all_traffic_hide_a_canary_and_fail_a_healthy_one(rng):
    e_b, n_b, e_c, n_c = drawn(rng, rate=0.05, requests=(1900, 400))
    every = e_b + e_c
    for harm in ("increase", "decrease"):
        found = result({**RATIO, "harm": harm, "margin": "10%"}, counted(every, n_b, every, n_c))
        assert found.outcome in (Outcome.INSUFFICIENT, Outcome.REGRESSED)
        assert EVENTS in found.reason
    assert EVENTS not in result(RATIO, counted(e_b, n_b, e_c, n_c)).reason


def test_one_event_a_minute_on_each_side_is_made_by_a_clock(rng):
    _, n_b, _, n_c = drawn(rng)
    ones = np.ones(N)
    assert EVENTS not in result(RATIO, counted(ones, n_b, ones, n_c)).reason
    assert EVENTS not in result(RATE, counted(ones, 60, ones, 60)).reason


def test_few_events_are_alike_by_chance(rng):
    """At 12 and fewer events in all a side has half of each interval's often enough."""
    _, n_b, _, n_c = drawn(rng)
    few = np.zeros(N)
    few[:: N // 12] = 1
    assert EVENTS not in result(RATIO, counted(few, n_b, few, n_c)).reason


@pytest.mark.parametrize("times", [2, 3])
def test_totals_of_one_side_that_a_join_multiplies(rng, times):
    """A canary a third worse looks better. Held it is not: a client's requests may come in twos."""
    e_b, n_b, e_c, n_c = drawn(rng, rate=0.1, times=0.7, requests=(1900, 400))
    metric = {**RATIO, "harm": "decrease", "margin": "10%"}
    found = result(metric, counted(e_b, times * n_b, e_c, n_c))
    assert any(f"the baseline's totals are multiples of {times}" in text for text in found.warnings)
    assert result(metric, counted(e_b, n_b, e_c, n_c)).outcome is Outcome.REGRESSED


def test_totals_that_a_join_multiplies_on_both_sides_are_told(rng):
    e_b, n_b, e_c, n_c = drawn(rng, requests=(1900, 400))
    found = result(RATIO, counted(e_b, 30 * n_b, e_c, 30 * n_c))
    assert any("multiples of 30" in text for text in found.warnings)
    assert not any("multiples of" in text for text in result(RATIO, counted(e_b, n_b, e_c, n_c)).warnings)


def test_running_totals_are_held(rng):
    e_b, n_b, e_c, n_c = drawn(rng, times=3)
    found = result({**RATIO, "margin": "+0.5pp"}, counted(e_b, n_b.cumsum(), e_c, n_c.cumsum()))
    assert found.outcome not in (Outcome.SAFE, Outcome.TOLERABLE)
    assert "running sums" in found.reason


@pytest.mark.parametrize("before", [0, 50_000])
def test_running_sums_are_held_from_the_first_looks_on(rng, before):
    """Where each look reads one value, nothing of the source can tell; judged as counts they passed at the fourth."""
    e_b, n_b, e_c, n_c = drawn(rng, rate=0.05, requests=(9500, 500), n=10)
    metric = {**RATIO, "margin": "2x"}
    whole = [np.array([19 * before, before])[side] + one.cumsum() for side, one in enumerate((n_b, n_c))]
    for n in range(4, 11):
        found = result(metric, counted(e_b.cumsum()[:n], whole[0][:n], e_c.cumsum()[:n], whole[1][:n]), n)
        assert "running sums" in " ".join([found.reason, *found.warnings]) or n < 6
        assert (found.outcome is not Outcome.SAFE and "running sums" in found.reason) or n < 8


def test_traffic_that_rises_from_nothing_is_no_running_sum(rng):
    told = held = 0
    for _ in range(100):
        up = np.arange(1, 13)
        n_b, n_c = rng.poisson(1900 * up), rng.poisson(100 * up)
        found = result(RATIO, counted(rng.binomial(n_b, 0.02), n_b, rng.binomial(n_c, 0.02), n_c), 12)
        told += any("running sums" in text for text in found.warnings)
        held += "running sums" in found.reason
    assert (told <= 5, held) == (True, 0)


def test_clients_that_come_and_stay_make_running_sums_and_are_not_held(rng):
    """Pollers that enrol: their totals are running sums, and their failures go with them."""
    for _ in range(20):
        n_b, n_c = rng.poisson(600, 30).cumsum(), rng.poisson(30, 30).cumsum()
        found = result(RATIO, counted(rng.binomial(n_b, 0.02), n_b, rng.binomial(n_c, 0.02), n_c), 30)
        assert "running sums" not in found.reason


def test_mirrored_requests_of_which_some_are_lost_have_the_same_events(rng):
    """What the client does wrong it does wrong twice; where the copy loses requests, too."""
    for kept in (0.999, 0.6):
        _, n_b, _, _ = drawn(rng)
        events = rng.binomial(n_b.astype(int), 0.02)
        n_c = events + rng.binomial((n_b - events).astype(int), kept)
        assert EVENTS not in result(RATIO, counted(events, n_b, events, n_c)).reason
