"""A replay says what the run said, to the last bit; and with another config what that would have said."""

import json
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from canary_judge import JudgeConfig, Monitor
from canary_judge.checked_lines import read_lines
from canary_judge.errors import DataError, SourceUnavailable
from canary_judge.history import History, PastCanary, of_log, replay
from canary_judge.history.tape import Tape
from canary_judge.looks.log import Increments, StateLog
from canary_judge.results import Verdict
from canary_judge.sources import FrameSource
from canary_judge.testing import People
from tests.history.canaries import ERRORS, FOLLOWED, HEAP, MINUTE, NOON, SHOP, followed, shop


def texts(found):
    return [judgement.to_json() for _, judgement in found]


@pytest.mark.parametrize("number", FOLLOWED)
def test_what_was_said_live_is_said_again_to_the_last_bit(number, tmp_path):
    config, states, judged = followed(number)
    history = History(tmp_path / "archive")
    name = history.append(PastCanary.of(config, Tape.of_states(config, states)))
    again = texts(replay(config, history.read(name)))
    live = [judgement.to_json() for judgement in judged]
    # a look in which the weight changed has two parts, and says what it says after the second one
    assert len(again) == len(states)
    assert [text for text in again if text in live] == [text for text in live if text in again]
    assert set(live) <= set(again)


@pytest.mark.parametrize("number", FOLLOWED)
def test_lines_that_were_packed_into_columns_are_the_same_lines_again(number):
    config, states, _ = followed(number)
    lines = json.loads(json.dumps(Increments(config).records(*states)))
    tape = Tape.of_lines(json.loads(json.dumps(lines)))
    for line, again in zip(lines, tape.unpacked(), strict=True):
        assert again.get("data") == line.get("data")
        assert again.get("split") == line.get("split")


def test_users_are_replayed_weight_by_weight(tmp_path):
    people = People(users=20_000, hours=24, weights=((0, 5.0), (13.5, 25.0)), lift=-0.3)
    source, clicks = FrameSource(people.draw(1).frame(NOON)), {**ERRORS, "harm": "decrease", "margin": "10%"}
    clicks |= {"events": "clicks", "total": "impressions", "unit_of_replication": "user"}
    config = JudgeConfig.from_mapping({"name": "feed", "interval": "1h", "history": "7d", "metrics": [clicks]})
    monitor, judged, states = Monitor(config, start=NOON, stages=2), [], []
    for hour in range(2, 25, 2):
        start, weight = [one for one in people.weights if one[0] < hour][-1]
        since = NOON + timedelta(hours=start)
        judged.append(monitor.look(source, NOON + timedelta(hours=hour), weight=weight, weight_since=since))
        states += monitor.steps
    history = History(tmp_path)
    canary = history.read(history.append(PastCanary.of(config, Tape.of_states(config, states))))
    again = texts(replay(config, canary))
    assert len(states) > len(judged)  # the weight changed within an interval
    assert {one.to_json() for one in judged} <= set(again)
    assert again[-1] == judged[-1].to_json()


def test_no_evidence_is_archived_and_most_of_the_numbers_stand_in_columns_once(tmp_path):
    config, states, _ = followed(FOLLOWED[0])
    with StateLog(config, tmp_path / "log") as log:
        for state in states:
            log.keep(state)
    lines = []
    read_lines(tmp_path / "log", lines.append, chained=True)
    canary = of_log(config, tmp_path / "log")
    assert len(canary.tape.lines) == len(lines) == len(states) + 1
    assert not any(word in text for text in canary.tape.lines for word in ('"held"', "log_e", '"latched"', '"passed"'))
    assert sum(map(len, canary.tape.lines)) < (tmp_path / "log").stat().st_size / 2


def test_another_margin_is_judged_on_the_same_data():
    canary = shop(1, ratio=2.0)
    strict = [judgement.verdict for _, judgement in replay(SHOP, canary)]
    lax = SHOP.model_copy(
        update={
            "metrics": JudgeConfig.from_mapping(
                {"name": "shop", "interval": "1m", "metrics": [{**ERRORS, "margin": "4x"}, HEAP]}
            ).metrics
        }
    )
    assert Verdict.FAIL in strict
    assert Verdict.FAIL not in [judgement.verdict for _, judgement in replay(lax, canary)]


def test_looks_may_be_fewer_than_the_runs_and_the_last_one_is_always_taken():
    canary = shop(2, n=50)
    moments = [(look.moment - canary.start) / MINUTE for look, _ in replay(SHOP, canary, looks=timedelta(minutes=15))]
    assert moments == [15, 30, 45, 50]
    ((look, judgement),) = replay(SHOP, canary, looks="one")
    assert (look.moment - canary.start) / MINUTE == 50
    assert judgement.look is None


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"interval": "2m"}, "read with interval 1m, and cannot be judged with 2m"),
        ({"warmup": "3m"}, "read with warmup none, and cannot be judged with 3m"),
        ({"metrics": [ERRORS, {**HEAP, "name": "cpu"}]}, "has no metric 'cpu'; it has 'errors', 'heap'"),
        ({"metrics": [{**ERRORS, "events": "other"}]}, "metric 'errors' .* was read with another events"),
        ({"metrics": [{**HEAP, "by": "pod"}]}, "metric 'heap' .* was read with another by"),
        ({"metrics": [{**HEAP, "name": "errors"}]}, "metric 'errors' .* was read with another kind"),
    ],
)
def test_what_was_not_read_cannot_be_judged(changed, told):
    config = JudgeConfig.from_mapping({"name": "shop", "interval": "1m", "metrics": [ERRORS, HEAP], **changed})
    with pytest.raises(DataError, match=told):
        next(replay(config, shop(3, n=12)))


class FailingOnce:
    """A source that gives no answer to one of its questions."""

    def __init__(self, source, number):
        self.source, self.left = source, number

    def fetch(self, queries, window):
        self.left -= 1
        if self.left == 0:
            raise SourceUnavailable("connection refused")
        return self.source.fetch(queries, window)


@pytest.mark.parametrize("failing", range(1, 8))
def test_a_source_that_fails_between_the_parts_of_a_look_leaves_nothing_out(failing, tmp_path):
    rng = np.random.default_rng(6)
    rows = [
        {"timestamp": NOON + m * MINUTE, "side": side, "t": n, "e": rng.binomial(n, 0.02), "h": 100 + rng.normal()}
        for m in range(1, 41)
        for side, n in (("baseline", 900), ("canary", 100))
    ]
    source = FailingOnce(FrameSource(pd.DataFrame(rows)), failing)
    monitor, said, kept = Monitor(SHOP, start=NOON), [], tmp_path / "log"
    with StateLog(SHOP, kept) as log:
        for minute in range(5, 41, 5):
            weight, since = (5.0, NOON) if minute < 15 else (25.0, NOON + 12 * MINUTE)
            try:
                said.append(monitor.look(source, NOON + minute * MINUTE, weight=weight, weight_since=since).to_json())
            except SourceUnavailable:
                continue
            log.keep(*monitor.steps)
    found = list(replay(SHOP, of_log(SHOP, kept)))
    again = iter(texts(found))
    assert all(one in again for one in said)  # in this order
    assert len(said) == 7
    assert NOON + 12 * MINUTE in [look.moment for look, _ in found]  # where the weight changed
