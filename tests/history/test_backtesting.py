"""Backtests: what each judge would have said, on any executor the same bytes, killed and gone on with."""

import json
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from canary_judge import JudgeConfig, Window, judge_samples
from canary_judge.errors import CanaryJudgeError, DataError
from canary_judge.history import (
    Backtest,
    History,
    KayentaJudge,
    Label,
    Limit,
    LimitRule,
    OurJudge,
    backtest,
    calibrate,
    record,
    replay,
)
from canary_judge.history.judges import _kayenta_config
from canary_judge.history.told import compared, is_worse, rate
from canary_judge.results import Harm, Role, Verdict
from canary_judge.sources import FrameSource
from canary_judge.stats.trials import clopper_pearson
from tests.history.canaries import ERRORS, HEAP, NOON, SHOP, labelled, shop

LIMIT = LimitRule(limits=(Limit("errors", most=0.015),), name="limit")


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    found = History(tmp_path_factory.mktemp("archive"))
    for number in range(16):
        bad = number % 4 == 0
        found.append(shop(number, ratio=5.0 if bad else 1.0, n=40, label=labelled("bad" if bad else "healthy")))
    return found


@pytest.fixture(scope="module")
def found(history):
    return backtest([SHOP, KayentaJudge(), LIMIT], history)


def test_ours_decides_at_the_look_at_which_the_replay_first_does(history, found):
    for canary, case in zip(history, found.cases, strict=True):
        decision = case.decisions[0]
        looks = list(replay(SHOP, canary))
        decided = [one for one in looks if one[1].verdict is not Verdict.MARGINAL]
        look, judgement = (decided or looks[-1:])[0]
        assert decision.verdict is judgement.verdict
        if judgement.verdict is not Verdict.MARGINAL:
            assert decision.seconds == (look.moment - canary.start).total_seconds()
        counts = look.state.streams["errors"].data.counts
        assert decision.requests == counts.exposure_canary.sum()
        if judgement.verdict is not Verdict.FAIL:  # who is not failed does harm to its end
            counts = looks[-1][0].state.streams["errors"].data.counts
        expected = (
            counts.events_canary - counts.exposure_canary * counts.events_baseline / counts.exposure_baseline
        ).sum()
        assert decision.excess == pytest.approx(expected)


def test_what_is_bad_is_found_and_a_fixed_limit_cries_wolf(found):
    assert found.judges == ("shop", "Kayenta", "limit")
    assert rate(found, 0, "bad").found == 4
    assert rate(found, 0, "healthy").found == 0
    limit = rate(found, 2, "healthy")
    assert limit.found == limit.total == 12
    pair = compared(found, 0, 2, "healthy")
    assert (pair.only_first, pair.only_second) == (0, 12)
    worth = min(rate(found, judge, "healthy").worth for judge in (0, 2))  # they share a week's luck
    assert 9 < worth < 12
    assert pair.p == pytest.approx(2 * 0.5 ** int(worth))
    text = found.explain()
    assert "16 canaries of 1 service, 01 Mar 2026 to 04 Mar 2026: 12 healthy, 4 bad, 0 unknown" in text
    assert "they differ on 0, and fewer than 6 can show nothing" in text
    assert "shop against limit: it fails fewer of the healthy" in text
    assert "limit failed 12 that are labelled healthy; so many labels are not wrong" in text
    assert "shop against Kayenta: neither is shown to be better" in text
    assert "and 2 more, see --format json" in text
    assert "This cannot show" in text


def test_who_passes_what_is_bad_is_told_and_is_no_faster(history):
    """A judge that lets the bad ones pass early decides soon, and fails none of them."""
    blind = SHOP.model_copy(update={"metrics": (SHOP.metrics[0].model_copy(update={"margin": "60x"}), SHOP.metrics[1])})
    found = backtest([OurJudge(config=SHOP, name="usual"), OurJudge(config=blind, name="blind")], history)
    rows = {line.split()[0]: line for line in found.explain().splitlines() if line.startswith(("usual", "blind"))}
    assert rate(found, 1, "bad").found == 0
    passed = sum(case.decisions[1].verdict is Verdict.PASS for case in found.cases if case.label == "bad")
    assert passed == 4
    assert "0 of 4, worth" in rows["blind"]
    assert rows["blind"].split("  ")[-2:] != rows["usual"].split("  ")[-2:]
    assert "40 minutes" in rows["blind"]  # none of the bad is failed before its end
    assert "minutes sooner on average" in found.explain()


def test_a_limit_counts_the_checks_that_fail(history):
    canary = next(iter(history))
    state = canary.tape.last.streams["errors"].data.counts
    broken = [k for k, value in enumerate(state.events_canary / state.exposure_canary, 1) if value > 0.015]
    for failures in (0, 2):
        decision = LimitRule(limits=LIMIT.limits, failures=failures).decide(canary)
        assert decision.verdict is Verdict.FAIL
        assert decision.seconds == 60 * broken[failures]
    lenient = LimitRule(limits=LIMIT.limits, failures=1000).decide(canary)
    assert lenient.verdict is Verdict.PASS
    assert lenient.seconds == 40 * 60
    slow = LimitRule(limits=LIMIT.limits, every=timedelta(minutes=10)).decide(canary)
    assert slow.seconds % 600 == 0
    silent = shop(1, n=12)
    nothing = LimitRule(limits=(Limit("heap", least=1e9),)).decide(silent)
    assert nothing.verdict is Verdict.FAIL
    with pytest.raises(DataError, match="has no metric 'cpu', which 'limits' limits"):
        LimitRule(limits=(Limit("cpu", most=1.0),)).decide(silent)
    with pytest.raises(DataError, match="give `most`, `least` or both, as finite numbers"):
        Limit("errors", most=float("nan"))


def test_kayenta_judges_the_levels_as_often_as_asked(history):
    bad, healthy = list(history)[:2]
    once, often = KayentaJudge().decide(bad), KayentaJudge(every=timedelta(minutes=10)).decide(bad)
    assert once.verdict is often.verdict is Verdict.FAIL
    assert once.metric == "errors"
    assert often.seconds <= once.seconds == 40 * 60
    assert KayentaJudge().decide(healthy).verdict is Verdict.PASS


EXECUTORS = {
    "threads": lambda: ThreadPoolExecutor(2),
    "processes": lambda: ProcessPoolExecutor(2, mp_context=get_context("spawn")),
}


@pytest.mark.parametrize("name", EXECUTORS)
def test_any_executor_gives_the_same_bytes(history, found, name):
    with EXECUTORS[name]() as executor:
        assert backtest([SHOP, KayentaJudge(), LIMIT], history, executor).to_json() == found.to_json()


def test_dask_gives_the_same_bytes(history, found):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, processes=False) as cluster,
        distributed.Client(cluster) as client,
    ):
        again = backtest([SHOP, KayentaJudge(), LIMIT], history, client.get_executor())
    assert again.to_json() == found.to_json()


def test_a_compacted_history_gives_the_same_bytes(tmp_path):
    history = History(tmp_path)
    for number in range(5):
        history.append(shop(number, n=20, label=labelled("healthy")))
    before = backtest(SHOP, history).to_json()
    assert history.compact("2026-03-01") == 3
    assert backtest(SHOP, history).to_json() == before


def test_a_backtest_that_was_killed_goes_on(history, found, tmp_path, monkeypatch):
    judges, file = [SHOP, KayentaJudge(), LIMIT], tmp_path / "done"
    seen = []

    def progress(done, total):
        seen.append((done, total))
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backtest(judges, history, resume=file, progress=progress)
    assert seen[-1] == (6, 16)
    with file.open("a") as written:
        written.write('{"piece": "ha')  # the line at which it was killed
    judged = []
    monkeypatch.setattr(
        LimitRule,
        "decide",
        lambda self, canary, decide=LimitRule.decide: judged.append(canary.id) or decide(self, canary),
    )
    assert backtest(judges, history, resume=file).to_json() == found.to_json()
    assert len(judged) == 10
    with pytest.raises(DataError, match="is not of this backtest"):
        backtest([SHOP], history, resume=file)


@pytest.mark.parametrize("every", ["60m", timedelta(hours=1)])
def test_a_backtest_is_known_again_however_its_time_is_written(every, tmp_path):
    history, file = History(tmp_path / "a"), tmp_path / "done"
    history.append(shop(0, n=12))
    backtest(SHOP, history, every="1h", resume=file)
    assert backtest(SHOP, history, every=every, resume=file).cases


def test_a_label_that_changes_is_seen_when_it_goes_on(tmp_path):
    history, file = History(tmp_path / "a"), tmp_path / "done"
    name = history.append(shop(0, n=12))
    assert backtest(SHOP, history, resume=file).cases[0].label == "unknown"
    history.label(name, "bad", by="incident")
    assert backtest(SHOP, history, resume=file).cases[0].label == "bad"


def test_what_somebody_ended_is_no_miss_but_a_bound(tmp_path):
    history = History(tmp_path)
    for number in range(10):
        cut = number < 4
        history.append(
            shop(28 * number, ratio=1.6, n=12 if cut else 40, planned=not cut, label=labelled("bad"),
                 ended_by="another judge" if cut else "unknown")
        )  # fmt: skip
    found = backtest(SHOP, history)
    told = rate(found, 0, "bad")
    assert told.cut == 4
    assert told.found + told.unsure <= 6
    assert told.low == pytest.approx(clopper_pearson(told.found, 10)[0])
    assert told.high == pytest.approx(clopper_pearson(told.found + 4, 10)[1])
    assert "4 of 10 bad canaries were ended before the planned end" in found.explain()
    assert "4 cut" in str(told)


def test_what_a_judge_cannot_judge_is_left_out_and_told(tmp_path):
    history = History(tmp_path)
    for number in range(3):
        history.append(shop(number, n=12))
    other = JudgeConfig.from_mapping({"name": "x", "interval": "1m", "metrics": [ERRORS, {**HEAP, "name": "cpu"}]})
    found = backtest(other, history)
    assert not found.cases
    assert len(found.skipped) == 3
    assert "no canary could be judged; 3 were left out" in found.explain()
    assert "has no metric 'cpu'" in found.explain()


def test_it_survives_json_and_is_a_frame(found):
    again = Backtest.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    frame = found.to_frame()
    assert len(frame) == 16 * 3
    assert set(frame["verdict"]) <= {"pass", "fail", "marginal"}
    with pytest.raises(DataError, match="this is no backtest"):
        Backtest.from_json("{}")
    json.loads(found.to_json())


def test_the_worse_of_two_is_named_only_where_they_differ_on_enough(history, found):
    both = backtest([LIMIT, SHOP], history)
    assert is_worse(both)
    assert not is_worse(backtest([SHOP, LIMIT], history))
    few = backtest([LIMIT, SHOP], history, until=list(history)[5].start)
    assert not is_worse(few)
    assert compared(few, 0, 1, "healthy").p is None


def test_names_must_differ_and_there_must_be_something_to_judge(history, tmp_path):
    with pytest.raises(DataError, match="two judges are called 'limit'"):
        backtest([LIMIT, LIMIT], history)
    assert backtest([SHOP, SHOP], history, until=list(history)[1].start).judges == ("shop 1", "shop 2")
    with pytest.raises(DataError, match="has no canary to judge"):
        backtest(SHOP, History(tmp_path))
    assert len(backtest(OurJudge(config=SHOP, looks="one"), history).cases) == 16


def test_a_label_needs_somebody_who_says_so():
    with pytest.raises(DataError, match="label 'bad' has no `by`"):
        Label(kind="bad")
    assert Label().kind == "unknown"


def test_a_limit_is_checked_each_interval_unless_told_otherwise():
    canary = shop(0, ratio=9.0, n=12, rate=0.05)
    assert LimitRule(limits=(Limit("errors", most=0.1),)).decide(canary).seconds == 60
    with pytest.raises(DataError, match="every is 30s; give a multiple of the interval, which is 1m"):
        LimitRule(limits=(Limit("errors", most=0.1),), every=timedelta(seconds=30)).decide(canary)


def test_a_canary_that_breaks_at_its_last_weight_is_not_decided_at_the_one_before(tmp_path):
    """Passed at 5 %, raised to 50 %, and bad from then on."""
    rng = np.random.default_rng(4)
    rows = [
        {
            "timestamp": NOON + timedelta(minutes=m),
            "side": side,
            "t": n,
            "e": rng.binomial(n, p),
            "h": 100 + rng.normal(),
        }
        for m in range(1, 121)
        for side, n, p in (("baseline", 1900, 0.01), ("canary", 100 if m <= 60 else 1000, 0.01 if m <= 60 else 0.06))
    ]
    weights = [(NOON, 5.0), (NOON + timedelta(minutes=60), 50.0)]
    history = History(tmp_path)
    history.add(pd.DataFrame(rows), SHOP, every="10m", weights=weights, label=labelled("bad"))
    (case,) = backtest(SHOP, history).cases
    assert case.decisions[0].verdict is Verdict.FAIL
    assert case.decisions[0].seconds > 60 * 60


def test_nobody_passes_a_canary_that_was_ended_before_its_planned_end():
    cut = shop(0, ratio=1.0, n=12, planned=False, ended_by="a person", label=labelled("bad"))
    limits = (Limit("errors", most=0.9),)
    for judge in (
        KayentaJudge(),
        KayentaJudge(every=timedelta(minutes=4)),
        LimitRule(limits=limits),
        OurJudge(config=SHOP, looks="one"),
    ):
        assert judge.decide(cut).verdict is Verdict.MARGINAL
        assert judge.decide(cut).seconds is None
    whole = shop(0, ratio=1.0, n=12)
    assert LimitRule(limits=limits).decide(whole).verdict is Verdict.PASS


def test_what_was_left_out_as_warm_up_counts_for_the_time_and_only_once():
    config = SHOP.model_copy(update={"warmup": timedelta(minutes=10)})
    rng = np.random.default_rng(5)
    rows = [
        {"timestamp": NOON + timedelta(minutes=m), "side": side, "t": 1000, "e": rng.binomial(1000, p), "h": 100.0}
        for m in range(1, 91)
        for side, p in (("baseline", 0.01), ("canary", 0.05))
    ]
    weights = [(NOON, 5.0), (NOON + timedelta(minutes=30), 25.0), (NOON + timedelta(minutes=60), 50.0)]
    source = FrameSource(pd.DataFrame(rows))
    canary = record(config, source, Window(NOON, NOON + timedelta(minutes=90)), weights=weights)
    rule = LimitRule(limits=(Limit("errors", most=0.02),))
    assert rule.decide(canary).seconds == 11 * 60
    assert LimitRule(limits=rule.limits, failures=20).decide(canary).seconds == (30 + 11) * 60


def test_the_metric_of_requests_is_one_that_is_judged_and_its_harm_has_a_direction():
    canary = shop(0, ratio=5.0, n=20)
    fewer = SHOP.model_copy(
        update={
            "metrics": (SHOP.metrics[0].model_copy(update={"harm": Harm.DECREASE, "margin": "10%"}), SHOP.metrics[1])
        }
    )
    usual, other = (OurJudge(config=config, looks="one").decide(canary) for config in (SHOP, fewer))
    assert usual.excess > 0
    assert other.excess == -usual.excess
    gauges = SHOP.model_copy(update={"metrics": SHOP.metrics[1:]})
    assert OurJudge(config=gauges).decide(canary).requests is None


def test_another_history_is_not_what_was_read():
    with pytest.raises(DataError, match="was read with history none, and cannot be judged with 3h"):
        OurJudge(config=SHOP.model_copy(update={"history": timedelta(hours=3)})).decide(shop(0, n=12))
    elsewhere = SHOP.model_copy(update={"metrics": (SHOP.metrics[0].model_copy(update={"source": "warehouse"}),)})
    with pytest.raises(DataError, match="was read with another source"):
        OurJudge(config=elsewhere).decide(shop(0, n=12))


@pytest.mark.parametrize("content", ["my notes\n", "{}\n", "[]\n5\n", '{"backtest": 1}\n'])
def test_a_file_that_is_no_backtests_is_never_written_over(tmp_path, content):
    history, file = History(tmp_path / "a"), tmp_path / "notes"
    history.append(shop(0, n=12))
    file.write_text(content)
    with pytest.raises(DataError, match="is not of this backtest; name another file"):
        backtest(SHOP, history, resume=file)
    assert file.read_text() == content


def test_it_is_drawn(found):
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(8, 5))
    ax = found.plot(promised=0.01, ax=figure.add_subplot())
    told = " ".join(text.get_text() for one in figure.axes for text in one.texts) + " ".join(
        text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text"))
    )
    assert ax.figure is figure
    assert "shop: 0 of 12 false alarms, 4 of 4 bad found" in told
    assert found.plot(theme="dark").figure.get_facecolor() != found.plot().figure.get_facecolor()
    with pytest.raises(ValueError, match="theme is 'gloomy'"):
        found.plot(theme="gloomy")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda history: backtest("shop.yaml", history), "a judge is str; give JudgeConfig"),
        (lambda history: backtest(SHOP, history.url), r"history is str; give History\(url\)"),
        (lambda history: calibrate(SHOP, history.url, length="30m", weight=5), r"source is str; give History\(url\)"),
        (lambda _: History(None), "url is None; give the archive's folder"),
        (lambda _: FrameSource({"timestamp": []}), "the table is dict; give a DataFrame"),
        (lambda _: judge_samples(SHOP, None), "samples is NoneType; give Samples"),
    ],
)
def test_what_is_passed_in_the_wrong_place_is_named(tmp_path, wrong, told):
    with pytest.raises(CanaryJudgeError, match=told):
        wrong(History(tmp_path))


def test_bad_canaries_that_one_judge_alone_passes_are_compared(tmp_path):
    history = History(tmp_path)
    for number in range(20):
        label = labelled("bad" if number % 2 else "healthy")
        history.append(shop(number, n=30, ratio=1.7 if number % 2 else 1.0, label=label))
    lenient = SHOP.model_copy(update={"metrics": tuple(_with_margin(one, "6x") for one in SHOP.metrics)})
    found = backtest([OurJudge(config=lenient, name="lenient"), OurJudge(config=SHOP, name="strict")], history)
    assert all(rate(found, judge, "bad").found == 0 for judge in (0, 1))
    pair = compared(found, 0, 1, "bad", verdict=Verdict.PASS)
    assert (pair.only_first, pair.only_second) == (10, 0)
    assert is_worse(found)
    told = found.explain()
    assert "lenient against strict: it passes more of the bad" in told
    assert "passed of the bad: only lenient 10, only strict 0, of 10; p = 0.002" in told
    harm = [case.decisions[judge].excess for case in found.cases for judge in (0, 1) if case.label == "bad"]
    assert harm[::2] == harm[1::2]  # counted to the end of each, however soon it was passed


def _with_margin(metric, margin):
    return metric.model_copy(update={"margin": margin}) if metric.name == "errors" else metric


def test_a_failure_is_no_pass_that_came_early(tmp_path):
    history = History(tmp_path)
    for number in range(3):
        history.append(shop(number, n=60, rate=0.2 if number else 0.01, label=labelled("healthy")))
    limit = LimitRule(limits=(Limit("errors", most=0.15),), failures=0)
    found = backtest([limit], history)
    assert [case.decisions[0].verdict for case in found.cases].count(Verdict.PASS) == 1
    assert "a pass takes 60 minutes on average" in found.explain()


def test_kayenta_fails_nobody_for_what_is_only_watched(tmp_path):
    watched = SHOP.model_copy(
        update={
            "metrics": tuple(
                one.model_copy(update={"role": Role.WATCH}) if one.name == "heap" else one for one in SHOP.metrics
            )
        }
    )
    canary = shop(0, n=60)
    config = watched.model_dump(mode="json", by_alias=True, exclude_unset=True)
    canary = replace(canary, config=json.dumps(config))
    (metric,) = [one for one in json.loads(_kayenta_config(canary))["metrics"] if one["name"] == "heap"]
    assert metric["analysisConfigurations"]["canary"]["muted"] is True


def test_a_config_of_another_version_costs_its_own_canary_alone(tmp_path):
    history = History(tmp_path)
    names = [history.append(shop(number, n=12)) for number in range(3)]
    (path,) = tmp_path.glob(f"*/{names[1]}.parquet")
    table = pq.read_table(path)
    config = json.loads(table["config"][0].as_py())
    config["metrics"][0]["new_key"] = 1
    at = table.schema.get_field_index("config")
    table = table.set_column(at, table.schema.field("config"), pa.array([json.dumps(config)]))
    pq.write_table(table, path, write_page_checksum=True)
    found = backtest(SHOP, history)
    assert len(found.cases) == 2
    assert "its config is refused by this version, as it was archived" in found.skipped[0].reason


def test_small_counts_that_are_archived_under_two_configs_are_one_canary(tmp_path):
    history, rng = History(tmp_path), np.random.default_rng(1)
    times = [NOON + (k + 1) * timedelta(minutes=1) for k in range(60)]
    requests = rng.integers(1, 5, (2, 60))
    errors = rng.binomial(requests, 0.2)
    table = pd.concat(
        pd.DataFrame({"timestamp": times, "side": side, "t": requests[row], "e": errors[row]})
        for row, side in enumerate(("baseline", "canary"))
    )
    for margin in ("1.5x", "2x"):
        config = JudgeConfig.from_mapping({"name": "shop", "interval": "1m", "metrics": [{**ERRORS, "margin": margin}]})
        history.add(table, config, horizon="1h")
    assert len(backtest(config, history).cases) == 1


@pytest.mark.parametrize(("before", "after"), [('"seconds": ', '"secs": '), ('"verdict": "', '"verdict": "no ')])
def test_a_damaged_line_of_what_is_done_is_named(before, after, tmp_path):
    history, file = History(tmp_path / "a"), tmp_path / "done"
    history.append(shop(0, n=12))
    backtest(SHOP, history, resume=file)
    lines = file.read_text().replace(before, after)
    file.write_text(lines + lines.splitlines()[0] + "\n")  # the last line may be one at which it was killed
    with pytest.raises(DataError, match="line 2: is damaged"):
        backtest(SHOP, history, resume=file)
