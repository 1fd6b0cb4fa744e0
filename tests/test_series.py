"""Windows are in UTC, on the grid, and never guessed."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from canary_judge.config.metrics import LatencyMetric, RatioMetric
from canary_judge.errors import DataError
from canary_judge.results import Side
from canary_judge.samples.collecting import metric_samples
from canary_judge.series import Form, Result, Series, Window, nanoseconds

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STEP = timedelta(seconds=15)


def test_naive_times_are_refused():
    with pytest.raises(DataError, match="has no time zone"):
        Window(datetime(2026, 1, 1), NOON)


def test_an_end_before_the_start_is_refused():
    with pytest.raises(DataError, match="is not after its start"):
        Window(NOON, NOON - STEP)


def test_a_window_shorter_than_an_interval_is_refused():
    with pytest.raises(DataError, match="holds no whole interval of 15s"):
        Window(NOON + timedelta(seconds=1), NOON + timedelta(seconds=9)).aligned(STEP)


def test_absurd_times_and_windows_are_refused():
    with pytest.raises(DataError, match="between 1970 and 2200"):
        Window(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), NOON)
    with pytest.raises(DataError, match="more than 1,000,000 intervals"):
        Window(NOON, datetime(2199, 1, 1, tzinfo=UTC)).aligned(STEP)


def test_other_zones_are_converted():
    berlin = timezone(timedelta(hours=1))
    assert Window(datetime(2026, 1, 1, 13, tzinfo=berlin), NOON + STEP).start == NOON


def test_windows_are_aligned_to_the_epoch():
    window = Window(NOON + timedelta(seconds=7), NOON + timedelta(minutes=5, seconds=8)).aligned(STEP)
    assert (window.start, window.end) == (NOON, NOON + timedelta(minutes=5))
    edges = window.edges(STEP)
    assert edges.size == 21
    assert edges[0] == nanoseconds(NOON)


def test_fractional_steps_are_exact():
    step = timedelta(milliseconds=250)
    edges = Window(NOON, NOON + timedelta(hours=1)).edges(step)
    assert (np.diff(edges) == 250_000_000).all()


# --- counters on the grid ----------------------------------------------------------------------------------------

METRIC = RatioMetric(name="m", kind="ratio", events="e", total="t", harm="increase", margin="1.5x")
EDGES = Window(NOON, NOON + 4 * STEP).edges(STEP)


def series(points, zero_at=None, **labels):
    times = np.array([nanoseconds(NOON) + int(t * 1e9) for t, _ in points])
    return Series(timestamps=times, values=np.array([float(v) for _, v in points]), labels=labels, zero_at=zero_at)


def counted(*found, form=Form.COUNTER, total=None):
    """Increments of the canary's events; the totals are large and plain."""
    plain = Result(series=(series([(t, 1000 * t) for t in range(0, 61, 15)], instance="x"),), form=Form.COUNTER)
    canary = Result(series=found, form=form)
    parts = {
        ("events", Side.CANARY): canary,
        ("total", Side.CANARY): total or plain,
        ("events", Side.BASELINE): Result(series=(series([(0, 0), (60, 0)], instance="y"),), form=Form.COUNTER),
        ("total", Side.BASELINE): Result(
            series=(series([(t, 1000 * t) for t in range(0, 61, 15)], instance="y"),), form=Form.COUNTER
        ),
    }
    return metric_samples(METRIC, parts, EDGES)


def increments(*found, **more):
    return counted(*found, **more).data.counts.events_canary.tolist()


def test_a_counter_becomes_events_per_interval():
    assert increments(series([(-5, 100), (10, 103), (15, 104), (20, 110), (50, 111), (61, 200)])) == [4, 6, 0, 1]


def test_a_reset_counts_the_new_value():
    found = counted(series([(0, 100), (10, 5), (20, 7)]))
    assert found.data.counts.events_canary.tolist() == [5, 2, 0, 0]
    assert found.quality.resets == 1


def test_a_label_born_later_than_its_target_counts_from_zero():
    found = counted(series([(20, 7), (35, 9)], instance="x"))
    assert found.data.counts.events_canary.tolist() == [0, 7, 2, 0]
    assert found.quality.births == 1


def test_a_first_value_without_proof_of_zero_is_dropped():
    found = counted(series([(20, 7), (35, 9)], instance="stranger"))
    assert found.data.counts.events_canary.tolist() == [0, 0, 2, 0]
    assert found.quality.births_dropped == 1
    assert "proof" in found.warnings[0]


def test_a_source_that_knows_when_it_was_zero_is_believed():
    proof = nanoseconds(NOON) + 18 * 10**9
    assert increments(series([(20, 7), (35, 9)], proof, instance="stranger")) == [0, 7, 2, 0]


def test_instances_are_added_up():
    assert increments(series([(0, 1), (10, 2)], instance="x"), series([(0, 5), (20, 9)], instance="z")) == [1, 4, 0, 0]


def test_nan_points_are_dropped_and_counted():
    found = counted(series([(0, 1), (10, float("nan")), (20, 4)]))
    assert found.data.counts.events_canary.tolist() == [0, 3, 0, 0]
    assert found.quality.non_finite == 1


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([(20, 1), (10, 2)], "out of order"),
        ([(10, 1), (10, 2)], "two points of one series"),
        ([(0, -5), (10, -3)], "is negative"),
    ],
)
def test_malformed_series_are_refused(points, message):
    with pytest.raises(Exception, match=message):
        counted(series(points, instance="x"))


def test_more_events_than_requests_are_refused():
    with pytest.raises(Exception, match="must be a part of `total`"):
        counted(series([(0, 0), (60, 10**9)], instance="x"))


def test_levels_cannot_serve_as_counts():
    with pytest.raises(Exception, match="counts are needed"):
        counted(series([(10, 1)], instance="x"), form=Form.LEVEL)


# --- histograms --------------------------------------------------------------------------------------------------


def test_instances_with_other_buckets_are_refused():
    """Else the instance without the bucket would count all of its requests as slow, or none."""
    metric = LatencyMetric(name="m", kind="latency", histogram="d_seconds_bucket", slower_than="300ms", margin="1.5x")
    buckets = [(instance, le) for instance in "ab" for le in ("0.3", "+Inf") if (instance, le) != ("b", "0.3")]
    found = tuple(series([(0, 0), (60, 600)], instance=instance, le=le) for instance, le in buckets)
    parts = {("histogram", side): Result(series=found, form=Form.COUNTER) for side in Side}
    with pytest.raises(Exception, match=r'instance="b"} has not the bucket 0.3'):
        metric_samples(metric, parts, EDGES)


# --- bursts at birth ---------------------------------------------------------------------------------------------


def test_a_burst_in_the_first_value_counts_where_there_were_so_many_requests():
    """A canary that answers 600 of 1000 requests with errors for one interval, and none after it, has 600 errors."""
    proof = nanoseconds(NOON) + 5 * 10**9
    found = counted(series([(15, 600), (30, 600), (45, 600)], proof, instance="x"))
    # 15000 requests came in that interval
    assert found.data.counts.events_canary.tolist() == [600, 0, 0, 0]


def test_the_past_of_an_old_series_does_not_count_beyond_the_requests_of_its_interval():
    proof = nanoseconds(NOON) + 5 * 10**9
    found = counted(series([(15, 90_000), (30, 90_000), (45, 90_000)], proof, instance="x"))
    assert found.data.counts.events_canary.sum() == 0
    assert found.quality.lost_events_canary == 15_000


def test_a_burst_without_proof_is_lost_and_said_to_be():
    found = counted(series([(20, 600), (35, 600), (50, 600)], instance="stranger"))
    assert found.data.counts.events_canary.sum() == 0
    assert found.quality.lost_events_canary == 600
