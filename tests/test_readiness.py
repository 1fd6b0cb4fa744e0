"""What can never work is named before a weight is set: ten mistakes of people, against a real Prometheus."""

import json
import re
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import yaml

from canary_judge import JudgeConfig, Monitor, preflight
from canary_judge.__main__ import main
from canary_judge.commands import rollout as rollout_commands
from canary_judge.config.model import TrafficExpectation
from canary_judge.errors import QueryError, SourceUnavailable
from canary_judge.rollout.journal import Journal
from canary_judge.sources import FrameSource, PrometheusSource
from canary_judge.testing import simulated_world
from tests.real_prometheus import find_binaries, running

MATCH = '{version="${version}"}'
ERRORS = {
    "name": "errors",
    "kind": "ratio",
    "events": 'http_requests_total{version="${version}",code="500"}',
    "total": f"http_requests_total{MATCH}",
    "harm": "increase",
    "margin": "1.5x or +0.5pp",
}
SLOW = {
    "name": "slow",
    "kind": "latency",
    "histogram": f"http_duration_seconds_bucket{MATCH}",
    "slower_than": "100ms",
    "harm": "increase",
    "margin": "1.5x or +1pp",
}
MEMORY = {"name": "memory", "kind": "gauge", "query": f"memory_bytes{MATCH}", "harm": "increase", "margin": "10%"}
SIDES = ["--baseline", "version=v1", "--canary", "version=v2"]


def world(now):
    """Forty minutes of two versions, scraped every 30 s, and a third one without traffic."""
    times = now + np.arange(-2400, 61, 30.0)
    rng = np.random.default_rng(1)
    for version, requests in (("v1", 950), ("v2", 50)):
        labels = {"version": version, "instance": f"{version}:80", "job": "web"}
        yield "up", {"job": "web", "instance": f"{version}:80"}, [(t, 1.0) for t in times]
        served = np.cumsum(rng.poisson(requests / 2, times.size))
        for code, share in (("200", 0.99), ("500", 0.01)):
            yield (
                "http_requests_total",
                {**labels, "code": code},
                list(zip(times, np.floor(served * share), strict=True)),
            )
        for le, share in (("0.05", 0.6), ("0.1", 0.95), ("+Inf", 1.0)):
            points = list(zip(times, np.floor(served * share), strict=True))
            yield "http_duration_seconds_bucket", {**labels, "le": le}, points
        rates = rng.poisson(requests, times.size) / 60
        yield "job:requests:rate1m", labels, list(zip(times, rates, strict=True))
        yield "memory_bytes", labels, list(zip(times, rng.normal(1e8, 1e6, times.size), strict=True))


@pytest.fixture(scope="module")
def url():
    with running(find_binaries(), list(world(time.time() // 30 * 30))) as address:
        yield address


def typed(capsys, tmp_path, url, metrics, *more, interval="1m", sides=SIDES):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"name": "shop", "interval": interval, "metrics": metrics}))
    code = main([more[0] if more else "check", str(path), "--source", url, *sides, *more[1:]])
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out
    return code, said.out, said.err


MISTAKES = {
    "label typo on both sides": (
        {**ERRORS, "total": 'http_requests_total{verison="${version}"}'},
        {},
        r"no series of http_requests_total has a label 'verison'; did you mean 'version'\?",
    ),
    "metric typo": (
        {**ERRORS, "total": f"http_request_total{MATCH}"},
        {},
        r"there is no metric http_request_total; did you mean 'http_requests_total'\?",
    ),
    "missing _bucket": (
        {**SLOW, "histogram": f"http_duration_seconds{MATCH}"},
        {},
        r"has nothing, but its buckets are there: write `histogram: http_duration_seconds_bucket\{",
    ),
    "wrong bound": (
        {**SLOW, "slower_than": "250ms"},
        {},
        r"0\.25 is no bucket bound .* its bounds are 0\.05, 0\.1, \+Inf",
    ),
    "forgotten ${version}": ({**ERRORS, "total": "http_requests_total"}, {}, r"both sides ask http_requests_total"),
    "same version twice": (
        ERRORS,
        {"sides": ["--baseline", "version=v1", "--canary", "version=v1"]},
        r"both sides ask .*version=\"v1\"",
    ),
    "15 s on 30 s scrapes": (
        ERRORS,
        {"interval": "15s"},
        r"points come every 30s, .* interval of 15s; set `interval: 30s`",
    ),
    "15 s on 30 s scrapes, of a gauge": (MEMORY, {"interval": "15s"}, r"memory: points come every 30s"),
    "recorded rate": ({**ERRORS, "total": f"job:requests:rate1m{MATCH}"}, {}, r"errors: .*(no counter|fell|falls)"),
    "parse error": ({**ERRORS, "total": 'http_requests_total{version="${version}"'}, {}, r"errors: .*parse error"),
    "baseline that is not there": (
        ERRORS,
        {"sides": ["--baseline", "version=v0", "--canary", "version=v2"]},
        r"total of the baseline returned nothing: .*; version has the values 'v1', 'v2'",
    ),
}


@pytest.mark.real
@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_can_never_work_is_named_before_anything_starts(mistake, url, capsys, tmp_path):
    metric, more, told = MISTAKES[mistake]
    code, out, _ = typed(capsys, tmp_path, url, [metric], **more)
    assert code == 1
    assert re.search(told, out), out
    assert out.endswith("not ready\n")
    for command in ("plan", "watch"):
        code, _, error = typed(capsys, tmp_path, url, [metric], command, **more)
        assert code == 1
        assert re.search(told, error), error


@pytest.mark.real
def test_a_canary_without_traffic_yet_is_normal_and_told(url, capsys, tmp_path):
    code, out, _ = typed(capsys, tmp_path, url, [ERRORS], sides=["--baseline", "version=v1", "--canary", "version=v3"])
    assert code == 0
    assert "total of the canary returned nothing" in out
    assert "version has the values 'v1', 'v2' (no traffic yet is normal)" in out
    assert out.endswith("ready\n")


@pytest.mark.real
def test_a_selector_of_events_that_fits_nothing_is_told(url, capsys, tmp_path):
    misspelt = {**ERRORS, "events": ERRORS["events"].replace("code=", "status=")}
    code, out, _ = typed(capsys, tmp_path, url, [misspelt])
    assert code == 0
    assert re.search(r"events of the baseline returned nothing: .* has a label 'status'", out), out
    code, out, _ = typed(capsys, tmp_path, url, [{**misspelt, "absent_is_zero": True}])
    assert "returned nothing" not in out


@pytest.mark.real
def test_swapped_sides_are_told(url, capsys, tmp_path):
    code, out, _ = typed(capsys, tmp_path, url, [ERRORS], sides=["--baseline", "version=v2", "--canary", "version=v1"])
    assert code == 0
    assert "the canary has 95% of the requests: are baseline and canary swapped?" in out


@pytest.mark.real
def test_what_was_seen_is_told_for_people_and_for_machines(url, capsys, tmp_path):
    code, out, _ = typed(capsys, tmp_path, url, [ERRORS, SLOW, MEMORY])
    assert code == 0
    assert re.search(r"errors +baseline +\d+ +30s +\d+ +2\d,\d{3} +0", out)
    assert re.search(r"memory +canary +1 ", out)
    plain = json.loads(typed(capsys, tmp_path, url, [ERRORS], "check", "--format", "json")[1])
    assert plain["ok"] is True
    assert [one["side"] for one in plain["seen"]] == ["baseline", "canary"]
    assert plain["seen"][0]["spacing_seconds"] == 30


@pytest.mark.real
def test_a_margin_that_the_planned_time_cannot_show_is_told(url, capsys, tmp_path):
    code, out, _ = typed(capsys, tmp_path, url, [{**ERRORS, "margin": "2%"}], "check", "--horizon", "30m")
    assert code == 0
    assert re.search(
        r"errors: it takes about \d+ \w+ to show its margin at 5 % of the traffic, and 30 minutes are planned", out
    )


@pytest.mark.real
def test_no_weight_is_set_by_a_rollout_whose_query_can_never_work(url, capsys, tmp_path, monkeypatch):
    router = simulated_world(seed=1).router
    monkeypatch.setattr(rollout_commands, "_router_of", lambda *_: router)
    code, _, error = typed(capsys, tmp_path, url, [{**SLOW, "slower_than": "250ms"}], "rollout")
    assert code == 1
    assert "is no bucket bound" in error
    assert router.get_weight().percent == 0
    journal = str(tmp_path / "j")
    monkeypatch.setattr("canary_judge.rollout.controller.SystemClock", _Ending)
    typed(capsys, tmp_path, url, [ERRORS], "rollout", "--no-preflight", "--journal", journal)
    with Journal(tmp_path / "j") as written:
        assert written.records[0]["note"] == "without preflight"


class _Ending:
    """A clock that ends the loop when it is to wait for the first time."""

    def now(self):
        return datetime.now(UTC)

    def monotonic(self):
        return time.monotonic()

    def wait(self, _seconds, _wake):
        raise KeyboardInterrupt


# --- without a server ----------------------------------------------------------------------------------------------

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def table(**changes):
    rng = np.random.default_rng(1)
    parts = []
    for side, requests in (("baseline", 950), ("canary", 50)):
        times = pd.date_range(START + MINUTE, periods=40, freq="1min")
        total = rng.poisson(requests, 40)
        parts.append(
            pd.DataFrame({"timestamp": times, "side": side, "requests": total, "errors": rng.binomial(total, 0.01)})
        )
    return pd.concat(parts).assign(**changes)


PLAIN = {
    "name": "errors",
    "kind": "ratio",
    "events": "errors",
    "total": "requests",
    "harm": "increase",
    "margin": "1.5x",
}


def config(**changes):
    return JudgeConfig.from_mapping({"name": "t", "interval": "1m", "metrics": [{**PLAIN, **changes}]})


def test_a_table_is_looked_at_up_to_its_end():
    found = preflight(config(), FrameSource(table()))
    assert found.ok
    assert found.end == START + 40 * MINUTE
    assert found.seen[1].events > 0


def test_a_table_without_the_column_is_an_error_with_the_nearest_one():
    found = preflight(config(events="erors"), FrameSource(table()))
    assert found.errors == (
        "errors: baseline events: the table has no 'erors'; did you mean 'errors'?; there are requests, errors",
    )


def test_the_first_look_refuses_what_can_never_work_and_keeps_no_state():
    monitor = Monitor(config(events="erors"), start=START)
    with pytest.raises(QueryError, match="errors: baseline events: the table has no 'erors'"):
        monitor.look(FrameSource(table()), START + MINUTE)
    assert monitor.watermark in (None, START)


def test_a_server_that_does_not_answer_is_no_verdict():
    with pytest.raises(SourceUnavailable):
        preflight(config(), PrometheusSource("http://127.0.0.1:9", timeout=0.5, deadline=1.0))


def test_judge_ends_with_an_error_where_a_query_cannot_work(tmp_path, capsys):
    path, data = tmp_path / "c.yaml", tmp_path / "d.csv"
    path.write_text(yaml.safe_dump({"name": "t", "interval": "1m", "metrics": [{**PLAIN, "events": "erors"}]}))
    table().to_csv(data, index=False)
    assert main(["judge", str(path), "--data", str(data)]) == 1
    said = capsys.readouterr()
    assert "did you mean 'errors'?" in said.err
    assert main(["check", str(path), "--data", str(data)]) == 1
    # a shown regression outranks a query that does not work
    two = [{**PLAIN, "name": "good", "margin": "1.5x"}, {**PLAIN, "events": "erors"}]
    path.write_text(yaml.safe_dump({"name": "t", "interval": "1m", "metrics": two}))
    worse = table()
    worse.loc[worse["side"] == "canary", "errors"] *= 20
    worse["errors"] = worse[["errors", "requests"]].min(axis=1)
    worse.to_csv(data, index=False)
    assert main(["judge", str(path), "--data", str(data)]) == 2


def test_the_weight_of_the_config_is_the_one_that_is_planned_for():
    world = simulated_world(seed=1)
    world.clock.seconds = 3600
    found = {}
    for weight in (None, 25.0):
        traffic = None if weight is None else TrafficExpectation(weight=weight)
        config = world.config.model_copy(update={"traffic": traffic})
        told = preflight(config, world.source, until=world.clock.now(), horizon="2m").warnings
        found[weight] = [text for text in told if "to show its margin" in text]
    assert "at 5 % of the traffic" in found[None][0]
    assert all("at 25 % of the traffic" in text for text in found[25.0])
