"""Counts that look like health and are none; and those that look odd and are ordinary."""

import re

import numpy as np
import pandas as pd
import pytest

from canary_judge import Outcome, judge, judge_samples
from canary_judge.judging.doubts.odd_counts import _cut_off
from canary_judge.judging.doubts.odd_values import heavy_tail, implausible
from canary_judge.looks.observing import observe
from canary_judge.looks.state import MonitorState
from canary_judge.sources import FrameSource
from tests.builders import GAUGE, RATIO, START, config, counted, gauged, raw, samples
from tests.judging.doubts.test_odd_values import SAMPLES

N = 120


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def drawn(rng, *, rate=0.01, times=1.0, requests=(1900, 100), n=N):
    """Events and exposure of both sides."""
    exposure = [rng.poisson(many, n).astype(float) for many in requests]
    events = [
        rng.binomial(of.astype(int), min(p, 1.0)).astype(float)
        for of, p in zip(exposure, (rate, rate * times), strict=True)
    ]
    return events[0], exposure[0], events[1], exposure[1]


def judged(metric, one, n=N):
    return judge_samples(config(metric), samples(one, n))


def told(metric, *sides, n=N):
    found = judged(metric, counted(*sides), n)["m"]
    return found.outcome, found.reason


def test_healthy_counts_are_safe(rng):
    assert told(RATIO, *drawn(rng, requests=(9500, 500)))[0] is Outcome.SAFE


# --- far better --------------------------------------------------------------------------------------------------


def test_a_total_per_second_on_one_side(rng):
    events, total, e_c, n_c = drawn(rng, times=3)
    found, reason = told(RATIO, events, np.round(total / 60, 3), e_c, n_c)
    assert found is Outcome.INSUFFICIENT
    assert "the canary's rate is less than a tenth of the baseline's: are both counted, and in the same unit?" in reason


@pytest.mark.parametrize(("rate", "told"), [(0.01, True), (0.002, True), (0.0005, False)])
def test_no_event_where_many_were_due_is_told_and_may_be_a_fix(rng, rate, told):
    e_b, n_b, e_c, n_c = drawn(rng, rate=rate)
    (found,) = judged(RATIO, counted(e_b, n_b, 0 * e_c, n_c)).metrics
    assert found.outcome is Outcome.SAFE
    assert any("are they counted at all?" in text for text in found.warnings) is told


@pytest.mark.parametrize("times", [1 / 12, 1 / 20, 1 / 50])
def test_a_real_fix_is_told_and_passes(rng, times):
    (found,) = judged(RATIO, counted(*drawn(rng, rate=0.05, times=times, requests=(9500, 500)))).metrics
    assert found.outcome is Outcome.SAFE
    assert any("less than a tenth of the baseline's" in text for text in found.warnings) is (times < 1 / 15)


def test_a_hundredfold_is_no_fix(rng):
    (found,) = judged(
        {**RATIO, "margin": "1.5x"}, counted(*drawn(rng, rate=0.3, times=1 / 400, requests=(9500, 5000)))
    ).metrics
    assert found.outcome is Outcome.INSUFFICIENT


def test_an_incident_that_both_sides_share_makes_no_canary_better(rng):
    """At a small weight all failed for a while, then the weight was raised: added up that is Simpson's paradox."""
    weight, rate = np.where(np.arange(N) < 60, 0.01, 0.5), np.where(np.arange(N) < 10, 0.2, 0.001)
    total = rng.poisson(4000, N)
    n_c = rng.binomial(total, weight)
    n_b = total - n_c
    (found,) = judged(RATIO, counted(rng.binomial(n_b, rate), n_b, rng.binomial(n_c, rate), n_c)).metrics
    assert found.comparison.canary < found.comparison.baseline / 10
    assert not any("less than a tenth" in text for text in (*found.warnings, found.reason))


@pytest.mark.parametrize("times", [0.5, 0.2])
def test_a_canary_that_is_better_is_safe(rng, times):
    assert told(RATIO, *drawn(rng, rate=0.02, times=times, requests=(9500, 500)))[0] is Outcome.SAFE


def test_availability_in_whole_percent(rng):
    e_b, n_b, e_c, n_c = drawn(rng, times=4)
    whole = [np.round(100 * (n - e) / n) for e, n in ((e_b, n_b), (e_c, n_c))]
    metric = {**RATIO, "harm": "decrease", "margin": "+1pp"}
    found, reason = told(metric, whole[0], n_b, whole[1], n_c)
    assert found is Outcome.INSUFFICIENT
    assert "more than ten times that of the baseline's" in reason


def test_a_margin_that_the_share_cannot_exceed(rng):
    """Successes in the column of errors: 1.5 times 99 % is no share."""
    e_b, n_b, e_c, n_c = drawn(rng, times=3)
    found, reason = told(RATIO, n_b - e_b, n_b, n_c - e_c, n_c)
    assert found is not Outcome.SAFE
    assert "tolerates everything: the baseline's share is 99.0%" in reason


@pytest.mark.parametrize(("events", "held"), [("http_errors", True), ("abandoned", False)])
def test_events_that_nearly_all_requests_are(rng, events, held):
    e_b, n_b, e_c, n_c = drawn(rng, times=3, requests=(9500, 500))
    metric = {**RATIO, "events": events, "margin": "+1pp"}
    (found,) = judged(metric, counted(n_b - e_b, n_b, n_c - e_c, n_c)).metrics
    said = "99.0% of the baseline are events, of which more would be harm: are they successes?"
    assert (found.outcome is not Outcome.SAFE) is held
    assert said in (found.reason if held else " ".join(found.warnings))


# --- too regular -------------------------------------------------------------------------------------------------


def test_levels_of_a_counter_are_no_counts_at_the_first_looks(rng):
    e_b, n_b, e_c, n_c = drawn(rng, times=3, n=6)
    sides = [start + np.cumsum(one) for start, one in zip((5e4, 5e6, 5e3, 5e5), (e_b, n_b, e_c, n_c), strict=True)]
    settings, state = config(RATIO), MonitorState(start=START, horizon=40)
    for first in range(6):
        part = counted(*(one[first : first + 1] for one in sides))
        one = samples(part, 1)
        moment = START + first * settings.interval
        window = type(one.window)(moment, moment + settings.interval)
        state, judgement = observe(settings, state, type(one)(window=window, metrics=one.metrics))
        assert judgement["m"].outcome is not Outcome.SAFE
    assert "events never fall" in judgement["m"].reason


def test_percentages_of_the_same_size_on_both_sides(rng):
    e_b, n_b, e_c, n_c = drawn(rng, times=3, requests=(1900, 1900))
    whole = [np.round(100 * (n - e) / n) for e, n in ((e_b, n_b), (e_c, n_c))]
    found, reason = told({**RATIO, "harm": "decrease", "margin": "+1pp"}, whole[0], n_b, whole[1], n_c)
    assert found is not Outcome.SAFE
    assert "are they percentages?" in reason


def test_few_fractions_of_a_whole_total_are_no_counts(rng):
    e_b, n_b, e_c, n_c = drawn(rng, times=3, requests=(1900, 1900), n=4)
    found = [np.round(100 * e / n, 2) for e, n in ((e_b, n_b), (e_c, n_c))]
    assert (
        "are no counts but a percentage or a rate"
        in told({**RATIO, "margin": "+1pp"}, found[0], n_b, found[1], n_c, n=4)[1]
    )


@pytest.mark.parametrize("events", [5.0, 60.0])
def test_events_of_a_probe_are_always_the_same(events):
    found, reason = told(RATIO, np.full(N, 19 * events), np.full(N, 19e4), np.full(N, events), np.full(N, 1e4))
    assert found is Outcome.SAFE, reason


def test_traffic_that_climbs_brings_events_that_climb_by_chance(rng):
    climb = np.linspace(1000, 2000, N).round()
    sides = rng.binomial((19 * climb).astype(int), 0.01), 19 * climb, rng.binomial(climb.astype(int), 0.01), climb
    assert told(RATIO, *sides)[0] is Outcome.SAFE


# --- none where some were due ------------------------------------------------------------------------------------


def mute(sides, where):
    e_b, n_b, e_c, n_c = sides
    return e_b, n_b, np.where(where, 0.0, e_c), np.where(where, 0.0, n_c)


@pytest.mark.parametrize(("share", "held"), [(0.18, True), (0.08, False)])
def test_intervals_of_the_canary_that_are_not_there(rng, share, held):
    sides = drawn(rng, requests=(9500, 500))
    where = np.zeros(N, dtype=bool)
    where[1 + rng.choice(N - 2, round(share * N), replace=False)] = True
    gone = judged(RATIO, counted(*mute(sides, where), coverage_canary=1 - share))["m"]
    assert (gone.outcome is not Outcome.SAFE) is held
    assert ("was it lost, or did the canary fail there?" in gone.reason) is held
    zeros = judged(RATIO, counted(*mute(sides, where)))["m"]
    assert zeros.outcome is Outcome.SAFE  # no traffic was written down: a client that stays, or a batch


def test_what_comes_with_the_next_scrape_is_not_lost(rng):
    e_b, n_b, e_c, n_c = drawn(rng, requests=(9500, 500))
    for at in range(5, N - 1, 8):
        e_c[at + 1], n_c[at + 1] = e_c[at] + e_c[at + 1], n_c[at] + n_c[at + 1]
        e_c[at] = n_c[at] = 0
    assert told(RATIO, e_b, n_b, e_c, n_c)[0] is Outcome.SAFE


def test_traffic_that_comes_in_bursts_is_not_missed(rng):
    e_b, n_b, e_c, n_c = drawn(rng, requests=(9500, 500))
    n_c = n_c * rng.pareto(0.6, N).round()
    e_c = rng.binomial(n_c.astype(int), 0.01).astype(float)
    assert (n_c == 0).mean() > 0.2
    assert "did the canary fail there" not in told(RATIO, e_b, n_b, e_c, n_c)[1]


@pytest.mark.parametrize(("harm", "side"), [("increase", "canary"), ("decrease", "baseline")])
def test_events_that_stop_coming(rng, harm, side):
    e_b, n_b, e_c, n_c = drawn(rng, rate=0.02, times=1.5 if harm == "increase" else 0.7, requests=(1900, 100))
    hole = slice(30, 73)
    (e_c if side == "canary" else e_b)[hole] = 0
    metric = {**RATIO, "harm": harm, "margin": "50%"}
    found, reason = told(metric, e_b, n_b, e_c, n_c)
    assert found is not Outcome.SAFE
    assert f"the {side} has no event in 43 intervals in a row, in which " in reason


def test_events_that_come_in_clumps_stay_away_for_a_while(rng):
    e_b, n_b, _, n_c = drawn(rng, rate=0.02)
    clumps = np.where(rng.random(N) < 0.08, rng.poisson(25, N), 0).astype(float)
    assert "have they stopped coming" not in told(RATIO, e_b, n_b, np.minimum(clumps, n_c), n_c)[1]


# --- filled in, and codes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fewest", [5, 20])
def test_small_numbers_that_are_left_out_hide_a_canary_twice_as_bad(rng, fewest):
    """As `HAVING count(*) >= 5` does: the baseline has enough of them."""
    e_b, n_b, e_c, n_c = drawn(rng, rate=fewest / 1000, times=2, requests=(9500, 400))
    found = judged(RATIO, counted(e_b, n_b, np.where(e_c >= fewest, e_c, 0), n_c))["m"]
    assert found.outcome is not Outcome.SAFE
    assert f"never fewer than {fewest}" in found.reason
    assert "never fewer" not in judged(RATIO, counted(e_b, n_b, e_c, n_c))["m"].reason


@pytest.mark.parametrize("level", [5, 300, 5000, 1e6])
def test_equal_counts_of_any_size_beside_none_are_no_small_numbers(level):
    """Where a Poisson distribution has no such part that a float could hold, there is nothing to compare."""
    events = np.where(np.arange(N) % 4 < 2, 0.0, level + (np.arange(N) % 8 == 7))
    one = counted(events, 10 * level + 100.0, events[::-1].copy(), 5 * level + 50.0)
    assert "never fewer" not in judged(RATIO, one)["m"].reason


def test_a_poisson_distribution_that_is_cut_off_is_known_by_what_is_left(rng):
    drawn_ = rng.poisson(4.0, 200_000)
    left = drawn_[drawn_ >= 5]
    below, variance = _cut_off(5, float(left.mean()))
    assert below == pytest.approx(float((drawn_ < 5).mean()), abs=0.01)
    assert variance == pytest.approx(float(left.var()), rel=0.05)


def retried(rng, calls, least, most):
    """Failed calls that are tried again so many times."""
    return np.array([rng.integers(least, most + 1, int(one)).sum() for one in calls], dtype=float)


@pytest.mark.parametrize(("least", "most"), [(6, 6), (4, 6), (4, 7), (5, 7), (5, 9)])
def test_events_that_come_in_batches_are_not_left_out(rng, least, most):
    for rate in (0.0005, 0.001, 0.002):
        e_b, n_b, e_c, n_c = drawn(rng, rate=rate, requests=(1900, 400))
        one = counted(retried(rng, e_b, least, most), n_b, retried(rng, e_c, least, most), n_c)
        assert "never fewer" not in judged(RATIO, one)["m"].reason


def test_errors_of_a_job_each_five_minutes_are_not_left_out(rng):
    _, n_b, _, n_c = drawn(rng)
    runs = np.arange(N) % 5 == 0
    one = counted(rng.poisson(9, N) * runs, n_b, rng.poisson(9, N) * runs, n_c)
    assert "never fewer" not in judged(RATIO, one)["m"].reason


def test_events_that_begin_late_on_both_sides_are_told(rng):
    e_b, n_b, e_c, n_c = drawn(rng, rate=0.01)
    late = np.arange(N) >= N // 3
    found = judged(RATIO, counted(e_b * late, n_b, e_c * late, n_c))["m"]
    assert any(f"in the first {N // 3} intervals" in text for text in found.warnings)


def interpolated(values, first, last):
    made = values.copy()
    made[first:last] = np.interp(np.arange(first, last), [first - 1, last], values[[first - 1, last]])
    return made


def test_counts_that_were_interpolated(rng):
    e_b, n_b, e_c, n_c = drawn(rng, requests=(9500, 500))
    assert "lie on straight lines" in told(RATIO, e_b, n_b, interpolated(e_c, 30, 52), interpolated(n_c, 30, 52))[1]
    assert told(RATIO, e_b, n_b, interpolated(e_c, 30, 38), interpolated(n_c, 30, 38))[0] is Outcome.SAFE
    rounded = (np.rint(interpolated(one, 30, 55)) for one in (e_c, n_c))
    assert "lie on straight lines" in told(RATIO, e_b, n_b, *rounded)[1]


@pytest.mark.parametrize("first", [35, 15])
def test_levels_that_were_interpolated(rng, first):
    baseline, canary = rng.normal(100, 3, 60), rng.normal(100, 3, 60)
    drawn_on = interpolated(np.append(canary, 101.0), first, 60)[:60]
    found = judge_samples(config(GAUGE), samples(gauged(baseline, drawn_on), 60))["m"]
    assert found.outcome is not Outcome.SAFE
    assert "of the canary's values lie on straight lines" in found.reason
    assert "straight lines" not in judge_samples(config(GAUGE), samples(gauged(baseline, canary), 60))["m"].reason


@pytest.mark.parametrize("noisy", [True, False])
@pytest.mark.parametrize("every", [10, 15, 20])
def test_ages_begin_anew_and_rise_alike(rng, every, noisy):
    """Seconds since the last success, on both sides."""
    at = np.arange(120.0)
    ages = [
        60.0 * ((at + rng.integers(0, every)) % every) + 0.337 + (rng.random(120) if noisy else 0) for _ in range(2)
    ]
    found = judge_samples(config({**GAUGE, "margin": "50%"}), samples(gauged(*ages), 120))["m"]
    assert "straight lines" not in found.reason


def test_a_sawtooth_of_a_load_without_errors_was_not_filled_in():
    total = np.rint(200 + (np.arange(60) % 15) * 123.4)
    assert "straight lines" not in told(RATIO, np.zeros(60), total, np.zeros(60), total, n=60)[1]


@pytest.mark.parametrize(
    "level", [lambda at: 60.0 * at, lambda at: 1000 + 0.25 * at, lambda at: np.minimum(at, 30) * 1.5 + 100]
)
def test_a_level_that_rises_by_itself_was_not_filled_in(rng, level):
    """An uptime, the age of a certificate, a cache that fills."""
    one = level(np.arange(60.0))
    found = judge_samples(config(GAUGE), samples(gauged(one + rng.normal(0, 1, 60), one), 60))["m"]
    assert "straight lines" not in found.reason


ORDINARY = {
    "a load test": lambda rng: (np.zeros(N), np.where(np.arange(N) < 60, 500.0, rng.poisson(500, N))),
    "a ramp": lambda rng: (np.zeros(N), np.where(np.arange(N) < 60, 500.0 + 5 * np.arange(N), rng.poisson(500, N))),
    "probes": lambda rng: (np.full(N, 1.0), np.where(np.arange(N) < 60, 61.0169, rng.poisson(60, N))),
}


@pytest.mark.parametrize("what", ORDINARY)
def test_what_is_regular_was_not_filled_in(rng, what):
    e_c, n_c = ORDINARY[what](rng)
    e_b, n_b, _, _ = drawn(rng, requests=(9500, 500))
    assert "straight lines" not in told(RATIO, e_b, n_b, e_c, n_c)[1]


REGULAR = {
    "a probe and a few real ones": lambda rng: (60.0 + rng.binomial(1, 0.1, N), rng.poisson(2000, N)),
    "every 20th request": lambda rng: (50.0 + (np.arange(N) % 2), np.full(N, 1000.0)),
    "a morning's ramp": lambda rng: (
        np.floor(0.03 * 1000 * 1.02 ** np.arange(N)),
        np.floor(1000 * 1.02 ** np.arange(N)),
    ),
    "a heartbeat more": lambda rng: (np.where(np.arange(N) < 50, 12.0, 13.0), np.full(N, 100.0)),
}


@pytest.mark.parametrize("what", REGULAR)
def test_what_is_regular_is_no_counter_and_no_percentage(rng, what):
    events, exposure = REGULAR[what](rng)
    reason = told({**RATIO, "margin": "2x"}, events, exposure, events, exposure)[1]
    assert "counters:" not in reason
    assert "percentages" not in reason


@pytest.mark.parametrize("code", [99.0, 9.0])
def test_a_code_among_ratings(rng, code):
    """Who is unhappy gave 1, and it is written as no answer."""
    stars = rng.choice([1.0, 2, 3, 4, 5], size=(2, 600), p=[0.12, 0.1, 0.18, 0.3, 0.3])
    metric = {**SAMPLES, "harm": "decrease", "margin": "10%"}
    found = judged(metric, raw(stars[0], np.where(stars[1] == 1, code, stars[1])))["m"]
    assert found.outcome is not Outcome.SAFE
    assert f"of the canary's values are {code:g} and none of the baseline's, which are 1 to 5" in found.reason
    assert judged({**metric, "margin": "20%"}, raw(*stars))["m"].outcome is Outcome.SAFE


BETTER = {
    "fewer queries": ("increase", [11.0, 12.0, 13.0], [2.0]),
    "a cache": ("increase", [30.0, 40.0, 50.0], [1.0, 30.0, 40.0, 50.0]),
    "availability": ("decrease", [97.0, 98.0], [100.0]),
    "the next grade": ("decrease", [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
}


@pytest.mark.parametrize("what", BETTER)
def test_values_that_are_better_are_no_codes(rng, what):
    harm, usual, new = BETTER[what]
    metric = {**SAMPLES, "harm": harm, "margin": "20%"}
    found = judged(metric, raw(rng.choice(usual, 600), rng.choice(new, 600)))["m"]
    assert "a code for something else" not in found.reason


def test_time_outs_that_all_take_the_same(rng):
    def requests(share):
        return np.where(rng.random(4000) < share, 30_000.0, rng.lognormal(4.6, 0.3, 4000))

    (metric,) = config({**SAMPLES, "margin": "20%"}).metrics
    assert "ranks do not see such a tail" in heavy_tail(metric, requests(0.02), requests(0.10))
    assert heavy_tail(metric, requests(0.02), requests(0.02)) is None


def test_single_values_of_a_counter(rng):
    (metric,) = config(SAMPLES).metrics
    sides = [start + np.cumsum(rng.exponential(1, 200)) for start in (900.0, 100.0)]
    told_of = [one for one in implausible(metric, *sides) if "never fall" in one]
    assert [one.partition("'s")[0] for one in told_of] == ["the baseline", "the canary"]
    assert not list(implausible(metric, rng.permutation(sides[0]), rng.permutation(sides[0])))


def test_latencies_that_are_all_nothing():
    times = pd.date_range("2026-01-01T12:00Z", periods=400, freq="9s")
    table = pd.DataFrame({"timestamp": times, "side": ["baseline", "canary"] * 200, "ok": True, "latency": 0.0})
    metric = {"name": "m", "kind": "latency", "histogram": "latency", "slower_than": "200ms", "margin": "+1pp"}
    settings = config({**metric, "harm": "increase", "unit": "ms"}, interval="1m")
    source = FrameSource(table)
    found = judge(settings, source, source.window(settings.interval))["m"]
    assert any("all latencies are 0: is it the right column" in text for text in found.warnings)


def test_whole_levels_with_gaps_were_not_filled_in(rng):
    """A queue that fills by three a minute for a while; some scrapes were lost."""
    one = np.where(np.arange(60) < 30, 3.0 * np.arange(60), 90 + rng.integers(-9, 9, 60))
    one[[7, 40]] = np.nan
    found = judge_samples(config(GAUGE), samples(gauged(90 + rng.normal(0, 9, 60), one), 60))["m"]
    assert "straight lines" not in found.reason


@pytest.mark.parametrize(
    ("harm", "margin", "of", "told"),
    [
        ("decrease", "1%", 999.0, "tolerates 11 times as many requests without it: 0.001 of the baseline's, 0.011 at"),
        ("decrease", "+0.1pp", 999.0, None),
        ("decrease", "5%", 900.0, None),
        ("increase", "+50pp", 5.0, "tolerates 101 times the baseline's share of 0.005: is its unit right?"),
        ("increase", "1.5x or +0.1pp", 0.01, None),
        ("increase", "+3pp", 5.0, None),
        ("increase", "+10pp", 200.0, None),
    ],
)
def test_a_margin_that_tolerates_many_times_the_failures_is_told(harm, margin, of, told):
    rng = np.random.default_rng(4)
    sides = [rng.binomial(n, of / 1000, 60).astype(float) for n in (9000, 1000)]
    metric = {**RATIO, "name": "m", "harm": harm, "margin": margin}
    found = judge_samples(config(metric), samples(counted(sides[0], 9000.0, sides[1], 1000.0)))["m"]
    words = [text for text in found.warnings if "tolerates" in text]
    assert len(words) == (told is not None)
    if told is not None:  # to the digits of a drawn baseline
        assert re.sub(r"\d+", "1", told[:45]) in re.sub(r"\d+", "1", words[0])
