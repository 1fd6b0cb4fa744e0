"""States survive JSON, and those that earlier versions wrote are taken up: they go on as if nothing had happened."""

import json
import lzma
from pathlib import Path

import pytest

from benchmarks.replay import UNSTABLE, differences, recorded, without
from benchmarks.replay_cases import START, STEP, drawn
from canary_judge import JudgeConfig, Monitor, Window

# by 13274e5, with the hand-written codec of that version, after the tenth look
WRITTEN = json.loads(lzma.decompress((Path(__file__).parents[1] / "data" / "states-format-2.json.xz").read_bytes()))
# fields that states have had only since
NEWER = UNSTABLE | {
    *("falls", "event_series_baseline", "event_series_canary", "lost_events_baseline", "lost_events_canary"),
    *("non_finite_canary", "zeros_written"),
    *("absent_events_baseline", "absent_events_canary"),
    *("lost_exposure_baseline", "lost_exposure_canary"),
}
# in their ten looks that version left out intervals that are counted today, or did not read the record before
OTHERWISE = {"drawn-27", "drawn-31", "drawn-47"}
RECORDED = {record["case"]: record for record in recorded()}


@pytest.mark.parametrize("written", WRITTEN, ids=lambda written: written["case"])
def test_a_state_of_format_2_goes_on_to_the_judgement_that_was_recorded(written):
    case = drawn(int(written["case"].removeprefix("drawn-")))
    config, window = JudgeConfig.from_mapping(case.config), Window(START, START + case.intervals * STEP)
    monitor = Monitor(config, state=json.dumps(written["state"]))
    again = json.loads(monitor.state())
    assert without(again, NEWER) == without(written["state"], UNSTABLE)
    weights = dict(case.weights)
    weight = written["state"]["weight"]
    for number in range(written["looks"], case.looks):
        weight = weights.get(number, weight)
        judged = monitor.look(case, window.start + (number + 1) * window.duration / case.looks, weight=weight)
    final = RECORDED[case.name]["looks"][-1]["judgement"]
    found = json.loads(judged.to_json())
    # what was said at looks before is not compared: the reasons of those that stand were worded by that version
    for one in (final, found):
        one["reasons"] = [reason.split(":")[0] for reason in one["reasons"]]
        for metric in one["metrics"]:
            metric["reason"] = ""
    if case.name in OTHERWISE:
        assert found["look"]["intervals"] == final["look"]["intervals"]
        return
    same = differences(without(found, NEWER), without(final, NEWER), relative=1e-9, loose={"required": 1e-6})
    assert not list(same)


def test_every_kind_of_data_is_among_the_written_states():
    streams = [stream for written in WRITTEN for stream in written["state"]["streams"].values()]
    assert {stream["data"]["kind"] for stream in streams if stream["data"]} == {"GaugeData", "CountData", "RawData"}
