"""What callers give: read once, in zones of people, of numpy, or nothing that is known."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from canary_judge import JudgeConfig, Window, judge
from canary_judge.errors import DataError, QueryError
from canary_judge.history import History, KayentaJudge, Label, Limit, LimitRule, Span, backtest, calibrate
from canary_judge.kayenta import Thresholds
from canary_judge.series import moment_from, percent_from
from canary_judge.sources import FrameSource
from tests.history.canaries import ERRORS, SHOP

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


CONFIG = JudgeConfig.from_mapping({"name": "shop", "interval": "1m", "metrics": [ERRORS]})


def table(start=START, minutes=60, seed=1):
    """Requests and errors of both sides, each minute."""
    rng = np.random.default_rng(seed)
    times = pd.date_range(start + timedelta(minutes=1), periods=minutes, freq="1min")
    sides = []
    for side, mean in (("baseline", 950), ("canary", 50)):
        total = rng.poisson(mean, minutes)
        errors = rng.binomial(total, 0.01)
        sides.append(pd.DataFrame({"timestamp": times, "side": side, "t": total, "e": errors}))
    return pd.concat(sides, ignore_index=True)


def deploy(start=START):
    return Span(what="deploy", start=start, end=start + timedelta(minutes=9))


# --- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("day", "hour"), [((2026, 3, 29), 1), ((2026, 10, 25), 1)], ids=["spring", "autumn"])
def test_an_hour_by_the_clock_is_no_hour_where_clocks_are_changed(day, hour):
    late = datetime(*day, hour + 3, tzinfo=BERLIN)
    assert Window.last("4h", now=late).duration == 4 * HOUR
    moment = moment_from(late, "start")
    assert (moment, moment.tzinfo) == (late, UTC)


def test_a_time_that_is_none_in_utc_is_refused():
    with pytest.raises(DataError, match="start is 0001-01-01T00:00:00"):
        moment_from(datetime(1, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo")), "start")


def test_a_span_has_its_times_in_order_and_in_utc():
    assert deploy(START.astimezone(BERLIN)).start.tzinfo is UTC
    with pytest.raises(DataError, match="span 'deploy': ends at .* before it begins at"):
        Span(what="deploy", start=START, end=START - HOUR)
    with pytest.raises(DataError, match="span start is .* has no time zone"):
        Span(what="deploy", start=START.replace(tzinfo=None), end=START)


@pytest.mark.parametrize("number", [np.int64(5), np.float32(5), np.float64(5), 5])
def test_numbers_of_numpy_are_numbers(number):
    assert percent_from(number, "weight") == 5.0
    assert type(percent_from(number, "weight")) is float


@pytest.mark.parametrize("number", [True, np.True_, "5", None, np.float64("nan"), np.int64(101)])
def test_what_is_no_percentage_is_refused(number):
    with pytest.raises(DataError, match="weight is"):
        percent_from(number, "weight")


# --- read once -------------------------------------------------------------------------------------------------------


def test_what_is_read_once_is_kept_for_all_who_read_it(tmp_path):
    history, times = History(tmp_path / "a"), [START + number * timedelta(days=7) for number in range(3)]
    source = FrameSource(pd.concat([table(start=one) for one in times], ignore_index=True))
    history.from_source(CONFIG, source, iter(times), length="1h", weights=iter([(START, np.int64(5))]))
    assert [one.weights[-1][1] for one in history] == [5.0, 5.0, 5.0]
    canary = History(tmp_path / "b").add(table(), CONFIG, spans=iter([deploy()]))
    assert History(tmp_path / "b").read(canary).spans == (deploy(),)
    rule = LimitRule(limits=(one for one in [Limit("errors", most=0.02)]))
    assert rule.limits == (Limit("errors", most=0.02),)


@pytest.mark.parametrize("limits", [5, "errors", [("errors", 0.02)]])
def test_limits_that_are_none_are_refused(limits):
    with pytest.raises(DataError, match="'limits': limits has .*; give a list of Limit"):
        LimitRule(limits=limits)


@pytest.mark.parametrize(("more", "told"), [
    ({"labels": "bad"}, "'labels' is nothing that is known of a canary; did you mean 'label'"),
    ({"spans": deploy()}, r"spans is Span\(.*; give a list of Span"),
    ({"spans": [("deploy", START, START)]}, "spans is .*; give a list of Span"),
    ({"ended_by": "nobody"}, "ended_by is 'nobody'"),
])  # fmt: skip
def test_what_is_known_of_a_canary_is_checked_before_it_is_archived(tmp_path, more, told):
    with pytest.raises(DataError, match=told):
        History(tmp_path).add(table(), CONFIG, **more)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_single_window_and_a_length_beside_windows_are_refused(tmp_path):
    source, window = FrameSource(table()), Window(START, START + HOUR)
    with pytest.raises(DataError, match="give a list of windows"):
        History(tmp_path).from_source(CONFIG, source, window)
    with pytest.raises(DataError, match="length is '30m', and windows has"):
        History(tmp_path).from_source(CONFIG, source, [window], length="30m")


def test_incidents_that_are_read_once_are_left_out(tmp_path):
    source = FrameSource(table(start=START, minutes=240))
    span, incident = Window(START, START + 4 * HOUR), Window(START + HOUR, START + HOUR + timedelta(minutes=20))
    given = [[incident], iter([incident]), incident]
    told = [calibrate(CONFIG, source, span, length="30m", weight=5, draws=1, without=one) for one in given]
    assert len({one.explain() for one in told}) == 1
    with pytest.raises(DataError, match="without has 'noon'; give a list of Window"):
        calibrate(CONFIG, source, span, length="30m", weight=5, without=["noon"])


# --- an archive is asked, and no more ---------------------------------------------------------------------------------


@pytest.fixture
def archived(tmp_path):
    history = History(tmp_path / "past")
    history.add(table(), CONFIG)
    return history


@pytest.mark.parametrize("sql", [
    "copy (select 1 as a) to '{path}' (format parquet, use_tmp_file false)",
    "select 1; copy (select 1 as a) to '{path}' (format csv, use_tmp_file false)",
    "explain analyze copy (select 1 as a) to '{path}' (format csv, use_tmp_file false)",
    "copy (pivot (select 'a' as k, 1 as v) on k using sum(v)) to '{path}' (format parquet, use_tmp_file false)",
    "create table a as select 1",
    "create table a as pivot (select 'a' as k, 1 as v) on k using sum(v)",
])  # fmt: skip
def test_a_query_writes_nothing(archived, tmp_path, sql):
    (path,) = tmp_path.rglob("*.parquet")
    before = path.read_bytes()
    with pytest.raises(DataError, match="cannot be answered: it is .*, and a history is only asked, by SELECT"):
        archived.query(sql.format(path=path))
    assert path.read_bytes() == before


def test_all_that_asks_is_answered(archived):
    for sql in (
        "from canaries",
        "describe canaries",
        "pivot looks on id using count(*)",
        "with a as (from looks) from a",
    ):
        assert len(archived.query(sql)) >= 1, sql


# --- workers ---------------------------------------------------------------------------------------------------------


class Deadly:
    """A judge whose process is killed."""

    name = "deadly"

    def decide(self, canary):
        os.kill(os.getpid(), 9)


def test_a_worker_that_is_killed_is_told(archived):
    told = pytest.raises(DataError, match="a process that worked was killed, as where memory runs out")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool, told:
        backtest(Deadly(), archived, pool)


def test_a_judge_without_a_name_of_its_own_cannot_go_on(archived, tmp_path):
    with pytest.raises(DataError, match="resume: 'deadly' could not be told from another judge of its kind"):
        backtest(Deadly(), archived, resume=tmp_path / "done")
    assert not (tmp_path / "done").exists()


def test_a_full_disk_is_told_with_the_file_that_goes_on(archived, tmp_path, monkeypatch):
    from canary_judge.history.resuming import Kept

    class Full:
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

        close = flush = lambda self: self.write("")

    kept = Kept.keep

    def keep(self, key, rows):
        self._file.close()
        self._file = Full()
        kept(self, key, rows)

    monkeypatch.setattr(Kept, "keep", keep)
    with pytest.raises(DataError, match="done: cannot be written: .*No space left"):
        backtest(SHOP.model_copy(update={"metrics": CONFIG.metrics}), archived, resume=tmp_path / "done")


def test_an_archive_is_read_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    History("past").add(table(), CONFIG)
    history = History("past")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert [one.name for one in history] == ["shop"]
    assert len(backtest(CONFIG, history).cases) == 1
    assert history.url == "past"


def test_what_is_in_memory_is_of_one_process():
    history = History("memory://given")
    history.add(table(), CONFIG)
    with pytest.raises(DataError, match="memory://given: is in the memory of this process, and is lost"):
        History.lasting("memory://given")
    told = pytest.raises(DataError, match="is gone, .*; what is in the memory of one process is not in another")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool, told:
        backtest(CONFIG, history, pool)


def test_a_damaged_object_of_another_day_does_not_stop_an_archive(archived, tmp_path, capsys):
    from canary_judge.__main__ import main

    (path,) = tmp_path.rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    table(start=START + timedelta(days=2)).to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "shop.json").write_text(CONFIG.model_dump_json(exclude={"sources", "router", "rollout"}))
    given = [str(tmp_path / "shop.json"), "--data", str(tmp_path / "t.csv"), "--to", str(tmp_path / "past")]
    assert main(["archive", *given, "--horizon", "1h"]) == 0, capsys.readouterr()
    assert len(list(tmp_path.rglob("*.parquet"))) == 2


@pytest.mark.parametrize("given", [None, 5, "", "  "])
def test_a_question_that_is_none_is_refused(archived, given):
    with pytest.raises(DataError, match=f"the query is {given!r}; ask for something"):
        archived.query(given)


@pytest.mark.parametrize("asked", [
    lambda history: history.read(None),
    lambda history: history.compact(np.datetime64("2026-01-01")),
    lambda history: history.compact(5),
    lambda history: calibrate(CONFIG, history, length="30m", weight="5"),
])  # fmt: skip
def test_what_is_of_another_kind_is_refused_by_name(archived, asked):
    with pytest.raises(DataError, match="(the id|day|weight) is "):
        asked(archived)


def test_a_canary_is_labelled_once(archived):
    (canary,) = archived
    bad, healthy = (Label(kind=kind, by="incident 7") for kind in ("bad", "healthy"))
    with pytest.raises(DataError, match=f"label 2: canary {canary.id!r} is labelled twice, and not alike"):
        archived.label_all([(canary.id, bad), (canary.id, healthy)])
    assert archived.read(canary.id).label.kind == "unknown"
    assert archived.label_all([(canary.id, bad), (canary.id, bad)]) == 2
    assert archived.read(canary.id).label.kind == "bad"


def test_a_date_may_be_written_without_dashes(archived):
    assert archived.drop(before="20260102") == 1


# --- what is plausible, and wrong ------------------------------------------------------------------------------------


def test_windows_that_overlap_are_refused(tmp_path):
    """Each would hold a part of the other's canary: healthy ones failed, and their labels were blamed."""
    source = FrameSource(table(minutes=120))
    starts = [START, START + timedelta(minutes=30)]
    with pytest.raises(DataError, match="a part of the other's canary"):
        History(tmp_path).from_source(CONFIG, source, starts, length="1h")
    assert len(History(tmp_path)) == 0
    assert len(History(tmp_path).from_source(CONFIG, source, starts, length="30m", horizon="30m")) == 2
    assert all(one.ran_out for one in History(tmp_path))


def test_a_cumulative_column_is_refused_as_a_judge_does(tmp_path):
    """Look by look its first values are counts like others."""
    given = table()
    given[["t", "e"]] = given.groupby("side")[["t", "e"]].cumsum() + 10_000
    with pytest.raises(QueryError, match="it is cumulative"):
        History(tmp_path).add(given, CONFIG)
    assert len(History(tmp_path)) == 0


def test_a_judgement_and_weights_may_be_given_as_they_are(tmp_path):
    source = FrameSource(table())
    judgement = judge(CONFIG, source, source.window(CONFIG.interval))
    history = History(tmp_path)
    history.add(table(), CONFIG, judgement=judgement, weights={START: 5.0})
    (found,) = history
    assert found.judgement == judgement.to_json()
    assert found.weights == ((START, 5.0),)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LimitRule(limits=(Limit("errors", most=0.01),), failures="3"),
        lambda: LimitRule(limits=(Limit("errors", most=0.01),), failures=2.5),
        lambda: Limit("errors", most=0.01, least=0.02),
        lambda: KayentaJudge(thresholds=(75,)),
        lambda: KayentaJudge(thresholds=(75, 95)),
        lambda: KayentaJudge(config=5),
    ],
)
def test_a_judge_that_is_none_is_refused_when_it_is_made(make):
    with pytest.raises(DataError):
        make()


def test_kayenta_s_judge_takes_what_json_holds_and_a_pair_of_scores():
    judge = KayentaJudge(config={"metrics": []}, thresholds=(75, 50))
    assert judge.config == '{"metrics": []}'
    assert judge.thresholds == Thresholds(pass_=75, marginal=50)


def test_another_unit_cannot_be_judged_with_this_margin(tmp_path):
    """Canaries in seconds were passed by a margin in milliseconds."""
    gauge = {"name": "t", "kind": "gauge", "query": "t", "harm": "increase", "margin": "+20ms"}
    then, now = (
        JudgeConfig.from_mapping({"name": "shop", "interval": "1m", "metrics": [{**gauge, **more}]})
        for more in ({"unit": "s", "margin": "+0.02s"}, {"unit": "ms"})
    )
    history = History(tmp_path)
    history.add(table(), then)
    assert "another unit" in backtest(now, history).skipped[0].reason
    assert not backtest(then, history).skipped
