"""The policy: every transition, as a table that is also the one in docs/rollout.md (`python -m tests.rollout.test_policy`)."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canary_judge.errors import ConfigError, DataError
from canary_judge.results import Action, Outcome, Quality, Recent, Role, Verdict
from canary_judge.rollout import Order, Phase, RolloutPlan, RolloutState, policy, step
from canary_judge.rollout.policy import read_back
from canary_judge.rollout.state import (
    abort,
    approve,
    begin,
    pause,
    resume,
    rolled_back,
    state_from_json,
    state_to_json,
)
from canary_judge.routing import WeightReading

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PAGE = Path(__file__).parents[2] / "docs" / "rollout.md"
PLAN = RolloutPlan(stages=[5, 25, 100], minimum="2m", maximum="1h", patience="5m")


def minutes(count):
    return timedelta(minutes=count)


class Judged:
    """As much of a judgement as the policy reads."""

    start, interval_seconds = NOON, 15.0

    def __init__(
        self,
        verdict,
        *,
        until=timedelta(minutes=10),
        outcome=Outcome.SAFE,
        finding="",
        reasons=("because",),
        silent=0,
        gone=0,
        recent=None,
    ):
        self.verdict, self.end, self.reasons = verdict, NOON + until, reasons
        self.action = {Verdict.PASS: Action.ADVANCE, Verdict.FAIL: Action.ROLL_BACK}.get(verdict, Action.HOLD)
        quality = Quality(coverage_baseline=1.0, coverage_canary=0.5, silent_canary=silent, silent_baseline=gone)
        gate = {
            "role": Role.GATE,
            "outcome": outcome,
            "quality": quality,
            "kind": "gauge",
            "limit": None,
            "reason": "few",
        }
        gate["comparison"] = SimpleNamespace(n_baseline=9.0, n_canary=9.0)
        self.metrics = (SimpleNamespace(name="errors", recent=recent, margin="2x", warnings=(), **gate),)
        self.traffic = SimpleNamespace(finding=finding)


PASS, FAIL = partial(Judged, Verdict.PASS), partial(Judged, Verdict.FAIL)
MARGINAL = partial(Judged, Verdict.MARGINAL, outcome=Outcome.INSUFFICIENT)
SHOWN = Recent(seconds=60.0, factor=2.0, shown=True, p_within=0.01, have=9.0, required=8.0, worse=1.2)
TOO_FEW = replace(SHOWN, shown=False, p_within=None, have=3.0, text="the last minute holds 3 of 8")
WORSE = replace(TOO_FEW, worse=30.0, worse_seconds=60.0, text="worse in the last minute")


def at(stage=0, **changes):
    """Running at a stage of the plan since noon."""
    weight = (5.0, 25.0, 100.0)[stage]
    state = RolloutState(phase=Phase.RUNNING, stage=stage, weight=weight, since=NOON, heard=NOON)
    return replace(state, **changes)


def reads(percent):
    return WeightReading(percent=percent)


HOLDS, ROLLS_BACK = "hold", "roll back"
AT_ONCE = PLAN.model_copy(update={"at_deadline": "roll_back"})
PATIENT = PLAN.model_copy(update={"when_blind": "hold"})
GATED = RolloutPlan(stages=[{"weight": 5, "approval": True}, 25, 100])
EASY = RolloutPlan(stages=[5, 25, 100], needs="no_harm")
UNTIL_READY = RolloutPlan(stages=[5, 25, 100], ready={"command": ["true"], "within": "10m"})
WATCHED = RolloutPlan(stages=[5, 25, 100], after="30m")
CARELESS = RolloutPlan(stages=[5, 25, 100], recent="off")
# rule, when, plan, state, judgement, minutes after noon, reading, what is done, weight that is set
TABLE = [
    (
        "ended",
        "the rollout has ended",
        PLAN,
        at(phase=Phase.ROLLED_BACK, reason="done"),
        PASS(),
        10,
        reads(5),
        Order.END,
        None,
    ),
    (
        "rolling back",
        "a rollback is under way, whatever is judged",
        PLAN,
        at(phase=Phase.ROLLING_BACK, reason="bad"),
        PASS(),
        10,
        reads(5),
        Order.ROLL_BACK,
        None,
    ),
    (
        "regressed",
        "the verdict is fail; a pause, a drift, a deadline or a router that cannot be read change nothing",
        PLAN,
        at(paused=True, drifted=NOON),
        FAIL(),
        1,
        None,
        Order.ROLL_BACK,
        None,
    ),
    ("promoted", "all of the traffic is read back", PLAN, at(1, intended=100.0), None, 10, reads(100), Order.END, None),
    (
        "blind",
        "no new data for longer than `patience`, `when_blind: roll_back`",
        PLAN,
        at(),
        None,
        6,
        reads(5),
        Order.ROLL_BACK,
        None,
    ),
    ("blind", "the same, `when_blind: hold`", PATIENT, at(), None, 6, reads(5), Order.HOLD, None),
    (
        "blind",
        "the canary alone has said nothing for `patience`: it may have died",
        PLAN,
        at(),
        MARGINAL(silent=20),
        10,
        reads(5),
        Order.ROLL_BACK,
        None,
    ),
    (
        "blind",
        "neither side, and no look has found anything since",
        PLAN,
        at(),
        PASS(silent=20, gone=20),
        10,
        reads(5),
        Order.ROLL_BACK,
        None,
    ),
    (
        "never set",
        "the first weight could not be set for half an hour",
        PLAN,
        at(-1, phase=Phase.STARTING, weight=0.0, trying=NOON),
        None,
        30,
        reads(0),
        Order.END,
        None,
    ),
    (
        "router",
        "the first weight is written, and not in force for `patience`",
        PLAN,
        at(-1, phase=Phase.STARTING, weight=0.0, intended=5.0, trying=NOON),
        None,
        6,
        reads(30),
        Order.ROLL_BACK,
        None,
    ),
    ("router", "the router cannot be read", PLAN, at(), PASS(), 10, None, Order.HOLD, None),
    (
        "raised",
        "more than ours for longer than `patience`, unless `when_raised` says `roll_back` or `stop`",
        PLAN,
        at(drifted=NOON),
        PASS(),
        6,
        reads(30),
        Order.SET_WEIGHT,
        5.0,
    ),
    (
        "raised",
        "the same, `when_raised: roll_back`",
        PLAN.model_copy(update={"when_raised": "roll_back"}),
        at(drifted=NOON),
        PASS(),
        6,
        reads(30),
        Order.ROLL_BACK,
        None,
    ),
    (
        "drift stays",
        "less than ours for longer than `patience`",
        PLAN,
        at(drifted=NOON),
        PASS(),
        6,
        reads(3),
        Order.END,
        None,
    ),
    ("drift", "another weight than ours", PLAN, at(), PASS(), 10, reads(30), Order.HOLD, None),
    (
        "drift",
        "the same, 0, which is why the canary says nothing",
        PLAN,
        at(),
        MARGINAL(silent=20),
        10,
        reads(0),
        Order.HOLD,
        None,
    ),
    (
        "ready",
        "what must hold before the first weight (`ready`, a rival, the revision) does not hold",
        UNTIL_READY,
        begin(NOON),
        None,
        9,
        reads(0),
        Order.HOLD,
        None,
        "exit 1",
    ),
    (
        "never ready",
        "nor does it within `ready.within`",
        UNTIL_READY,
        begin(NOON),
        None,
        10,
        reads(0),
        Order.END,
        None,
        "exit 1",
    ),
    (
        "start",
        "the rollout begins, and the canary has no traffic",
        PLAN,
        begin(NOON),
        None,
        0,
        reads(0),
        Order.SET_WEIGHT,
        5.0,
    ),
    (
        "after",
        "all of the traffic is in force, and `after` is not over",
        WATCHED,
        at(2),
        PASS(until=minutes(20)),
        20,
        reads(100),
        Order.HOLD,
        None,
    ),
    (
        "promoted",
        "`after` is over and judged, and no harm is shown",
        WATCHED,
        at(2),
        PASS(until=minutes(30)),
        30,
        reads(100),
        Order.END,
        None,
    ),
    (
        "blind",
        "`after` is over, and a metric that decides cannot be judged",
        WATCHED,
        at(2),
        MARGINAL(until=minutes(30), outcome=Outcome.ERROR),
        4,
        reads(100),
        Order.HOLD,
        None,
    ),
    ("paused", "a human has paused", PLAN, at(paused=True), PASS(), 10, reads(5), Order.HOLD, None),
    (
        "approval",
        "the verdict is pass, `approval: true`, and nobody has approved",
        GATED,
        at(),
        PASS(),
        10,
        reads(5),
        Order.HOLD,
        None,
    ),
    (
        "advance",
        "the same, and a human has approved",
        GATED,
        at(approved=0),
        PASS(),
        10,
        reads(5),
        Order.SET_WEIGHT,
        25.0,
    ),
    (
        "advance",
        "the verdict is pass, and data of `minimum` length are judged at this weight",
        PLAN,
        at(),
        PASS(recent=SHOWN),
        10,
        reads(5),
        Order.SET_WEIGHT,
        25.0,
    ),
    (
        "advance",
        "no harm is shown, `needs: no_harm`, and the next weight is below 100",
        EASY,
        at(),
        MARGINAL(recent=TOO_FEW),
        10,
        reads(5),
        Order.SET_WEIGHT,
        25.0,
    ),
    (
        "revision",
        "the stage may be left, but `revision` cannot be told",
        PLAN,
        at(),
        PASS(),
        10,
        reads(5),
        Order.HOLD,
        None,
        "the revision cannot be told",
    ),
    (
        "deadline",
        "not decided for `maximum`, `at_deadline: roll_back`",
        AT_ONCE,
        at(),
        MARGINAL(until=minutes(61)),
        61,
        reads(5),
        Order.ROLL_BACK,
        None,
    ),
    (
        "deadline",
        "not decided for `maximum`, `at_deadline: hold`",
        PLAN,
        at(),
        MARGINAL(until=minutes(61)),
        61,
        reads(5),
        Order.HOLD,
        None,
    ),
    (
        "approval",
        "the verdict is pass after that deadline: a human must approve",
        PLAN,
        at(),
        PASS(until=minutes(61)),
        61,
        reads(5),
        Order.HOLD,
        None,
    ),
    (
        "recent",
        "the verdict is pass, but the newest data at this weight do not rule out `recent` times the margin by themselves",
        PLAN,
        at(),
        PASS(recent=TOO_FEW),
        10,
        reads(5),
        Order.HOLD,
        None,
    ),
    (
        "recent",
        "the stage may be left, but the canary has been worse than its margin lately; a human's approval changes nothing",
        GATED,
        at(approved=0),
        PASS(recent=WORSE),
        10,
        reads(5),
        Order.HOLD,
        None,
    ),
    (
        "no new data",
        "no interval is complete, and `patience` is not over",
        PLAN,
        at(),
        None,
        2,
        reads(5),
        Order.HOLD,
        None,
    ),
    (
        "no new data",
        "what is judged ends with a silence of both sides that is longer than `patience`",
        PLAN,
        at(heard=NOON + minutes(8)),
        PASS(silent=20, gone=20),
        10,
        reads(5),
        Order.HOLD,
        None,
    ),
    (
        "minimum",
        "the verdict is pass, but data of `minimum` length are not judged yet",
        PLAN,
        at(),
        PASS(until=minutes(1)),
        10,
        reads(5),
        Order.HOLD,
        None,
    ),
    ("undecided", "the verdict is marginal", PLAN, at(), MARGINAL(), 10, reads(5), Order.HOLD, None),
]


def taken(row):
    _, _, plan, state, judgement, after, reading, _, _, *unready = row
    return step(plan, state, judgement, NOON + minutes(after), reading=reading, unready="".join(unready))


@pytest.mark.parametrize("row", TABLE, ids=[f"{row[0]}: {row[1]}" for row in TABLE])
def test_every_rule(row):
    rule, _, _, before, _, _, _, done, weight, *_ = row
    state, todo = taken(row)
    assert (todo.rule, todo.order, todo.weight) == (rule, done, weight)
    assert todo.reason
    if done is Order.ROLL_BACK:
        assert state.phase is Phase.ROLLING_BACK
    if weight is not None:
        assert state.intended == (None if rule == "raised" else weight)
        assert state.weight == before.weight  # until it is read back


def test_no_rule_is_missing():
    source = Path(policy.__file__).read_text()
    named = r'(?:rule=|_hold\(state, |_set\(state, [\w.]+, |_roll_back\(plan, [^"\n]*?, )"([a-z ]+)"'
    assert set(re.findall(named, source)) == {row[0] for row in TABLE}


def written():
    """The table as it stands in the documentation."""
    does = {Order.SET_WEIGHT: "set {:g} %", Order.HOLD: "hold", Order.ROLL_BACK: "roll back", Order.END: "end"}
    lines = ["| rule | when | does |", "|---|---|---|"]
    for row in TABLE:
        _, todo = taken(row)
        what = "set the next weight" if todo.rule == "advance" else does[todo.order].format(todo.weight or 0)
        if todo.order is Order.SET_WEIGHT:
            what = {"start": "set the first weight", "raised": "set the judged weight again"}.get(todo.rule, what)
        lines.append(f"| {todo.rule} | {row[1]} | {what} |")
    return "\n".join(lines)


def test_the_table_in_the_documentation_is_this_one():
    assert written() in PAGE.read_text(), (
        "write the output of `python -m tests.rollout.test_policy` into docs/rollout.md"
    )


def test_stages_that_ask_for_no_harm_still_ask_whether_it_is_worse_lately():
    _, todo = step(EASY, at(), MARGINAL(recent=WORSE), NOON + minutes(10), reading=reads(5))
    assert (todo.rule, todo.order) == ("recent", Order.HOLD)
    assert todo.reason == "safe over the whole run, but errors: worse in the last minute"


@pytest.mark.parametrize("recent", [TOO_FEW, WORSE])
def test_recent_off_asks_for_the_evidence_of_the_whole_run_only(recent):
    _, todo = step(CARELESS, at(), PASS(recent=recent), NOON + minutes(10), reading=reads(5))
    assert todo.rule == "advance"


def test_a_stage_may_ask_more_or_less_of_the_newest_data_than_the_plan():
    plan = RolloutPlan.from_mapping({"stages": [5, {"weight": 25, "recent": 3}, {"weight": 50, "recent": False}, 100]})
    assert [plan.recent_of(stage) for stage in plan.stages] == [2.0, 3.0, None, 2.0]
    with pytest.raises(ConfigError, match="recent"):
        RolloutPlan.from_mapping({"recent": 1})


def test_all_that_decides_must_be_silent_and_the_shortest_silence_is_told():
    judged = MARGINAL(silent=40)
    other = SimpleNamespace(
        **{**vars(judged.metrics[0]), "quality": replace(judged.metrics[0].quality, silent_canary=24)}
    )
    judged.metrics = (*judged.metrics, other)
    _, todo = step(PLAN, at(), judged, NOON + minutes(10), reading=reads(5))
    assert (todo.rule, todo.order) == ("blind", Order.ROLL_BACK)
    assert "nothing was heard of the canary for 6m" in todo.reason


def test_a_metric_that_can_no_longer_be_read_rolls_back_although_others_can():
    judged = MARGINAL()
    quality = replace(judged.metrics[0].quality, unread=20)
    failing = SimpleNamespace(**{**vars(judged.metrics[0]), "quality": quality, "warnings": (), "reason": "503"})
    judged.metrics = (*judged.metrics, failing)
    state, todo = step(PLAN, at(), judged, NOON + minutes(10), reading=reads(5))
    assert (todo.rule, todo.order, state.source_failed) == ("blind", Order.ROLL_BACK, True)
    assert todo.reason == "errors can no longer be read, patience is 5m: 503"
    failing.quality = replace(quality, unread=19)
    assert step(PLAN, at(), judged, NOON + minutes(10), reading=reads(5))[1].rule == "undecided"


def test_an_intended_weight_counts_when_it_is_read_back():
    state = read_back(PLAN, at(intended=25.0), NOON + minutes(10), reads(25))
    assert (state.stage, state.weight, state.intended, state.since) == (1, 25.0, None, NOON + minutes(10))


def test_an_intended_weight_that_was_not_written_must_be_judged_again():
    state, todo = step(PLAN, at(intended=25.0), None, NOON + minutes(1), reading=reads(5))
    assert (todo.order, state.intended, state.weight) == (Order.HOLD, None, 5.0)


def test_a_drift_that_is_put_back_is_over():
    state, _ = step(PLAN, at(), MARGINAL(), NOON, reading=reads(30))
    state, todo = step(PLAN, state, PASS(), NOON + minutes(4), reading=reads(5))
    assert todo.rule == "advance"
    assert state.drifted is None


def test_routes_that_disagree_are_a_drift():
    disagree = WeightReading(percent=None, per_route={"a": 5.0, "b": 30.0})
    _, todo = step(PLAN, at(), PASS(), NOON + minutes(10), reading=disagree)
    assert todo.rule == "drift"
    assert "a 5 %, b 30 %" in todo.reason


@pytest.mark.parametrize("outcome", [Outcome.DEGRADED, Outcome.NO_DATA, Outcome.ERROR])
def test_no_harm_is_not_the_same_as_no_knowledge(outcome):
    marginal = Judged(Verdict.MARGINAL, outcome=outcome)
    _, todo = step(EASY, at(), marginal, NOON + minutes(10), reading=reads(5))
    assert todo.rule == "undecided"


def test_without_a_baseline_no_harm_can_be_seen():
    for gone, rule in ((2, "advance"), (3, "undecided"), (400, "undecided")):
        assert step(EASY, at(), MARGINAL(gone=gone), NOON + minutes(10), reading=reads(5))[1].rule == rule


def test_a_wrong_split_holds_even_where_no_harm_is_enough():
    marginal = MARGINAL(finding="the canary gets 1 %")
    assert step(EASY, at(), marginal, NOON + minutes(10), reading=reads(5))[1].rule == "undecided"


def test_all_of_the_traffic_needs_proof():
    assert step(EASY, at(1), MARGINAL(), NOON + minutes(10), reading=reads(25))[1].rule == "undecided"
    assert step(EASY, at(1), PASS(), NOON + minutes(10), reading=reads(25))[1].weight == 100


def test_a_clock_that_jumps_ahead_does_not_shorten_a_stage():
    early = PASS(until=timedelta(hours=1))  # by the data's clock
    assert step(PLAN, at(), early, NOON + minutes(1), reading=reads(5))[1].rule == "minimum"


def test_humans():
    state = at()
    assert approve(state).approved == 0
    assert resume(pause(state)).paused is False
    assert abort(state, "no").phase is Phase.ROLLING_BACK
    ended = rolled_back(abort(state, "no"), NOON)
    assert (ended.phase, ended.weight, ended.reason) == (Phase.ROLLED_BACK, 0.0, "no")
    assert abort(ended, "again") is ended


def test_an_approval_holds_for_its_stage_only():
    gated = RolloutPlan(stages=[5, {"weight": 25, "approval": True}, 100])
    assert step(gated, replace(at(1), approved=0), PASS(), NOON + minutes(10), reading=reads(25))[1].rule == "approval"


@settings(max_examples=300, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["pass", "fail", "marginal", "none"]),
            st.sampled_from([None, 0.0, 5.0, 25.0, 30.0, 100.0, "intended"]),
            st.integers(0, 90),
            st.sampled_from(["", "approve", "pause", "resume"]),
        ),
        max_size=30,
    ),
    st.sampled_from([PLAN, AT_ONCE, PATIENT, GATED, EASY]),
)
def test_the_weight_never_rises_without_a_judgement_that_allows_it(looks, plan):
    """Any judgements, readings, times and commands, in any order."""
    state, now = begin(NOON), NOON
    commands = {"approve": approve, "pause": pause, "resume": resume, "": lambda state: state}
    for verdict, percent, wait, command in looks:
        now += minutes(wait)
        judgement = None
        if verdict != "none":
            made = {"pass": PASS, "fail": FAIL, "marginal": MARGINAL}[verdict]
            judgement = made(until=now - NOON)
        state = commands[command](state)
        found = state.intended if percent == "intended" else percent
        reading = None if found is None else reads(found)
        before = state
        state, todo = step(plan, state, judgement, now, reading=reading)
        assert state_from_json(json.loads(json.dumps(state_to_json(state)))) == state
        if verdict == "fail" and not before.phase.ended:
            assert todo.order is Order.ROLL_BACK
        if todo.rule == "raised":
            assert todo.weight == before.weight < reading.percent
        elif todo.order is Order.SET_WEIGHT:
            following = plan.stages[state.stage + 1].weight
            assert todo.weight == following
            assert following == plan.stages[0].weight or verdict == "pass" or (verdict == "marginal" and plan is EASY)
            assert not state.paused or state.phase is Phase.STARTING
        if state.weight > before.weight:  # only what was intended and is read back
            assert reading.percent == before.intended == state.weight


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"stages": [25, 5, 100]}, "5 comes after 25; weights must rise"),
        ({"stages": [5, 50]}, "the last weight is 50; end with 100"),
        ({"stages": [20, 100]}, "the first weight is 20 %, more than 10 %: begin with 1 to 10 %"),
        ({"stages": [100]}, "more than 10 %"),
        ({"stages": []}, "rollout.stages: is []"),
        ({"stages": [0, 100]}, "above 0"),
        ({"stages": ["5", 100]}, "rollout.stages[0]"),
        ({"stages": [5, {"weight": 100, "minimun": "1m"}]}, "unknown key; did you mean 'minimum'?"),
        ({"minimum": "5m", "maximum": "5m"}, "no longer than its minimum"),
        ({"at_deadline": "wait"}, "rollout.at_deadline: is 'wait'"),
        ({"patience": "0s"}, "no positive duration"),
        ([5, 100], "is list; it must be a mapping"),
    ],
)
def test_a_wrong_plan_is_named(data, message):
    with pytest.raises(ConfigError) as caught:
        RolloutPlan.from_mapping(data)
    assert message in str(caught.value)


def test_a_first_stage_may_be_larger_when_asked_for():
    plan = RolloutPlan.from_mapping({"stages": [25, 100], "first_stage_at_most": 25})
    assert plan.stages[0].weight == 25


def test_something_else_is_no_state():
    with pytest.raises(DataError, match="no rollout state"):
        state_from_json({"phase": "running"})


if __name__ == "__main__":
    print(written())


@pytest.mark.parametrize(
    ("when", "percent", "order", "phase"),
    [
        ("bring_back", 30, Order.SET_WEIGHT, Phase.RUNNING),
        ("roll_back", 30, Order.ROLL_BACK, Phase.ROLLING_BACK),
        ("stop", 30, Order.END, Phase.STOPPED),
        ("roll_back", 0, Order.END, Phase.STOPPED),
        ("bring_back", 0, Order.END, Phase.STOPPED),
    ],
)
def test_what_becomes_of_another_weight_than_ours(when, percent, order, phase):
    plan = RolloutPlan(stages=[5, 25, 100], when_raised=when)
    state, todo = step(plan, at(drifted=NOON), PASS(), NOON + minutes(6), reading=reads(percent))
    assert (todo.order, state.phase) == (order, phase)
