"""When a side that reports nothing counts as silent."""

import numpy as np
import pytest

from canary_judge.judging.silence import both_heard, fell_silent, improbable_run, runs
from canary_judge.results import Side
from canary_judge.samples import RawData
from canary_judge.samples.levels import levels
from tests.builders import counted, gauged, quality

N = 60


def traffic(dead=slice(0, 0), mute=slice(0, 0), requests=50.0):
    """A canary that is dead for a while, and a baseline that is mute for a while."""
    canary, baseline = np.full(N, requests), np.full(N, 900.0)
    canary[dead], baseline[mute] = 0.0, 0.0
    return counted(np.zeros(N), baseline, np.zeros(N), canary)


def told(one, **more):
    return fell_silent(one, quality(**more), N)


def test_a_hole_in_the_middle_is_told_with_its_length():
    assert told(traffic(slice(20, 30)), coverage_canary=50 / N) == (
        "the canary has no traffic to compare in 10 intervals in a row"
    )
    assert told(traffic(slice(20, 26)), coverage_canary=54 / N) is None  # a tenth of the window


def test_where_the_baseline_is_mute_too_there_was_nothing_to_hear():
    hole = slice(20, 30)
    # what the source left out of the coverage is none of the canary's
    assert told(traffic(hole, hole), coverage_canary=1.0) is None
    assert told(traffic(hole, slice(20, 22)), coverage_canary=52 / N) is not None


def test_only_the_part_of_a_hole_that_the_baseline_served_counts():
    one = traffic(slice(20, 36), slice(20, 26))
    assert told(one, coverage_canary=50 / N).endswith("in 10 intervals in a row")
    assert told(traffic(slice(20, 32), slice(20, 26)), coverage_canary=54 / N) is None


def test_a_canary_that_is_silent_at_the_end_is_told_with_what_the_baseline_does():
    assert told(traffic(slice(50, None)), silent_canary=10, coverage_canary=50 / N) == (
        "the canary has no traffic in the last 10 intervals, the baseline has"
    )
    assert told(traffic(slice(50, None)), silent_canary=10, silent_baseline=10).endswith("nor has the baseline")
    assert told(traffic(slice(57, None)), silent_canary=3, coverage_canary=57 / N) is None  # a twentieth


@pytest.mark.parametrize(("requests", "silent"), [(0.5, False), (5.0, True)])
def test_a_thin_stream_has_pauses(requests, silent):
    one = traffic(slice(30, 40), requests=requests)
    assert (told(one, coverage_canary=50 / N) is not None) is silent


def test_what_was_not_there_yet_is_no_hole():
    assert told(traffic(slice(0, 20)), coverage_canary=1.0) is None
    assert both_heard(traffic(slice(0, 20)).data, N) == 40
    assert both_heard(traffic(slice(0, None)).data, N) is None


def test_raw_values_that_pause_at_the_end_were_there_for_the_whole_window():
    at = np.arange(30)
    raw = RawData(baseline=np.ones(30), canary=np.ones(30), interval_baseline=at, interval_canary=at)
    assert both_heard(raw, N) == N
    late = RawData(baseline=np.ones(30), canary=np.ones(20), interval_baseline=at, interval_canary=at[10:])
    assert both_heard(late, N) == N - 10
    assert [levels(late, side).size for side in Side] == [30, 30]


def test_a_gauge_is_silent_where_none_of_its_instances_has_a_value():
    canary = np.ones((2, N))
    canary[0, 20:] = np.nan
    baseline = np.ones((1, N))
    assert told(gauged(baseline, canary)) is None
    canary[1, 30:40] = np.nan
    assert told(gauged(baseline, canary), coverage_canary=50 / N) == (
        "the canary has no value to compare in 10 intervals in a row"
    )


def test_of_equally_long_runs_each_is_improbable():
    of = np.array([True, False] * 40 + [True] * 30 + [False] + [True] * 30)
    assert improbable_run(of).sum() == 60
    assert runs(np.zeros(3, dtype=bool)).shape == (0, 2)
    assert not improbable_run(np.ones(5, dtype=bool)).any()
