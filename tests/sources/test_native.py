"""Native histograms: read as they were scraped from a real Prometheus that was started with the feature."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from canary_judge import JudgeConfig, Monitor, Window, judge
from canary_judge.errors import QueryError
from canary_judge.results import Outcome
from canary_judge.sources import PrometheusSource
from canary_judge.sources.native import Natives, buckets_of, counters_of
from tests.native_histograms import classic, histogram, scraped, write
from tests.real_prometheus import running

STEP, SCRAPES = 15.0, 241
FLAGS = ("--enable-feature=native-histograms", "--web.enable-remote-write-receiver")
FIRST = datetime(2026, 11, 18, tzinfo=UTC).timestamp()
TIMES = [FIRST + STEP * k for k in range(SCRAPES)]
WINDOW = Window(datetime.fromtimestamp(FIRST, UTC), datetime.fromtimestamp(TIMES[-1], UTC))


def observed(seed, per_scrape, slow):
    """What came in before each scrape: latencies of which this share is above 250 ms, some of them exactly there."""
    rng = np.random.default_rng(seed)
    found = [[]]
    for _ in range(SCRAPES - 1):
        number = rng.poisson(per_scrape)
        values = np.where(rng.random(number) < slow, rng.uniform(0.26, 2.0, number), rng.uniform(0.01, 0.25, number))
        values[rng.random(number) < 0.05] = 0.25
        found.append(values.tolist())
    return found


def labels(side, name="rpc_seconds", **more):
    return {"__name__": name, "version": side, "instance": f"{side}:80", "job": "shop", **more}


def buckets(seen, side, name):
    """The same as a classic histogram."""
    made = []
    for le, bound in (("0.1", 0.1), ("0.25", 0.25), ("1", 1.0), ("+Inf", np.inf)):
        total, points = 0, []
        for when, values in zip(TIMES, seen, strict=True):
            total += sum(value <= bound for value in values)
            points.append((when, classic(when, total)))
        made.append((labels(side, f"{name}_bucket", le=le), points))
    return made


def slower(seen, bound=0.25):
    values = [value for part in seen for value in part]
    return sum(value > bound for value in values), len(values)


def by_status(side, seen):
    """What OpenTelemetry writes, where every slow request failed."""
    name = "http_server_request_duration_seconds"
    for status, slow in (("200", False), ("500", True)):
        own = [[value for value in part if (value > 0.25) is slow] for part in seen]
        yield labels(side, name, http_response_status_code=status, service_version=side), scraped(TIMES, own)


BASELINE, CANARY, WORSE = observed(1, 40, 0.05), observed(2, 10, 0.05), observed(3, 10, 0.3)
BORN = [[] if k < 100 else part for k, part in enumerate(CANARY)]


@pytest.fixture(scope="module")
def url(prometheus_binaries):
    with running(prometheus_binaries, (), flags=FLAGS) as address:
        up = [(when, classic(when, 1.0)) for when in TIMES]
        restarted = scraped(TIMES, CANARY, schema=3, resets={TIMES[120]})
        series = [
            (labels("old"), scraped(TIMES, BASELINE, schema=5)),
            (labels("new"), scraped(TIMES, CANARY, schema=0)),
            (labels("bad"), scraped(TIMES, WORSE)),
            (labels("restarted"), restarted),
            (labels("born"), scraped(TIMES, BORN)[100:]),
            (labels("coarse"), scraped(TIMES, CANARY, schema=-2)),
            (labels("mixed"), [*((when, classic(when, 5.0)) for when in TIMES[:50]), *scraped(TIMES, CANARY)[50:]]),
            (labels("odd"), [(when, histogram(when, {}, 0.0)) for when in TIMES]),
            *buckets(BASELINE, "old", "both_seconds"),
            *buckets(CANARY, "new", "both_seconds"),
            (labels("old", "both_seconds"), scraped(TIMES, BASELINE)),
            (labels("new", "both_seconds"), scraped(TIMES, CANARY)),
            *buckets(BASELINE, "old", "half_seconds"),
            *buckets(CANARY, "new", "half_seconds"),
            ({**labels("new", "half_seconds"), "instance": "new:81"}, scraped(TIMES, WORSE)),
            *buckets(BASELINE, "old", "moving_seconds"),
            (labels("new", "moving_seconds"), scraped(TIMES, CANARY)),
            *(made for side, seen in (("old", BASELINE), ("new", CANARY)) for made in by_status(side, seen)),
            *((labels(side, "up"), up) for side in ("old", "new", "bad", "restarted", "born")),
        ]
        write(address, series)
        yield address


def config(canary="new", histogram="rpc_seconds", bound="250ms"):
    text = histogram if isinstance(histogram, dict) else f'{histogram}{{version="${{version}}"}}'
    metric = {"name": "slow", "kind": "latency", "histogram": text, "slower_than": bound, "margin": "1.5x or +2pp"}
    sides = {"baseline": {"version": "old"}, "canary": {"version": canary}}
    return JudgeConfig.from_mapping({"name": "rpc", "interval": "1m", **sides, "metrics": [metric]})


def looked(url, **given):
    return judge(config(**given), PrometheusSource(url), WINDOW)["slow"]


def counted(result):
    found = result.comparison
    return (found.events_baseline, found.n_baseline), (found.events_canary, found.n_canary)


@pytest.mark.parametrize(
    ("canary", "seen", "outcome"), [("new", CANARY, Outcome.SAFE), ("bad", WORSE, Outcome.REGRESSED)]
)
def test_slow_requests_are_counted_exactly(url, canary, seen, outcome):
    found = looked(url, canary=canary)
    assert found.outcome is outcome
    assert counted(found) == (slower(BASELINE), slower(seen))


def test_a_restart_loses_nothing_that_was_scraped(url):
    found = looked(url, canary="restarted")
    assert counted(found)[1] == slower(CANARY)
    assert found.quality.resets > 0


def test_a_canary_that_was_born_in_the_window_is_counted_from_its_first_request(url):
    assert counted(looked(url, canary="born"))[1] == slower(BORN)


def test_looks_come_to_the_same(url):
    monitor = Monitor(config(), start=WINDOW.start)
    source = PrometheusSource(url)
    for minute in range(5, 61, 5):
        found = monitor.look(source, WINDOW.start + timedelta(minutes=minute))["slow"]
    assert counted(found) == (slower(BASELINE), slower(CANARY))


def test_a_service_with_both_is_read_either_way(url):
    classical, native = (looked(url, histogram=name) for name in ("both_seconds_bucket", "both_seconds"))
    assert counted(classical) == counted(native) == (slower(BASELINE), slower(CANARY))


def test_a_canary_that_has_moved_on_is_no_canary_without_traffic(url):
    found = looked(url, histogram="moving_seconds_bucket")
    assert found.outcome is Outcome.ERROR
    assert "without `_bucket` it is a native histogram: write `histogram: moving_seconds{" in found.reason
    mixed = {
        "baseline": 'moving_seconds_bucket{version="${version}"}',
        "canary": 'moving_seconds{version="${version}"}',
    }
    assert counted(looked(url, histogram=mixed)) == (slower(BASELINE), slower(CANARY))


def test_a_side_of_which_half_has_moved_on_is_not_half_judged(url):
    found = looked(url, histogram="half_seconds_bucket")
    assert found.outcome is Outcome.ERROR
    assert "new:81 has native histograms only" in found.reason


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"bound": "300ms"},
            "0.3 is no bucket bound of the native histogram rpc_seconds (schema 5); the nearest are 0.297302 and 0.303812",
        ),
        ({"canary": "coarse"}, "0.25 lies inside of the bucket 0.0625 to 1 of the native histogram"),
        ({"canary": "mixed"}, "holds floats and native histograms"),
    ],
)
def test_what_cannot_be_told_exactly_is_refused(url, given, told):
    found = looked(url, **given)
    assert found.outcome is Outcome.ERROR
    assert told in found.reason


def test_a_bound_that_is_written_to_the_microsecond_fits(url):
    slow = sum(value > 2 ** (-56 / 32) for part in BASELINE for value in part)
    (found,) = PrometheusSource(url)._instant('rpc_seconds{version="old"}[2h]', WINDOW.end)
    below, everything = counters_of(found, 0.297302)
    assert everything.values[-1] - below.values[-1] == slow
    with pytest.raises(QueryError, match="schema 5"):
        counters_of(found, 0.298)


def test_an_empty_histogram_counts_nothing(url):
    found = looked(url, canary="odd")
    assert found.outcome is not Outcome.SAFE
    assert counted(found)[1] == (0, 0) if found.comparison else found.outcome is Outcome.NO_DATA


def test_a_ratio_counts_their_observations(url):
    sides = {"baseline": {"version": "old", "job": "shop"}, "canary": {"version": "new", "job": "shop"}}
    whole = JudgeConfig.from_mapping({"name": "rpc", "interval": "1m", **sides, "preset": "otel-native"})
    found = judge(whole, PrometheusSource(url), WINDOW)
    errors, slow = found["errors"], found["slow requests"]
    assert counted(errors) == ((slower(BASELINE)[0], slower(BASELINE)[1]), (slower(CANARY)[0], slower(CANARY)[1]))
    assert counted(slow)[0] == (slower(BASELINE, 0.5)[0], slower(BASELINE)[1])


def test_a_gauge_refuses_them(url):
    gauge = {
        "name": "g",
        "kind": "gauge",
        "query": 'rpc_seconds{version="${version}"}',
        "harm": "increase",
        "margin": "10%",
    }
    sides = {"baseline": {"version": "old"}, "canary": {"version": "new"}}
    whole = JudgeConfig.from_mapping({"name": "rpc", "interval": "1m", **sides, "metrics": [gauge]})
    found = judge(whole, PrometheusSource(url), WINDOW)["g"]
    assert found.outcome is Outcome.ERROR
    assert "native histogram" in found.reason


def test_more_than_may_be_read_is_refused_before_it_is(url):
    small = config().model_copy(update={"max_samples": 5000})
    found = judge(small, PrometheusSource(url), WINDOW)["slow"]
    assert found.outcome is Outcome.ERROR
    assert "more than max_samples" in found.reason


# --- what a server of ours cannot hold -----------------------------------------------------------------------------------


def item(*buckets, count=10, name="h_seconds"):
    sample = {"count": str(count), "sum": "1"}
    if buckets:
        sample["buckets"] = [[0, str(left), str(right), str(number)] for left, right, number in buckets]
    return {"metric": {"__name__": name}, "histograms": [[FIRST, sample]]}


def test_what_is_no_number_and_what_never_ended_was_not_fast():
    below, everything = counters_of(item((0.2, 0.25, 4), (0.5, 1.0, 1), ("+Inf", "+Inf", 2), count=10), 0.25)
    assert (below.values.tolist(), everything.values.tolist()) == ([4.0], [10.0])


def test_custom_buckets_are_exact_at_their_bounds():
    custom = item(("-Inf", 0.1, 3), (0.1, 0.3, 2), (0.3, 1.0, 1), count=6)
    below, _ = counters_of(custom, 0.3)
    assert below.values.tolist() == [5.0]
    with pytest.raises(QueryError, match="inside of the bucket 0.3 to 1"):
        counters_of(custom, 0.5)


def test_the_resolution_is_known_though_nothing_fell_near_the_bound():
    with pytest.raises(QueryError, match=r"no bucket bound .* \(schema 3\)"):
        counters_of(item((1.0, 2 ** (1 / 8), 4)), 0.3)
    assert counters_of(item((1.0, 2 ** (1 / 8), 4)), 0.25)[0].values.tolist() == [0.0]


def test_an_answer_without_histograms_has_no_buckets():
    assert buckets_of([{"value": [0, "1"]}]) == 0
    assert buckets_of([{"histogram": [0, {"count": "0"}]}]) == 0


@pytest.mark.parametrize("there", [True, False])
def test_a_classic_histogram_that_is_named_without_its_buckets(there):
    def instant(text, _):
        assert text == 'count(rpc_seconds_bucket{version="v1"})'
        return [{"metric": {}, "value": [0, "4"]}] if there else []

    natives = Natives(instant)
    if not there:
        natives.refuse_classic('rpc_seconds{version="v1"}', WINDOW.end)
        return
    with pytest.raises(QueryError, match=r"its buckets are there: write `histogram: rpc_seconds_bucket\{version="):
        natives.refuse_classic('rpc_seconds{version="v1"}', WINDOW.end)


def test_what_has_buckets_in_its_labels_is_no_native_histogram():
    def instant(text, _):  # a proxy that answers any question of a selector with its series
        return [{"metric": {"instance": "a:80", "le": "0.25"}, "values": [[0, "1"]]}]

    natives = Natives(instant)
    natives.refuse_half("rpc_seconds_bucket{}", "1m", WINDOW.end)
    natives.refuse_classic("rpc_seconds_bucket{}", WINDOW.end)


@pytest.mark.parametrize(("refusal", "asked"), [('unknown function with name "histogram_count"', 1), ("too busy", 2)])
def test_what_a_server_refuses_for_once_is_asked_again(refusal, asked):
    counted = []

    def instant(text, _):
        if not text.startswith("histogram_count"):
            return []
        counted.append(text)
        if len(counted) == 1:
            raise QueryError(refusal)
        return [{"metric": {"instance": "a:80"}, "value": [0, "1"]}]

    natives = Natives(instant)
    natives.refuse_half("rpc_seconds_bucket{}", "1m", WINDOW.end)
    if asked == 2:
        with pytest.raises(QueryError, match="a:80 has native histograms only"):
            natives.refuse_half("rpc_seconds_bucket{}", "1m", WINDOW.end)
    else:
        natives.refuse_half("rpc_seconds_bucket{}", "1m", WINDOW.end)
    assert len(counted) == asked
