"""A backtest in words: what it says of canaries that are alike, archived twice, without a label, or decided late."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from canary_judge import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.history import Backtest, History, Label, OurJudge, backtest, replay, store
from canary_judge.history.backtesting import Case
from canary_judge.history.canary import config_text
from canary_judge.history.judges import Decision, KayentaJudge, Limit, LimitRule
from canary_judge.history.told import explained, is_worse, rate
from canary_judge.results import Verdict
from canary_judge.sources import FrameSource
from tests.history.canaries import HEAP, NOON, SHOP, labelled, shop

WEEK = timedelta(days=7)
MARGIN_AGAIN = SHOP.model_copy(
    update={"metrics": tuple(one.model_copy(update={"margin": "1.6x"}) for one in SHOP.metrics)}
)


def case(number, *decisions, label="healthy", start=None, **more):
    """A canary of an hour; a decision is its verdict and after how many minutes."""
    made = tuple(
        Decision(
            verdict=verdict, seconds=None if minutes is None else 60.0 * minutes, requests=500.0, excess=7.0, **rest
        )
        for verdict, minutes, rest in ((*one, {})[:3] for one in decisions)
    )
    more = {"cut": False, "ended_by": "the planned end", "reconstructed": False, "seconds": 3600.0, **more}
    start = NOON + number * WEEK if start is None else start
    return Case(id=f"c{number}", name="shop", start=start, label=label, decisions=made, **more)


FAIL, PASS, OPEN = (Verdict.FAIL, 10), (Verdict.PASS, 30), (Verdict.MARGINAL, None)


def test_a_judge_is_worse_only_where_the_text_says_so():
    """Six healthy canaries that only the first fails: p = 0.031, and twice that beside a third judge."""
    cases = [
        case(number, FAIL if number < 6 else PASS, PASS, FAIL if number % 9 == 8 else PASS) for number in range(30)
    ]
    alone = Backtest(
        judges=("a", "b"),
        cases=tuple(case(number, FAIL if number < 6 else PASS, PASS) for number in range(30)),
    )
    three = Backtest(judges=("a", "b", "c"), cases=tuple(cases))
    assert is_worse(alone)
    assert "a against b: it fails more of the healthy" in explained(alone)
    assert not is_worse(three)
    assert "a against b: neither is shown to be better" in explained(three)


def test_what_has_no_label_is_counted_and_named():
    text = explained(
        Backtest(judges=("a",), cases=tuple(case(n, one, label="unknown") for n, one in enumerate([FAIL, PASS, OPEN])))
    )
    assert "a: of 3 without a label 1 failed, 1 passed, 1 undecided" in text
    assert "3 canaries have no label, and no part in a rate: `canary-judge history label`: c0, c1, c2" in text


def test_the_undecided_the_wait_of_the_healthy_and_the_harm_are_told():
    cases = [case(0, PASS), case(1, OPEN), case(2, FAIL, label="bad"), case(3, OPEN, label="bad")]
    text = explained(Backtest(judges=("a",), cases=tuple(cases)))
    assert (
        "a: 1 of 2 healthy undecided, a pass takes 45 minutes on average (the others to their end); "
        "1 of 2 bad undecided, 7 bad requests beyond the baseline's share until then"
    ) in text


@pytest.mark.parametrize("shared", ["week", "deployment"])
def test_times_of_canaries_that_share_their_luck_are_worth_fewer(shared):
    """Five groups of twelve with luck of their own: the interval of the mean difference covers what is true, 0."""
    rng, missed = np.random.default_rng(1), 0
    for _ in range(60):
        cases = []
        for group in range(5):
            luck = rng.normal(0, 6)
            for one in range(12):
                minutes = 30 + luck + rng.normal(0, 6), 30 + rng.normal(0, 6)
                number = group * 12 + one
                more = {"start": NOON + group * WEEK + one * timedelta(hours=2)} if shared == "week" else {}
                more |= {"deployment": f"d{group}"} if shared == "deployment" else {}
                cases.append(case(number, *((Verdict.FAIL, max(one, 1.0)) for one in minutes), label="bad", **more))
        text = explained(Backtest(judges=("a", "b"), cases=tuple(cases)))
        line = next(one for one in text.splitlines() if "fails the bad" in one)
        if "(" in line:
            low, high = line.rsplit("(", 1)[1].split(" to ")
            missed += low[0] == high[0]
    assert missed <= 6


def test_times_of_canaries_on_their_own_have_an_interval():
    rng = np.random.default_rng(1)
    cases = [case(n, *((Verdict.FAIL, float(one)) for one in rng.normal((25, 30), 3)), label="bad") for n in range(40)]
    text = explained(Backtest(judges=("a", "b"), cases=tuple(cases)))
    assert "sooner on average, those it does not fail counted to their end (-" in text


def test_canaries_of_one_deployment_are_worth_one():
    cases = tuple(case(number, (Verdict.PASS, 30, {"score": 0.5}), deployment="blue") for number in range(12))
    found = rate(Backtest(judges=("a",), cases=cases), 0, "healthy")
    assert found.worth == 1.0
    assert found.high > 0.9


@pytest.mark.parametrize("first_has_label", [True, False])
def test_a_canary_that_is_archived_twice_counts_once(tmp_path, first_has_label):
    history = History(tmp_path)
    for number in range(6):
        canary = shop(number, n=40, label=labelled("healthy") if first_has_label else Label())
        history.append(canary)
        again = labelled("healthy") if not first_has_label else Label()
        history.append(canary.__class__.of(MARGIN_AGAIN, canary.tape, label=again))
    assert len(history) == 12
    found = backtest(SHOP, history)
    assert len(found.cases) == 6
    assert {one.label for one in found.cases} == {"healthy"}
    assert all("again, with the same numbers" in one.reason for one in found.skipped)


@pytest.mark.parametrize("kinds", [("healthy", "bad"), ("bad", "healthy")])
def test_labels_that_contradict_each_other_are_not_believed(tmp_path, kinds):
    history = History(tmp_path)
    canary = shop(1, n=40, label=labelled(kinds[0]))
    history.append(canary)
    history.append(canary.__class__.of(MARGIN_AGAIN, canary.tape, label=labelled(kinds[1])))
    found = backtest(SHOP, history)
    assert [one.label for one in found.cases] == ["unknown"]
    assert all("Label both alike" in one.reason for one in found.skipped)


def test_other_canaries_of_the_same_time_are_none_again(tmp_path):
    history = History(tmp_path)
    for number in range(4):
        history.append(shop(number, n=40))
    assert len(backtest(SHOP, history).cases) == 4


@pytest.mark.parametrize(("looks", "count"), [("30m", 2), ("recorded", 60), ("one", 1), (timedelta(minutes=20), 3)])
def test_looks_may_be_written(looks, count):
    assert len(list(replay(SHOP, shop(), looks=looks))) == count
    assert OurJudge(config=SHOP, looks=looks).decide(shop()).verdict in Verdict


@pytest.mark.parametrize("looks", ["One", "foo", 30])
def test_looks_that_are_none_are_refused(looks):
    with pytest.raises(DataError, match="give 'recorded', 'one' or a length of time"):
        OurJudge(config=SHOP, looks=looks)


def test_lengths_of_rules_may_be_written():
    rule = LimitRule(limits=Limit("errors", most=0.5), every="5m")
    assert rule.decide(shop()).verdict is Verdict.PASS
    assert KayentaJudge(every="10m").every == timedelta(minutes=10)


def test_a_share_that_must_be_above_all_shares_is_no_limit():
    with pytest.raises(DataError, match=r"to 99, which is never kept; did you mean 99 %, 0\.99\?"):
        LimitRule(limits=(Limit("errors", least=99),)).decide(shop())


def test_a_label_given_now_counts_whatever_the_clock_of_the_archive_said(tmp_path, monkeypatch):
    class Ahead(store.datetime):
        @classmethod
        def now(cls, zone=None):
            return super().now(zone) + timedelta(hours=1)

    history = History(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(store, "datetime", Ahead)
        canary = history.append(shop(label=labelled("healthy")))
    history.label(canary, "bad", by="incident 7")
    assert history.read(canary).label.kind == "bad"


def test_a_disk_that_is_full_is_told(tmp_path, monkeypatch):
    history, kept = History(tmp_path / "a"), tmp_path / "kept"
    history.append(shop(n=40))

    class Full:
        def write(self, _):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: Full() if self == kept else opened(self, *a, **k))
    with pytest.raises(DataError, match="kept: cannot be written"):
        backtest(SHOP, history, resume=kept)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (lambda h: h.add(None, "shop.yaml"), "config is str; give JudgeConfig.load"),
        (lambda h: h.from_source(SHOP, None, [(NOON, NOON)]), "windows: has .* or moments with length='1h'"),
        (lambda h: h.from_source(SHOP, None, [NOON]), "or moments with length='1h'"),
        (lambda h: h.label_all([("a", "bad")]), r"label 1: is .*; give pairs of an id and Label\(kind='bad'"),
        (lambda h: h.label(3, "bad", by="me"), "label 1: is of int; give the id of a canary"),
        (lambda h: replay(SHOP, "a1"), r"canary is str; give one of a History, as history\.read\(id\)"),
        (lambda h: backtest(SHOP, h, 2), r"executor is 2; give one of concurrent\.futures"),
        (lambda h: Limit("errors", most="2%"), "as finite numbers"),
    ],
)
def test_what_a_notebook_passes_in_the_wrong_place_is_named(tmp_path, asked, told):
    with pytest.raises(DataError, match=told):
        list(asked(History(tmp_path)) or ())


def test_deployments_are_enough_with_a_length(tmp_path):
    rng = np.random.default_rng(1)
    times = pd.date_range(NOON, periods=240, freq="1min", inclusive="right")
    table = pd.concat(
        pd.DataFrame({"timestamp": times, "side": side, "h": rng.normal(100, 3, times.size)})
        for side in ("baseline", "canary")
    )
    config = JudgeConfig.from_mapping({"name": "shop", "interval": "1m", "metrics": [HEAP]})
    history = History(tmp_path)
    moments = [NOON, (NOON + timedelta(hours=2)).isoformat()]
    names = history.from_source(config, FrameSource(table), moments, length="1h")
    assert [(one.id, one.end - one.start) for one in history] == [(name, timedelta(hours=1)) for name in names]
    history.label(next(iter(history)), "bad", by="incident 7")
    assert [one.label.kind for one in history] == ["bad", "unknown"]


def test_two_regions_with_one_gauge_in_common_are_two_canaries():
    """Their own requests tell them apart, though a gauge of something that both share is the same."""
    one, other = (case(number, PASS, data=("heap 1", f"errors {number}"), start=NOON) for number in (1, 2))
    rows = [each.to_mapping() for each in (one, other)]
    judges = [OurJudge(config=SHOP)]
    assert len(Backtest.of_rows(judges, rows).cases) == 2
    again = case(3, PASS, data=("heap 1", "errors 1"), start=NOON)
    assert len(Backtest.of_rows(judges, [*rows, again.to_mapping()]).cases) == 2


def test_a_canary_that_is_archived_under_another_name_counts_once(tmp_path):
    history = History(tmp_path)
    history.append(shop(1, label=labelled("healthy")))
    one = shop(1)
    renamed = SHOP.model_copy(update={"name": "shop-prod"})
    history.append(replace(one, id="b" * 20, config=config_text(renamed)))
    found = backtest(SHOP, history)
    assert len(found.cases) == 1
    assert "again, with the same numbers" in found.skipped[0].reason


def test_why_nothing_was_decided_is_told_once_for_all_that_are_alike():
    """Where all are undecided for the data's sake, no alarm says nothing of the judge."""
    reasons = [f"errors: {40 + n},{n}31 events out of a total of {n}00" for n in range(3)]
    cases = [case(n, (Verdict.MARGINAL, None, {"reason": reason})) for n, reason in enumerate(reasons)]
    text = explained(Backtest(judges=("ours",), cases=(*cases, case(3, FAIL)), skipped=()))
    assert "ours did not decide 3 that ran to their end:" in text
    assert f"3 as: {reasons[0]}" in text
