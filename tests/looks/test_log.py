"""The log of looks: what is read back is what was written, and damage is told from a last line that was cut off."""

import fcntl
import json
import os
from datetime import timedelta

import numpy as np
import pytest

from canary_judge import Monitor
from canary_judge.config import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.looks.log import StateLog, _changed, read_log
from canary_judge.looks.observing import observe
from canary_judge.looks.state import MonitorState
from canary_judge.looks.watching import follow, restore
from canary_judge.results import Verdict
from canary_judge.samples import CountData, GaugeData, MetricSamples, Samples
from canary_judge.series import Window
from canary_judge.stats.counts import COLUMNS, Counts
from tests.looks.test_held import START, STEP, config, drawn, run
from tests.looks.test_state import NUMBERS, WRITTEN, going_on

NAMES = ("errors", "heap", "pods", "seconds")
WEIGHTS = [5.0] * 12 + [25.0] * 18


def states(names=NAMES, looks=30, **more):
    return [state for state, _ in run(names, 5, looks, weights=WEIGHTS[:looks], **more)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "state"
    kept = states(("errors",), 7)
    settings = config("errors")
    with StateLog(settings, path) as log:
        for state in kept:
            log.keep(state)
    return settings, path.read_bytes(), [state.to_json(settings) for state in kept]


def test_every_record_gives_the_state_back_to_the_last_bit(tmp_path):
    settings = config(*NAMES)
    with StateLog(settings, tmp_path / "state") as log:
        for state in states():
            log.keep(state)
            copy = tmp_path / "copy"
            copy.write_bytes((tmp_path / "state").read_bytes())
            with StateLog(settings, copy) as again:
                assert again.state.to_json(settings) == state.to_json(settings)
            copy.unlink()


@pytest.mark.parametrize("number", NUMBERS)
def test_drawn_cases_with_all_their_oddities_are_given_back(number, tmp_path):
    """Gaps, births, instances that come and go, silent sides, several intervals a look."""
    for last in (1, 4, 10):
        monitor, _ = going_on(number, last=last)
        with StateLog(monitor.config, tmp_path / "state") as log:
            log.keep(monitor.evidence)
        with StateLog(monitor.config, tmp_path / "state") as log:
            assert log.state.to_json(monitor.config) == monitor.state()
    assert read_log(tmp_path / "state").looks == 3


def test_rows_that_come_and_go_are_given_back(tmp_path):
    """Gauges whose instances are born, kinds of data that change, NaN and values without a short decimal."""
    rng = np.random.default_rng(3)
    settings, state = config("pods", "errors"), MonitorState(start=START, horizon=None)
    pods = [["a"], ["a", "b"], ["b"], ["b", "c", "d"], [], ["e"]]
    with StateLog(settings, tmp_path / "state") as log:
        for at, names in enumerate(pods):
            values = rng.normal(1, 1, (len(names), 2)) / 3
            values[rng.random(values.shape) < 0.3] = np.nan
            gauge = GaugeData(baseline=values, canary=-values, names_baseline=tuple(names), names_canary=tuple(names))
            counts = Counts(**{name: rng.poisson(5, 2) / 3 for name in COLUMNS})
            data = {"pods": gauge if names else None, "errors": CountData(counts=counts, instances={"x": (0.1, 7 / 3)})}
            if at == 1:
                data["errors"] = None
            metrics = {name: MetricSamples(data=one) for name, one in data.items()}
            window = Window(START + 2 * at * STEP, START + 2 * (at + 1) * STEP)
            state, _ = observe(settings, state, Samples(window=window, metrics=metrics))
            log.keep(state)
            (tmp_path / "copy").write_bytes((tmp_path / "state").read_bytes())
            with StateLog(settings, tmp_path / "copy") as again:
                assert again.state.to_json(settings) == state.to_json(settings)


def test_a_log_cut_off_at_any_byte_gives_a_whole_prefix_and_goes_on(written, tmp_path):
    settings, content, kept = written
    path = tmp_path / "state"
    ends = np.cumsum([len(line) for line in content.splitlines(keepends=True)])
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        whole = int((ends <= length).sum())
        with StateLog(settings, path) as log:
            found = None if log.state is None else log.state.to_json(settings)
            assert found == (kept[whole - 2] if whole >= 2 else None)
            if length % 97 == 0:
                log.keep(MonitorState.from_json(settings, kept[-1]))
        if length % 97 == 0:
            with StateLog(settings, path) as log:
                assert log.state.to_json(settings) == kept[-1]


def test_a_tail_of_zeros_is_no_record(written, tmp_path):
    settings, content, kept = written
    (tmp_path / "state").write_bytes(content + b"\0" * 4096)
    with StateLog(settings, tmp_path / "state") as log:
        assert log.state.to_json(settings) == kept[-1]


def test_a_bit_that_flips_at_any_byte_is_found(written, tmp_path):
    settings, content, kept = written
    path = tmp_path / "state"
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << (at % 7)
        path.write_bytes(damaged)
        if at == len(content) - 1:  # without its end the last line is one that was cut off
            with StateLog(settings, path) as log:
                assert log.state.to_json(settings) == kept[-2]
            continue
        begins = content.rfind(b"\n", 0, at) + 1
        told = rf"at byte {begins}; \d+ intervals before it are whole" if begins else "no log of looks"
        with pytest.raises(DataError, match=told):
            StateLog(settings, path)


def test_a_line_of_another_log_is_damage(written, tmp_path):
    """Each with a right check sum of its own, but not after this one."""
    settings, content, _ = written
    path = tmp_path / "other"
    with StateLog(settings, path) as log:
        for state in states(("errors",), 7, fault=2, harm=50.0):
            log.keep(state)
    lines, others = (some.splitlines(keepends=True) for some in (content, path.read_bytes()))
    lines[5] = others[5]
    path.write_bytes(b"".join(lines))
    with pytest.raises(DataError, match="4 intervals before it are whole"):
        StateLog(settings, path)


def test_two_processes_cannot_write_one_log(tmp_path):
    settings = config("errors")
    with StateLog(settings, tmp_path / "s"), pytest.raises(DataError, match="another process keeps its evidence"):
        StateLog(settings, tmp_path / "s")
    assert not (tmp_path / "s").exists()  # nothing was kept


def test_a_log_of_something_else_is_refused(written, tmp_path):
    _, content, _ = written
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(DataError, match="belongs to another config"):
        StateLog(config("heap"), tmp_path / "s")
    today = config("errors").with_sides(baseline={"version": "1"}, canary={"version": "3"})
    with pytest.raises(DataError, match=r"evidence on one version says nothing on another"):
        StateLog(today, tmp_path / "s")
    assert (tmp_path / "s").read_bytes() == content
    for text in (b"rubbish\n", b'{"crc":"00000000","n":1}\n', b"[1]", b"{}", b'{"format":3}', b"null"):
        (tmp_path / "s").write_bytes(text)
        with pytest.raises(DataError):
            StateLog(config("errors"), tmp_path / "s")
        assert (tmp_path / "s").read_bytes() == text


@pytest.mark.parametrize("version", [2, 3])
def test_a_state_of_an_earlier_version_is_converted_once(version, tmp_path):
    plain = next(one for one in WRITTEN if one["case"] == NUMBERS[0])["state"]
    settings = going_on(NUMBERS[0], last=1)[0].config
    if version == 2:
        streams = {name: dict(one) for name, one in plain["streams"].items()}
        for one in streams.values():
            for new in ("failing", "held"):
                one.pop(new, None)
            one["checked"] = one["checked"] and one["checked"][:3]
            one["latched"] = one["latched"] and one["latched"]["reason"]
        plain = {**plain, "format": 2, "streams": streams}
        for new in ("sides", "acts", "passed"):
            plain.pop(new, None)
    path = tmp_path / "state"
    path.write_text(json.dumps(plain))
    with StateLog(settings, path) as log:
        assert log.state.consumed == plain["consumed"]
    assert json.loads((tmp_path / f"state.v{version}").read_text()) == plain
    monitor, log = restore(settings, path, start=None, horizon=None)
    log.close()
    assert monitor.state() == Monitor(settings, state=json.dumps(plain)).state()


def test_what_cannot_be_kept_is_shown_and_does_not_pass(tmp_path, monkeypatch):
    known, passing = next(one for one in run(("errors",), 3, 250) if one[1].verdict is Verdict.PASS)

    class Looking:
        config = config("errors")
        evidence = None
        steps = (MonitorState(start=START, horizon=None, consumed=1, looks=1),)

        def look(self, source, moment, *, weight, fresh):
            asked.append(fresh)
            self.evidence = known
            return passing

    def full(*_):
        raise OSError(28, "No space left on device")

    shown, said, asked = [], [], []
    with StateLog(config("errors"), tmp_path / "s") as log:
        monkeypatch.setattr("canary_judge.checked_lines.os.pwrite", full)
        with pytest.raises(DataError, match=r"No space left.*passes, but its evidence is not kept"):
            follow(Looking(), None, [START, START + STEP], show=shown.append, complain=said.append, log=log)
        assert len(shown) == 2
        assert asked == ["pass", "all"]
        assert "cannot pass while its evidence is not kept" in said[0]
        monkeypatch.undo()
        again = follow(Looking(), None, [START, START + STEP], show=shown.append, complain=said.append, log=log)
        assert again is passing
        assert len(shown) == 3


def test_a_log_stays_small(tmp_path):
    with StateLog(config(*NAMES), tmp_path / "s") as log:
        for state in states(looks=30):
            log.keep(state)
        early = (tmp_path / "s").stat().st_size
        for state in [state for state, _ in run(NAMES, 5, 90, weights=WEIGHTS + [25.0] * 60, fresh="none")][30:]:
            log.keep(state)
    late = (tmp_path / "s").stat().st_size - early
    assert late / 60 < 6000  # four metrics, twelve pods, ten raw values: whatever the length of the run


def test_a_horizon_and_a_warm_up_survive(tmp_path):
    settings = JudgeConfig.from_mapping(
        {
            "name": "shop",
            "interval": "1m",
            "warmup": "3m",
            "metrics": [{"name": "heap", "kind": "gauge", "query": "h", "harm": "increase", "margin": "10%"}],
        }
    )
    rng = np.random.default_rng(1)
    state = MonitorState(start=START, horizon=20, warm_until=3)
    with StateLog(settings, tmp_path / "s") as log:
        for at in range(10):
            samples = {"heap": MetricSamples(data=drawn("heap", rng, 1.0))}
            window = Window(START + at * STEP, START + (at + 1) * STEP)
            state, _ = observe(settings, state, Samples(window=window, metrics=samples), weight=[5.0, 25.0][at // 5])
            log.keep(state)
    with StateLog(settings, tmp_path / "s") as log:
        assert log.state.to_json(settings) == state.to_json(settings)
        assert log.state.left_out == 6
        assert log.state.watermark(timedelta(minutes=1)) == START + 10 * STEP


def old_state(tmp_path):
    plain = next(one for one in WRITTEN if one["case"] == NUMBERS[0])["state"]
    path = tmp_path / "state"
    path.write_text(json.dumps(plain))
    return going_on(NUMBERS[0], last=1)[0].config, path, plain


def test_a_conversion_that_was_killed_is_done_again(tmp_path):
    settings, path, plain = old_state(tmp_path)
    (tmp_path / "state.new").write_text("half of it")
    (tmp_path / "state.v3").hardlink_to(path)
    with StateLog(settings, path) as log:
        assert log.state.consumed == plain["consumed"]
    assert json.loads((tmp_path / "state.v3").read_text()) == plain
    assert not (tmp_path / "state.new").exists()


def test_a_state_that_was_kept_before_is_not_written_over(tmp_path):
    settings, path, plain = old_state(tmp_path)
    (tmp_path / "state.v3").write_text("of another run")
    StateLog(settings, path).close()
    assert (tmp_path / "state.v3").read_text() == "of another run"
    assert json.loads((tmp_path / "state.v3.2").read_text()) == plain


def test_one_process_converts(tmp_path):
    settings, path, _ = old_state(tmp_path)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process keeps its evidence"):
            StateLog(settings, path)
    with pytest.raises(DataError, match="is a state of format 3, which the next watch converts"):
        read_log(path)
    StateLog(settings, path).close()
    assert read_log(path).looks == 1


@pytest.mark.parametrize("what", ["folder", "pipe", "deep"])
def test_what_is_no_log_neither_hangs_nor_crashes(what, tmp_path):
    path = tmp_path / "s"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.write_text("[" * 200_000)
    for opened in (lambda: StateLog(config("errors"), path), lambda: read_log(path)):
        with pytest.raises(DataError):
            opened()


def test_what_stood_there_before_a_rollout_begins_is_kept(tmp_path):
    (tmp_path / "s").write_text("my notes")
    StateLog.begun(config("errors"), tmp_path / "s").close()
    assert (tmp_path / "s.old").read_text() == "my notes"


def test_a_file_of_something_else_is_not_told_to_be_deleted(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"name": "shop", "interval": "1m", "metrics": []}')
    with pytest.raises(DataError, match=r"config\.json: is JSON of something else, and no state of a watch"):
        StateLog(config("errors"), path)
    assert "shop" in path.read_text()


def test_a_zero_below_zero_comes_back_as_it_was():
    before = {"streams": {"m": {"held": {"comparison": {"log_e_harm": 0.0}}, "checked": [0.0, 1.0]}}}
    after = {"streams": {"m": {"held": {"comparison": {"log_e_harm": -0.0}}, "checked": [-0.0, 1.0]}}}
    assert repr(_changed(before, after)) == repr(after)
    assert not _changed(after, after)
