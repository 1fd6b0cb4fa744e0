"""What hides that nothing was found, or what was lost: `or vector(0)`, and a process that dies again and again."""

import pytest

from canary_judge.judging import judge_samples
from canary_judge.results import Outcome
from tests.builders import RATIO, config, counted, samples


def judged(query, events, **more):
    """Two hours of 1,000 and 200 requests an interval, with these events of both sides."""
    metric = {**RATIO, "events": query, **more.pop("metric", {})}
    found = counted(events[0], 1000, events[1], 200, **{"event_series_baseline": 1, "event_series_canary": 1, **more})
    data = found.data.counts
    wide = counted(*([getattr(data, name)[0]] * 480 for name in COLUMNS), **{**QUALITY, **more})
    return judge_samples(config(metric), samples(wide, 480))["m"]


COLUMNS = ("events_baseline", "exposure_baseline", "events_canary", "exposure_canary")
QUALITY = {"event_series_baseline": 1, "event_series_canary": 1}


@pytest.mark.parametrize("hides", ["or vector(0)", "or on() vector(0)", "or 0 * sum(t)", "or (sum(t) * 0)"])
def test_a_filler_of_zeros_hides_a_selector_that_finds_nothing(hides):
    query = f'sum(increase(e{{status=~"5.."}}[15s])) {hides}'
    none = judged(query, (0, 0))
    assert none.outcome is Outcome.INSUFFICIENT
    assert "no event on either side, and `or" in none.reason
    # the selector is right; or it finds something
    assert judged(query, (0, 0), metric={"absent_is_zero": True}).outcome is Outcome.SAFE
    assert "hides a selector" not in judged(query, (1, 0.2)).reason
    here_only = judged(query, (1, 0))
    assert "the canary has no event where 96 were to be expected" in here_only.reason
    assert "hides a selector" not in judged("sum(increase(e[15s])) or sum(increase(f[15s]))", (0, 0)).reason


@pytest.mark.parametrize(
    ("resets", "of_canary", "held"),
    [
        (40, 40, True),  # ten times each of its four counters
        (80, 40, False),  # a rollout that restarts all
        (8, 8, False),  # twice, as after two changes of the config
        (20, 20, False),  # five times in two hours
        (0, 0, False),
    ],
)
def test_a_canary_that_begins_anew_again_and_again_is_not_safe(resets, of_canary, held):
    found = judged(
        "e", (2, 0.4), resets=resets, resets_canary=of_canary, series_baseline=2, series_canary=2,
        event_series_baseline=2, event_series_canary=2,
    )  # fmt: skip
    assert ("does it crash?" in found.reason) == held
    assert (found.outcome is Outcome.SAFE) == (not held)
