"""/v1: a run is found or begun, looked at, and told; what is wrong is told in one line."""

import contextlib
import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from canary_judge.service import Runs
from canary_judge.service.problems import StoreDown
from tests.service.house import SIDES, Faulty, house


@pytest.fixture
def shop(tmp_path):
    with house(tmp_path) as found:
        yield found


def ask(shop, path, body, status):
    answer = shop.api("POST", path, json=body)
    assert answer.status == status, answer
    return answer.json


def test_a_healthy_canary_passes_and_a_broken_one_fails(shop):
    shop.add("broken", canary_error_rate=0.05)
    first = shop.look(horizon="30m")
    assert (first["verdict"], first["state"], first["sufficient"]) == ("marginal", "running", False)
    for _ in range(30):
        shop.pass_time()
        good, bad = shop.look(horizon="30m"), shop.look("broken")
    assert (good["verdict"], good["action"], good["state"]) == ("pass", "advance", "passed")
    assert (bad["verdict"], bad["action"], bad["state"]) == ("fail", "roll_back", "failed")
    assert set(good) == {"verdict", "action", "score", "sufficient", "reason", "state", "stale", "url"}


def test_asking_again_at_once_gives_the_same_bytes_and_asks_no_source(shop):
    shop.look()
    shop.pass_time(300)
    body = {"config": "shop", **SIDES}
    first = shop.api("POST", "/v1/looks", json=body)
    asked = shop.sources["shop"].asked
    for _ in range(5):
        assert shop.api("POST", "/v1/looks", json=body) == first
    assert shop.sources["shop"].asked == asked


def test_numbers_durations_and_truth_values_may_be_texts_and_empty_ones_are_not_given(shop):
    ask(shop, "/v1/looks", {"config": "shop", **SIDES, "weight": "", "key": "other"}, 200)
    body = {"config": "shop", **SIDES, "weight": "10", "horizon": "45m", "restart": "false", "start": "", "key": ""}
    first = ask(shop, "/v1/looks", body, 200)
    shop.pass_time()
    again = ask(shop, "/v1/looks", {**body, "restart": "true"}, 200)
    assert again["summary"]["url"] != first["summary"]["url"]
    assert ask(shop, "/v1/looks", {**body, "weight": "much"}, 400)["message"].startswith("weight is 'much'")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"config": "other"}, "is of config 'shop' as it was then"),
        ({"canary": {"version": "3"}}, "is of canary (version=2) against baseline (version=1), not of"),
        ({"start": "2026-01-01T11:00:00Z"}, "began at"),
        ({"horizon": "45m"}, "was begun without a planned end, not for 45m"),
    ],
)
def test_the_key_of_another_run_is_a_409_that_names_both_unless_it_begins_anew(shop, change, says):
    shop.add("other", change={"false_alarm_rate": 0.02})
    body = {"config": "shop", **SIDES, "key": "mine"}
    ask(shop, "/v1/looks", body, 200)
    message = ask(shop, "/v1/looks", {**body, **change}, 409)["message"]
    assert says in message
    assert "restart: true" in message
    ask(shop, "/v1/looks", {**body, **change, "restart": True}, 200)


def test_a_config_that_was_changed_is_another_one_for_who_looks_and_not_for_a_run_under_way(shop):
    run = ask(shop, "/v1/runs", {"config": "shop", **SIDES}, 201)
    plain = json.loads((shop.configs / "shop.json").read_text())
    shop.write("shop", {**plain, "false_alarm_rate": 0.001})
    assert "as it was then" in ask(shop, "/v1/looks", {"config": "shop", **SIDES}, 409)["message"]
    shop.pass_time(120)
    shop.runs.tick()
    shop.runs.look_at(shop.runs.get(run["id"]).run)
    assert shop.runs.get(run["id"]).run.config_hash == run["config_hash"]
    assert shop.runs.get(run["id"]).judgement.config_hash == run["config_hash"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"config": "shpo", **SIDES}, 404, "did you mean 'shop'?"),
        ({"config": "broken", **SIDES}, 400, "broken.yaml: metrics"),
        ({"config": "shop", **SIDES, "horizn": "1h"}, 400, "horizn: unknown key; did you mean 'horizon'?"),
        ({"config": "shop", **SIDES, "horizon": "10s"}, 400, "is shorter than one interval"),
        ({"config": "shop", **SIDES, "horizon": 3}, 400, "horizon: is 3"),
        ({"config": "shop", **SIDES, "weight": 101}, 400, "weight is 101"),
        ({"config": "shop", **SIDES, "start": "yesterday"}, 400, "start is 'yesterday', which is no time"),
        ({"config": "shop", **SIDES, "start": "2026-01-01T11:00:00"}, 400, "has no time zone"),
        ({"config": "shop", "canary": {"v": "1"}, "baseline": {"v": "1"}}, 400, "a version compared with itself"),
        ({"config": "shop", "canary": {"v": 2}}, 400, "canary.v"),
        ({"config": "shop", "canary": {"v": "2\n3"}}, 400, "in one line"),
        ({"config": "labels", "canary": {"v": "2"}}, 400, "`${version}` is not defined"),
        ({"config": ["shop"]}, 400, "config: is ['shop']"),
        ({**SIDES}, 400, "config: is missing"),
        ([], 400, "the body must be an object with config"),
        ({"config": "shop", **SIDES, "key": "x" * 500}, 400, "1 to 300 characters"),
        ({"config": "../shop", **SIDES}, 404, "there is no config"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_and_nothing_is_begun(shop, body, status, says):
    (shop.configs / "broken.yaml").write_text("name: broken\ninterval: 1m\nmetrics: 5\n")
    plain = json.loads((shop.configs / "shop.json").read_text())
    plain["metrics"][0]["events"] = 'errors{version="${version}"}'
    shop.write("labels", plain)
    answer = ask(shop, "/v1/looks", body, status)
    assert says in answer["message"]
    assert "\n" not in answer["message"]
    assert shop.api("GET", "/v1/runs").json == []


@pytest.mark.parametrize("text", ["", "{", "nonsense", '{"config": NaN}', "[" * 100_000, '{"config": "\\ud800"}'])
def test_a_body_that_is_none_is_a_400(shop, text):
    answer = shop.api("POST", "/v1/looks", data=text)
    assert answer.status == 400, answer
    assert "the body" in answer.json["message"]


def test_a_body_of_more_than_a_mebibyte_is_refused(shop):
    answer = shop.api("POST", "/v1/looks", data=b"x" * (1024 * 1024 + 1))
    assert answer.status == 413


def test_a_finished_window_is_judged_without_state_and_one_in_the_future_is_refused(shop):
    shop.pass_time(3600)
    body = {"config": "shop", **SIDES, "start": "2026-01-01T12:00:00Z", "end": "2026-01-01T12:50:00Z"}
    judgement = ask(shop, "/v1/judge", body, 200)
    assert (judgement["verdict"], judgement["look"]) == ("pass", None)
    assert "in the future" in ask(shop, "/v1/judge", {**body, "end": "2026-01-01T13:10:00Z"}, 400)["message"]
    assert "not after" in ask(shop, "/v1/judge", {**body, "end": body["start"]}, 400)["message"]
    assert shop.api("GET", "/v1/runs").json == []


def test_the_preflight_is_that_of_the_library(shop):
    shop.pass_time(3600)
    found = ask(shop, "/v1/preflight", {"config": "shop", **SIDES, "weight": "10"}, 200)
    assert found["ok"], found
    assert {one["side"] for one in found["seen"]} == {"baseline", "canary"}


def test_a_run_that_is_watched_leaves_running_once_and_its_verdict_is_the_present_one(shop):
    run = ask(shop, "/v1/runs", {"config": "shop", **SIDES, "horizon": "30m", "weight": 10}, 201)
    assert (run["state"], run["verdict"]) == ("running", "marginal")
    assert run["statusUrl"].endswith(f"/v1/runs/{run['id']}")
    states = []
    for _ in range(40):
        shop.pass_time()
        shop.runs.tick()
        shop.runs.look_at(shop.runs.get(run["id"]).run)
        states.append(shop.api("GET", f"/v1/runs/{run['id']}").json["state"])
    assert states[-1] == "passed"
    assert [state for state, before in zip(states, ["running", *states], strict=False) if state != before] == ["passed"]
    assert shop.api("GET", "/v1/runs", params={"state": "passed"}).json[0]["id"] == run["id"]


def test_a_planned_end_without_a_verdict_is_undecided(shop):
    shop.add("thin", rate=0.2)
    for _ in range(12):
        shop.pass_time()
        summary = shop.look("thin", horizon="10m", start="2026-01-01T12:00:00Z")
    assert (summary["state"], summary["verdict"], summary["sufficient"]) == ("undecided", "marginal", False)
    asked = shop.sources["thin"].asked
    shop.pass_time(3000)
    assert shop.look("thin", horizon="10m") == summary  # it stands, and no source is asked
    assert shop.sources["thin"].asked == asked
    shop.pass_time(3700)  # nobody asked for an hour: it is another canary
    assert shop.look("thin", horizon="10m")["state"] == "running"


def test_a_cancelled_run_stays_so_and_is_blind(shop):
    run = ask(shop, "/v1/runs", {"config": "shop", **SIDES}, 201)
    answer = shop.api("DELETE", f"/v1/runs/{run['id']}")
    assert (answer.json["state"], answer.json["verdict"]) == ("cancelled", "marginal")
    shop.pass_time(600)
    assert shop.look()["state"] == "cancelled"
    assert shop.api("DELETE", "/v1/runs/none").status == 404


def test_a_source_that_is_down_is_stale_then_blind_and_never_a_pass(shop):
    for _ in range(30):
        summary = shop.look()
        shop.pass_time()
    assert summary["verdict"] == "pass"
    shop.sources["shop"].down = True
    seen = []
    for _ in range(5):
        seen.append(shop.look())
        shop.pass_time()
    assert all(one["stale"] for one in seen)
    assert [one["verdict"] for one in seen] == ["pass", "pass", "pass", "marginal", "marginal"]
    assert "the source is down" in seen[-1]["reason"]
    assert seen[-1]["action"] == "hold"
    shop.sources["shop"].down = False
    passed(shop)


def test_a_source_that_is_down_from_the_start_is_no_evidence(shop):
    shop.sources["shop"].down = True
    summary = shop.look(start="2026-01-01T11:00:00Z")
    assert (summary["verdict"], summary["stale"], summary["sufficient"], summary["state"]) == (
        "marginal",
        True,
        False,
        "running",
    )
    assert "no look has ended well yet: the source is down" in summary["reason"]


def test_a_look_that_takes_too_long_goes_on_and_the_answer_is_the_last_one(shop):
    for _ in range(30):
        shop.look()
        shop.pass_time()
    release = shop.sources["shop"].wait = threading.Event()
    found = shop.runs.look("shop", **SIDES, budget=0.05)
    assert (found.stale, found.blind, found.verdict) == (True, False, "pass")
    assert "goes on" in found.summary()["reason"]
    before = found.run.sequence
    release.set()
    shop.sources["shop"].wait = None
    while shop.runs.going:
        threading.Event().wait(0.01)
    assert shop.runs.get(found.run.id).run.sequence > before


def test_a_query_that_can_never_work_is_errored_with_the_reason_and_tried_anew_later(shop):
    from canary_judge.series import Form, Result

    class Refuses:
        def fetch(self, queries, window):
            return [Result(series=(), form=Form.COUNTS, error="bad syntax", temporary=False) for _ in queries]

    good, shop.sources["shop"] = shop.sources["shop"], Faulty(Refuses())
    summary = shop.look(start="2026-01-01T11:00:00Z")
    assert (summary["state"], summary["verdict"], summary["stale"]) == ("errored", "marginal", False)
    assert "bad syntax" in summary["reason"]
    shop.sources["shop"] = good
    shop.pass_time(120)
    assert shop.look(start="2026-01-01T11:00:00Z")["state"] == "running"


def test_a_weight_is_an_act_of_the_run(shop):
    shop.look(weight=5)
    shop.pass_time(300)
    shop.look(weight=5)
    shop.look(weight="25")
    run = shop.api("GET", "/v1/runs").json[0]
    assert run["weight"] == 25.0


def test_configs_are_listed_with_what_is_wrong_with_them(shop):
    (shop.configs / "broken.yaml").write_text("name: broken\n")
    listed = {one["name"]: one for one in shop.api("GET", "/v1/configs").json}
    assert listed["shop"]["metrics"] == ["errors"]
    assert "interval is missing" in listed["broken"]["error"].replace(":", "")


def test_what_is_not_there_is_a_404_and_a_wrong_method_a_405(shop):
    assert shop.api("GET", "/v1/runs/nothing").status == 404
    assert shop.api("GET", "/nowhere").status == 404
    assert shop.api("PUT", "/v1/looks").status == 405


def test_too_many_questions_at_once_are_a_503_that_says_when_to_ask_again(tmp_path):
    with house(tmp_path) as shop:
        shop.look()
        shop.pass_time(300)
        release = shop.sources["shop"].wait = threading.Event()
        shop.runs._questions._most = 1
        waiting = threading.Thread(target=lambda: shop.runs.look("shop", **SIDES, budget=5))
        waiting.start()
        while not shop.runs.going:
            threading.Event().wait(0.01)
        answer = shop.api("POST", "/v1/looks", json={"config": "shop", **SIDES, "key": "another"})
        assert answer.status == 503, answer
        release.set()
        waiting.join()


def passed(shop, name="shop", **more):
    for _ in range(40):
        shop.pass_time()
        if (summary := shop.look(name, **more))["verdict"] == "pass":
            return summary
    raise AssertionError(summary)


def test_a_pass_of_another_weight_is_no_pass_while_nothing_can_be_judged(shop):
    passed(shop, weight=10)
    shop.pass_time()
    shop.sources["shop"].down = True
    for weight in (25, 50):  # as the steps of a rollout
        held = shop.look(weight=weight)
        assert (held["verdict"], held["action"], held["stale"]) == ("marginal", "hold", True)
        assert f"nothing is judged yet at a weight of {weight} %: at the last look it was 10 %" in held["reason"]
    assert shop.look(weight=10)["verdict"] == "pass"


def test_a_pass_of_another_weight_is_no_pass_until_this_one_is_judged(shop):
    passed(shop, weight=10)
    held = shop.look(weight=25)  # at once: not one interval at 25 %
    assert (held["verdict"], held["action"]) == ("marginal", "hold")
    assert "nothing has been judged at this weight yet" in held["reason"]
    shop.worlds["shop"].router.set_weight(25)
    passed(shop, weight=25)


def test_a_pass_needs_the_newest_data_by_themselves(shop):
    """Worse for the last minutes of a long healthy run: the whole run is still within its margin, the end is not."""
    begun = shop.clock.seconds
    shop.add("late", canary_error_rate=lambda at: 0.005 if at - begun < 7200 else 0.0115, rate=400.0)
    verdicts = []
    for _ in range(135):
        shop.pass_time()
        answer = shop.api("POST", "/v1/looks", json={"config": "late", **SIDES}).json
        verdicts.append((answer["summary"]["verdict"], answer["judgement"]["verdict"]))
    assert ("pass", "pass") in verdicts[:110]
    assert ("marginal", "pass") in verdicts[120:], verdicts[118:]
    assert verdicts[-1][0] != "pass"


def test_a_pass_at_the_planned_end_is_not_one_for_ever(shop):
    for _ in range(22):
        shop.pass_time()
        summary = shop.look(horizon="20m", start="2026-01-01T12:00:00Z")
    assert (summary["verdict"], summary["state"], summary["stale"]) == ("pass", "passed", False)
    shop.pass_time(600)
    summary = shop.look(horizon="20m")
    assert (summary["verdict"], summary["state"], summary["stale"]) == ("marginal", "passed", True)
    assert "the planned end was" in summary["reason"]


def test_a_run_that_is_begun_again_is_another_one(shop):
    first = ask(shop, "/v1/runs", {"config": "shop", **SIDES, "horizon": "20m"}, 201)
    for _ in range(25):
        shop.pass_time()
        shop.runs.look_at(shop.runs.get(first["id"]).run)
    assert shop.runs.get(first["id"]).run.state == "passed"
    shop.sources["shop"].down = True  # and nothing is known of this canary
    second = ask(shop, "/v1/runs", {"config": "shop", **SIDES, "horizon": "20m"}, 201)
    assert second["id"] != first["id"]
    assert (second["state"], second["verdict"]) == ("running", "marginal")


def test_a_clock_that_was_ahead_is_told(shop):
    passed(shop)
    shop.pass_time(86_400)
    shop.look()
    shop.clock.seconds -= 86_400
    shop.sources["shop"].down = True
    shop.pass_time(600)
    summary = shop.look()
    assert summary["verdict"] == "marginal"
    assert "a time that has not come yet" in summary["reason"]


def test_a_store_whose_loads_are_stuck_is_blind(shop):
    from dataclasses import replace as changed

    from canary_judge.series import nanoseconds

    known = {"until": None}

    class Loaded:
        """Rows of a warehouse, which are loaded up to a time."""

        def fetch(self, queries, window):
            found = shop.worlds["shop"].fetch(queries, window)
            if known["until"] is None:
                return found
            return [changed(one, known_until=known["until"]) for one in found]

    shop.sources["shop"].source = Loaded()
    passed(shop)
    assert nanoseconds(shop.now())
    known["until"] = shop.now()
    seen = []
    for _ in range(10):
        shop.pass_time()
        seen.append(shop.look()["verdict"])
    assert seen[:2] == ["pass", "pass"]
    assert set(seen[5:]) == {"marginal"}
    assert "no data came for" in shop.look()["reason"]


def test_the_same_key_with_another_config_of_the_same_hash_is_a_409(shop):
    plain = json.loads((shop.configs / "shop.json").read_text())
    (shop.configs / "other.json").write_text(json.dumps(plain))
    ask(shop, "/v1/looks", {"config": "shop", **SIDES, "key": "mine"}, 200)
    assert "not of 'other'" in ask(shop, "/v1/looks", {"config": "other", **SIDES, "key": "mine"}, 409)["message"]


def test_one_watched_run_without_a_source_does_not_stop_the_others(shop):
    shop.add("lost")
    ask(shop, "/v1/runs", {"config": "shop", **SIDES}, 201)
    ask(shop, "/v1/runs", {"config": "lost", **SIDES}, 201)
    find = shop.runs.options

    def options(config):
        from canary_judge import ConfigError

        if config.name == "lost":
            raise ConfigError("source 'default' is nowhere given")
        return find(config)

    shop.runs.options = options
    shop.pass_time(120)
    assert shop.runs.tick() == 1


@pytest.mark.parametrize("start", ["0001-01-01T00:00:00+14:00", "2999-01-01T00:00:00Z", "1971-06-01T00:00:00Z"])
def test_a_start_that_cannot_be_is_a_400(shop, start):
    assert ask(shop, "/v1/looks", {"config": "shop", **SIDES, "start": start}, 400)["message"].startswith("start is")


def test_restarting_ends_the_run_before(shop):
    ask(shop, "/v1/looks", {"config": "shop", **SIDES}, 200)
    for _ in range(3):
        ask(shop, "/v1/looks", {"config": "shop", **SIDES, "restart": True}, 200)
    assert [run["state"] for run in shop.api("GET", "/v1/runs").json] == ["running", *["cancelled"] * 3]


def test_a_pass_whose_planned_end_is_long_ago_is_none_although_it_is_asked_for_the_first_time(shop):
    shop.pass_time(3600)
    body = {"config": "shop", **SIDES, "start": "2026-01-01T12:00:00Z", "horizon": "30m"}
    summary = ask(shop, "/v1/looks", body, 200)["summary"]
    assert (summary["verdict"], summary["stale"]) == ("marginal", True)
    assert "the planned end was 30m ago" in summary["reason"]


def test_before_its_first_interval_has_ended_a_run_says_so(shop):
    assert "no interval has ended yet; the first one ends at 12:01:00" in shop.look()["reason"]


def test_silence_on_both_sides_is_blindness(shop):
    passed(shop)

    class Silent:
        def fetch(self, queries, window):
            from canary_judge.series import Form, Result

            return [Result(series=(), form=Form.COUNTS) for _ in queries]

    shop.sources["shop"].source = Silent()
    for _ in range(12):
        shop.pass_time()
        summary = shop.look()
    assert (summary["verdict"], summary["stale"], summary["score"]) == ("marginal", True, 50.0)
    assert "neither version has had any data" in summary["reason"]


def test_a_file_that_grows_is_read_anew(tmp_path):
    import pandas as pd

    from canary_judge.service import Runs

    begin = pd.Timestamp("2026-01-01T12:00Z")
    clock, path = {}, tmp_path / "shop.csv"
    with house(tmp_path, serve=False) as shop:
        text = (shop.configs / "shop.json").read_text()
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "shop.json").write_text(text)
    (folder / "sources.yaml").write_text(f"default: {{type: frame, path: {path}}}\n")
    rows = []
    with Runs(folder, tmp_path / "own.db", now=lambda: clock["now"]) as runs:
        for k in range(1, 31):
            moment = begin + pd.Timedelta(minutes=k)
            for side, requests, errors in (("baseline", 9000, 45), ("canary", 1000, 60)):
                rows.append({"timestamp": moment, "side": side, "requests": requests, "errors": errors})
            pd.DataFrame(rows).to_csv(path, index=False)
            clock["now"] = moment.to_pydatetime()
            answer = runs.look("shop", **SIDES, start=begin.to_pydatetime())
        assert answer.verdict == "fail"


def test_a_run_that_has_ended_is_handed_on_once(shop):
    ended = []
    shop.runs.on_ended.append(ended.append)
    shop.add("broken", canary_error_rate=0.05)
    for _ in range(25):
        shop.pass_time()
        shop.look("broken")
        shop.look(horizon="20m")
    assert sorted(run.config_name for run in ended) == ["broken", "shop"]
    assert all(run.ended and run.judgement for run in ended)


def test_a_failure_stands_and_is_not_stale(shop):
    shop.add("broken", canary_error_rate=0.05)
    for _ in range(20):
        bad = shop.look("broken")
        shop.pass_time()
    shop.pass_time(600)
    assert (bad["verdict"], shop.look("broken")["verdict"], shop.look("broken")["stale"]) == ("fail", "fail", False)


def test_who_waits_for_the_planned_end_of_a_run_without_a_source_does_not_wait_for_ever(shop):
    shop.sources["shop"].down = True
    assert shop.look(horizon="45m")["state"] == "running"
    shop.pass_time(46 * 60)
    assert shop.look(horizon="45m")["state"] == "running"  # it may come back
    shop.pass_time(30 * 60)
    late = shop.look(horizon="45m")
    assert (late["state"], late["stale"], late["verdict"]) == ("undecided", True, "marginal")


def test_two_files_of_one_name_are_no_config(shop):
    (shop.configs / "shop.yaml").write_text((shop.configs / "shop.json").read_text())
    listed = {one["name"]: one["error"] for one in shop.api("GET", "/v1/configs").json}
    assert listed["shop"].startswith("shop.json and shop.")
    answer = shop.api("POST", "/v1/looks", json={"config": "shop", **SIDES})
    assert answer.status == 400
    assert "are one config, 'shop': remove one of them" in answer.json["message"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_may_ask_for_the_head(shop, path):
    assert shop.api("HEAD", path).status == 200


def test_a_planned_end_that_is_looked_at_much_later_is_undecided_for_good(shop):
    """Its state is what Spinnaker's webhook stage waits for."""
    for _ in range(3):
        shop.look(horizon="30m")
        shop.pass_time()
    shop.sources["shop"].down = True
    shop.pass_time(42 * 60)
    shop.sources["shop"].down = False
    states = set()
    for _ in range(5):
        states.add(shop.look(horizon="30m")["state"])
        shop.pass_time()
    assert states == {"undecided"}


def test_a_run_that_ended_undecided_says_that_it_looks_no_more(shop):
    shop.add("shop", rate=0.5)
    for _ in range(6):
        last = shop.look(horizon="5m")
        shop.pass_time()
    assert last["state"] == "undecided"
    assert "it looks no more: begin another, with `restart: true` or another key" in last["reason"]


@pytest.fixture
def regions(tmp_path):
    """A config with a source of its own, where the canary fails, beside one of the same name, where it does not."""
    configs = tmp_path / "configs"
    configs.mkdir()
    for name, failed in (("own", 6), ("other", 5)):
        rows = [
            f"2026-01-01T12:{minute:02d}:30+00:00,{side},{5 if side == 'baseline' else failed},{1000 + minute}"
            for minute in range(60)
            for side in ("baseline", "canary")
        ]
        (tmp_path / f"{name}.csv").write_text("\n".join(["timestamp,side,errors,requests", *rows]) + "\n")
    (configs / "sources.yaml").write_text(f"default: {{type: frame, path: {tmp_path}/other.csv}}\n")
    metric = {
        "name": "m",
        "kind": "ratio",
        "events": "errors",
        "total": "requests",
        "harm": "increase",
        "margin": "1.5x",
    }
    own = {"default": {"type": "frame", "path": f"{tmp_path}/own.csv"}}
    file = configs / "shop.json"
    file.write_text(json.dumps({"name": "shop", "interval": "1m", "metrics": [metric], "sources": own}))
    return configs, file


@pytest.mark.parametrize("what", ["broken", "gone"])
def test_a_run_whose_config_breaks_asks_no_other_source(regions, what):
    configs, file = regions
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    database = f"sqlite:///{configs}/judge.db"
    with contextlib.closing(Runs(configs, database, workers=0, now=lambda: now)) as runs:
        run = runs.look("shop", **SIDES, start=now).run
        _ = file.write_text(file.read_text()[:-20]) if what == "broken" else file.unlink()
        now += timedelta(minutes=5)
        seen = runs.look_at(runs.store.get(run.id))
        assert (seen.stale, seen.run.summary["intervals"]) == (False, 5)
        assert seen.judgement.metrics[0].comparison.events_canary == 30
    with contextlib.closing(Runs(configs, database, workers=0, now=lambda: now)) as anew:
        now += timedelta(minutes=1)
        seen = anew.look_at(anew.store.get(run.id))
        assert seen.stale
        assert "it is not known where the sources of 'shop' are" in seen.why


def test_a_question_that_cannot_be_sent_is_no_look_that_goes_on(shop, monkeypatch):
    def ask(*_):
        raise TypeError("cannot pickle")

    shop.pass_time(120)
    with monkeypatch.context() as broken:
        broken.setattr(shop.runs._workers, "ask", ask)
        summary = shop.look()
        assert "nobody can look: cannot pickle" in summary["reason"]
        assert shop.runs.going == 0
    assert shop.look()["stale"] is False


def test_an_end_is_told_although_the_database_was_busy_then(shop, monkeypatch):
    shop.add("broken", canary_error_rate=0.05)
    told, real, ended = [], shop.runs.store.get, threading.Event()
    shop.runs.on_ended.append(lambda run: told.append(run.state))

    def get(run):
        found = real(run)
        if found is not None and found.ended and not ended.is_set():
            raise StoreDown("the database gave no answer")
        return found

    monkeypatch.setattr(shop.runs.store, "get", get)
    for _ in range(5):
        shop.pass_time()
        shop.api("POST", "/v1/looks", json={"config": "broken", **SIDES})
    assert told == []
    ended.set()
    shop.runs.tick()
    assert told == ["failed"]
