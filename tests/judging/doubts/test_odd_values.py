"""Inputs that look like health: a side that stands still, another unit, sides that were swapped, one interval."""

import numpy as np
import pytest

from canary_judge import Outcome, Verdict, judge_samples
from canary_judge.errors import ConfigError
from tests.builders import GAUGE, RATIO, config, counted, gauged, raw, samples

SAMPLES = {"name": "m", "kind": "samples", "query": "q", "harm": "increase", "margin": "10%"}
N = 60
RNG = np.random.default_rng(1)
BUSY = RNG.normal(100, 3, N)


def judged(metric, one, **more):
    return judge_samples(config(metric, **more), samples(one))


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e6 / 3])
def test_a_canary_that_stands_still_beside_a_busy_baseline_is_no_healthy_one(scale):
    still = 100.37 if scale == 1 else np.rint(scale * 100.37)  # bytes are whole numbers
    found = judged(GAUGE, gauged(np.rint(scale * BUSY) if scale > 1 else BUSY, np.full(N, still)))
    assert found.verdict is Verdict.MARGINAL
    assert "never changed while the baseline's did: a frozen exporter?" in found["m"].reason


@pytest.mark.parametrize(
    ("baseline", "canary"),
    [
        (np.round(BUSY / 10), np.full(N, 10.0)),  # few values: pods, queues
        (np.full(N, 100.3), np.full(N, 100.3)),
        (BUSY, np.full(N, 100.0)),  # a limit
        (BUSY * 600, np.full(N, 60_000.0)),
        (np.rint(BUSY * 2**20), np.full(N, 100.0 * 2**20)),
        (np.abs(BUSY - 100), np.zeros(N)),  # idle
        (BUSY, RNG.normal(100, 3, N)),
    ],
)
def test_values_that_hardly_ever_change_are_none(baseline, canary):
    assert "frozen" not in judged(GAUGE, gauged(baseline, canary))["m"].reason


@pytest.mark.parametrize(("margin", "told"), [("+5", True), ("+2", False), ("500%", False), ("500% or +5", False)])
def test_a_margin_of_another_unit_is_told(margin, told):
    shares = RNG.uniform(0.3, 0.6, N)
    found = judged({**GAUGE, "margin": margin}, gauged(shares, shares[::-1]))
    assert any("more than five times the largest level" in text for text in found["m"].warnings) is told


@pytest.mark.parametrize("intervals", [1, 2, 3])
def test_events_of_one_or_two_intervals_do_not_pass(intervals):
    many = np.full(intervals, 1e5)
    found = judged({**RATIO, "margin": "2x"}, counted(many / 100, many, many / 100, many))
    assert (found["m"].outcome is Outcome.SAFE) is (intervals == 3)
    if intervals < 3:
        assert "cannot be told of fewer than 3" in found["m"].reason


@pytest.mark.parametrize(("share", "told"), [(0.95, True), (0.5, False), (0.05, False)])
def test_a_canary_with_most_of_the_requests_may_be_the_baseline(share, told):
    one = counted(100.0, np.full(N, 1e4 * (1 - share)), 100.0, np.full(N, 1e4 * share), canary_share=share)
    said = f"the canary has {share:.0%} of the requests: are baseline and canary swapped?"
    assert any(said in text for text in judged(RATIO, one).warnings) is told
    assert not any("swapped" in text for text in judged(RATIO, one, traffic={"weight": 100 * share}).warnings)


@pytest.mark.parametrize(
    ("factor", "told"), [(1e-3, True), (1 / 500, True), (1 / 60, True), (0.02, True), (0.2, False), (1.0, False)]
)
def test_a_canary_in_another_unit_is_told(factor, told):
    found = judged(GAUGE, gauged(BUSY, factor * RNG.normal(100, 3, N)))["m"]
    assert ("are they in another unit" in found.reason) is told
    assert found.outcome is (Outcome.INSUFFICIENT if told else Outcome.SAFE)


@pytest.mark.parametrize(("share", "shift", "told"), [(0.3, 100, True), (0.0, 100, False), (0.3, 1, False)])
def test_a_code_for_nothing_is_no_small_value(share, shift, told):
    """Where the baseline has negative values, too, they are values."""
    baseline, canary = (RNG.normal(shift, 3, 400) for _ in range(2))
    canary[: int(share * canary.size)] = -1.0
    found = judged({**SAMPLES, "margin": "+5"}, raw(baseline, canary))["m"]
    assert ("a code for something else?" in found.reason) is told


@pytest.mark.parametrize("kind", ["gauge", "ratio", "samples"])
@pytest.mark.parametrize("same", [False, True])
def test_a_copy_of_the_baseline_is_no_canary(kind, same):
    requests, other = (RNG.poisson(1000, N) for _ in range(2))
    errors, values, more = RNG.binomial(requests, 0.05), RNG.normal(100, 3, N), RNG.normal(100, 3, N)
    metric, one = {
        "gauge": (GAUGE, gauged(values, values if same else more)),
        "ratio": (RATIO, counted(errors, requests, errors, requests if same else other)),
        "samples": (SAMPLES, raw(values, values if same else more)),
    }[kind]
    assert ("is one a copy of the other?" in judged(metric, one)["m"].reason) is same


def test_sides_that_stand_still_alike_are_no_copies():
    assert "copy" not in judged(GAUGE, gauged(np.full(N, 5.0), np.full(N, 5.0)))["m"].reason


@pytest.mark.parametrize(
    ("harm", "margin", "told"),
    [
        ("increase", "+75pp", True),
        ("increase", "+7pp", False),
        ("decrease", "+35pp", True),
        ("decrease", "+3pp", False),
    ],
)
def test_a_margin_that_tolerates_everything_shows_nothing(harm, margin, told):
    found = judged({**RATIO, "harm": harm, "margin": margin}, counted(np.full(N, 300.0), 1e3, 300.0, 1e3))["m"]
    assert ("tolerates everything: the baseline's share is 30.0%" in found.reason) is told
    assert (found.outcome is Outcome.SAFE) is not told


@pytest.mark.parametrize("margin", ["+100pp", "1.5x or +150pp", "1e9x"])
def test_margins_of_everything_are_refused(margin):
    with pytest.raises(ConfigError, match="tolerates everything"):
        config({**RATIO, "margin": margin})


@pytest.mark.parametrize(("weight", "held"), [(5, True), (50, False), (None, False)])
def test_fewer_events_by_time_are_no_better_at_little_traffic(weight, held):
    metric = {"name": "m", "kind": "rate", "events": "errors", "harm": "increase", "margin": "1.5x"}
    one = counted(RNG.poisson(50, N), 15.0, RNG.poisson(50, N), 15.0)
    found = judged(metric, one, **({} if weight is None else {"traffic": {"weight": weight}}))["m"]
    assert ("grow with them, if they come of requests: make it a ratio" in found.reason) is held


@pytest.mark.parametrize(
    ("name", "harm", "told"),
    [
        ("error rate", "decrease", True),
        ("error rate", "increase", False),
        ("success rate", "increase", True),
        ("checkout success", "decrease", False),
        ("errors handled", "decrease", False),
        ("p99 latency", "decrease", True),
        ("cpu", "decrease", False),
    ],
)
def test_a_name_that_says_the_opposite_is_told(name, harm, told):
    found = judge_samples(
        config({**RATIO, "name": name, "harm": harm, "margin": "10%"}), samples({name: counted(5.0, 1e3, 5.0, 1e3)})
    )
    assert any("is it turned round?" in text for text in found.warnings) is told


@pytest.mark.parametrize(("name", "told"), [("errors per minute", True), ("error rate", False), ("heap", False)])
def test_a_gauge_of_counts_is_told(name, told):
    found = judge_samples(config({**GAUGE, "name": name}), samples({name: gauged(BUSY, BUSY[::-1])}))
    assert any("a count grows with the traffic of its side" in text for text in found.warnings) is told


@pytest.mark.parametrize("still", [1_037_959_168, 15838 * 65536, 1025])
def test_pages_of_a_heap_and_a_pool_and_its_one_may_rest(still):
    busy = np.rint(still * RNG.normal(1, 0.02, N))
    assert "frozen" not in judged(GAUGE, gauged(busy, np.full(N, float(still))))["m"].reason


def test_mirrored_requests_without_an_error_are_no_copy():
    requests = RNG.poisson(300, N)
    assert "copy" not in judged(RATIO, counted(0.0, requests, 0.0, requests))["m"].reason


def test_one_value_below_zero_is_no_code():
    baseline, canary = (np.abs(RNG.normal(2.2, 0.5, N)) for _ in range(2))
    canary[7] = -0.1
    assert "code" not in judged({**GAUGE, "margin": "+1"}, gauged(baseline, canary))["m"].reason


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("crash-free sessions", "decrease"),
        ("non-5xx share", "decrease"),
        ("unavailability", "increase"),
        ("cancelled orders share", "increase"),
        ("latency SLO compliance", "decrease"),
    ],
)
def test_names_that_turn_the_word_round_are_let_pass(name, harm):
    metric = {**RATIO, "name": name, "harm": harm, "margin": "10%"}
    found = judge_samples(config(metric), samples({name: counted(5.0, 1e3, 5.0, 1e3)}))
    assert not any("is it turned round?" in text for text in found.warnings)


@pytest.mark.parametrize(
    ("query", "refused"),
    [
        ('sum(rate(requests_total{version="${version}"}[1m]))', True),
        ('sum by (version) (rate(requests_total{version="${version}"}[1m]))', True),
        ('sum(rate(container_cpu_usage_seconds_total{version="${version}"}[1m]))', False),
        ('max(sum by (pod) (rate(polls_total{version="${version}"}[1m])))', False),
        ('sum(rate(e_total{version="${version}"}[1m])) > bool 0', False),
    ],
)
def test_a_sum_over_the_requests_of_a_side_is_no_level(query, refused):
    found = judged(
        {**GAUGE, "query": query},
        gauged(BUSY, RNG.normal(100, 3, N)),
        traffic={"weight": 10},
        baseline={"version": "1"},
        canary={"version": "2"},
    )["m"]
    assert (found.outcome is Outcome.ERROR) is refused


@pytest.mark.parametrize(
    ("name", "limit", "held"), [("err_percent", "5", True), ("cpu_pct", "80", True), ("errors", "5", False)]
)
def test_a_name_that_says_percent_over_shares(name, limit, held):
    metric = {"name": "m", "kind": "gauge", "query": name, "harm": "increase", "limit": limit}
    rng = np.random.default_rng(3)
    found = judged(metric, gauged(0.09 + rng.normal(0, 0.005, N), 0.09 + rng.normal(0, 0.005, N)))["m"]
    assert ("its name says percent, and no value is above" in found.reason) is held
