"""States survive JSON, and those that earlier versions wrote are taken up: they go on as if nothing had happened.

`python -m tests.looks.test_state` writes the states anew, on purpose: once for each format.
"""

import json
import lzma
import re
from pathlib import Path

import pytest

from benchmarks.replay import UNSTABLE, differences, recorded, without
from benchmarks.replay_cases import START, STEP, drawn
from canary_judge import JudgeConfig, Monitor, Window
from canary_judge.errors import DataError

FILE = Path(__file__).parents[1] / "data" / "states-format-3.json.xz"
NUMBERS = (7, 11, 19, 23, 27, 31, 39, 43, 47, 55, 59, 67)
LOOKS = 10
WRITTEN = json.loads(lzma.decompress(FILE.read_bytes())) if FILE.exists() else []


def going_on(number, state=None, *, first=0, last=None):
    """A monitor of a drawn case after some looks, and its last judgement."""
    case = drawn(number)
    config, window = JudgeConfig.from_mapping(case.config), Window(START, START + case.intervals * STEP)
    begun = {"start": window.start, "horizon": window.duration if case.planned else None}
    monitor = Monitor(config, **begun) if state is None else Monitor(config, state=json.dumps(state))
    weights, weight, judged = dict(case.weights), None, None
    for look in range(case.looks if last is None else last):
        weight = weights.get(look, weight)
        if look >= first:
            judged = monitor.look(case, window.start + (look + 1) * window.duration / case.looks, weight=weight)
    return monitor, judged


# What states of before do not say: when the first value came, and of which side the resets were.
NEWER = {"late_baseline", "late_canary", "resets_canary"}
# Nor that a look had no row of events at all; in this one there are such.
ABSENT, WITHOUT_ROWS = {"absent_events_baseline", "absent_events_canary"}, {27}


# They planned frequent events as if they were rare; this one's mixture of a limit is most sensitive where that was.
PLANNED_AS_RARE = {43}
# States of before kept nothing of an interval in which one side was silent; in these there is one.
WITHOUT_SINGLE_SIDES = {7, 31, 39, 43, 47, 67}


def unchanged(written):
    """Metrics of which a state of before has all that is kept now."""
    monitor, _ = going_on(written["case"], last=LOOKS)
    now, then = json.loads(monitor.state())["streams"], written["state"]["streams"]
    return {name for name in then if now[name]["data"] == then[name]["data"]}


@pytest.mark.parametrize("written", WRITTEN, ids=lambda written: f"drawn-{written['case']}")
def test_a_state_goes_on_to_the_judgement_that_was_recorded(written):
    case = drawn(written["case"])
    again = json.loads(Monitor(JudgeConfig.from_mapping(case.config), state=json.dumps(written["state"])).state())
    assert again.pop("how") == {"recent": 2.0, "fresh": "pass", "odd": []}  # states of before do not say
    for stream in again["streams"].values():
        assert stream.pop("doubt") is None
        if stream["quality"] is not None:
            assert {stream["quality"].pop(name) for name in NEWER} == {0}
        if stream["held"] is not None:
            assert stream["held"].pop("doubt") is None
    assert without(again, UNSTABLE) == without(written["state"], UNSTABLE)
    _, judged = going_on(written["case"], written["state"], first=LOOKS)
    record = next(record for record in recorded() if record["case"] == case.name)
    final, found = record["looks"][-1]["judgement"], json.loads(judged.to_json())
    # states of before took the holes between looks for covered
    unknown = UNSTABLE | NEWER | {"coverage_baseline", "coverage_canary"}
    unknown |= ABSENT if written["case"] in WITHOUT_ROWS else set()
    unknown |= {"p_beyond_limit"} if written["case"] in PLANNED_AS_RARE else set()
    found, final = (
        json.loads(re.sub(r"[;:] data are missing: [^;\"]*", "", json.dumps(one))) for one in (found, final)
    )
    if written["case"] in WITHOUT_SINGLE_SIDES:
        whole = unchanged(written)
        final, found = (
            {"verdict": one["verdict"], "metrics": [m for m in one["metrics"] if m["name"] in whole]}
            for one in (final, found)
        )
    same = differences(without(found, unknown), without(final, unknown), relative=1e-9, loose={"required": 1e-6})
    assert not list(same)


def test_every_kind_of_data_is_among_the_written_states():
    streams = [stream for written in WRITTEN for stream in written["state"]["streams"].values()]
    assert {stream["data"]["kind"] for stream in streams if stream["data"]} == {"GaugeData", "CountData", "RawData"}


def state():
    monitor, _ = going_on(NUMBERS[0], last=2)
    return monitor.config, json.loads(monitor.state())


def test_a_state_of_another_version_is_refused_with_the_remedy():
    config, plain = state()
    with pytest.raises(DataError, match=r"has format 1, this version reads 2 and 3: delete it to start again"):
        Monitor(config, state=json.dumps({**plain, "format": 1}))


def test_yesterdays_state_says_nothing_of_todays_version():
    config, plain = state()
    today = config.with_sides(baseline={"version": "1"}, canary={"version": "3"})
    yesterday = json.dumps({**plain, "sides": {"baseline": {"version": "1"}, "canary": {"version": "2"}}})
    told = r"of canary \(version=2\) .* this run compares canary \(version=3\) .* Delete it to start again"
    with pytest.raises(DataError, match=told):
        Monitor(today, state=yesterday)


if __name__ == "__main__":
    made = [{"case": n, "state": json.loads(going_on(n, last=LOOKS)[0].state())} for n in NUMBERS]
    FILE.write_bytes(lzma.compress(json.dumps(made).encode(), preset=9))
