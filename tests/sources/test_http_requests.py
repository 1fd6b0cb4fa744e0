"""Stores over HTTP: what is sent to them, and servers that are busy, odd, or strangers."""

import itertools
import json
import time
from datetime import UTC, datetime
from email.utils import format_datetime

import numpy as np
import pytest

from canary_judge import JudgeConfig, Monitor, Window, judge
from canary_judge.errors import ConfigError, SourceUnavailable
from canary_judge.results import Outcome
from canary_judge.sources import from_config, refuse_without_users
from canary_judge.sources.http import HttpSource
from canary_judge.sources.json_requests import _asked_to_wait
from canary_judge.testing.sources import source_checks
from tests.sources.http_server import (
    MINUTE,
    PLAIN,
    POINTS,
    START,
    WINDOW,
    answered,
    minutes,
    plain,
    query,
    recipe,
    serving,
    source_of,
    told,
)

# --- what is sent -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "version", ["x' OR '1'='1", '"}', "*", "a b", "a,b", "${query}", "a|b", "x\ny", "a&b=c", "", "/.+/"]
)
def test_a_label_that_could_break_out_is_not_sent(version):
    with serving(POINTS) as server:
        text = "SELECT count(*) FROM t WHERE version = '${version}'"
        (result,) = plain(server.url).fetch([query(text, version=version)], WINDOW)
        assert "label version is" in result.error
        assert server.asked == []


@pytest.mark.parametrize("version", ["x' OR '1'='1", '"}', "*", "a b", "${start:s}", "ü"])
def test_a_label_that_stands_alone_is_a_value(version):
    with serving(POINTS) as server:
        body = {
            "term": {"version": "${version}"},
            "from": "${start:s}",
            "to": "${end:ms}",
            "step": "${step:s}",
            "in": ["a", "${version}"],
        }
        source = plain(server.url, method="POST", body=body, parameters={"v": "${version}"})
        (result,) = source.fetch([query(version=version)], WINDOW)
        assert result.error is None
        sent = server.asked[0]
        assert sent["body"] == {
            "term": {"version": version},
            "from": 1794960000,
            "to": 1794960360000,
            "step": 60,
            "in": ["a", version],
        }
        assert sent["parameters"] == {"v": version}


def test_a_label_in_the_path_is_one_part_of_it():
    with serving(POINTS) as server:
        source = HttpSource.from_options({**PLAIN, "url": f"{server.url}/v/${{version}}/points"})
        source.fetch([query(version="../../admin?x=1#y")], WINDOW)
        assert server.asked[0]["raw"].split("?")[0] == "/v/..%2F..%2Fadmin%3Fx%3D1%23y/points"


@pytest.mark.parametrize("version", ["..", ".", ""])
def test_a_label_that_leads_elsewhere_is_no_part_of_a_path(version):
    with serving(POINTS) as server:
        source = HttpSource.from_options({**PLAIN, "url": f"{server.url}/tenant/${{version}}/points"})
        (result,) = source.fetch([query(version=version)], WINDOW)
        assert "no part of a path" in result.error
        assert server.asked == []


def test_both_sides_that_ask_the_same_are_one_side():
    with serving(POINTS) as server:
        found = judge(ratio(), plain(server.url), WINDOW)["errors"]
        assert found.outcome is Outcome.ERROR
        assert "both sides ask the same; tell them apart with a label" in found.reason
        assert server.asked == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"url": "ftp://x/y"}, "url: is no address"),
        ({"url": "https://${version}.example/api"}, "the host is the operator's"),
        ({"url": "https://x/y?z=1"}, "write what follows it as `parameters`"),
        ({"times": "map(&"}, "is no JMESPath"),
        ({"time_unit": "minutes"}, "time_unit"),
        ({"time_is": "whenever"}, "time_is"),
        ({"series": "a", "rows": "b"}, "stands beside `series`"),
        ({"timezone": "Mars"}, "timezone"),
        ({"ca": "/nowhere"}, "ca: '/nowhere' does not exist"),
        ({"next": {"token": "t", "into": "elsewhere"}}, "next"),
        ({"per_minute": 0}, "per_minute"),
        ({"delay": "soon"}, "delay"),
        ({"timez": "x"}, "did you mean 'times'"),
        ({"headers": {"X": "a\nb"}}, "headers.X"),
    ],
)
def test_options_that_cannot_be_meant(options, text):
    with pytest.raises(ConfigError, match=text):
        from_config({"type": "http", "url": "https://x/api", **PLAIN, **options})


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"q": "${query}"}, "must say"),
        ({"from": "${start}", "to": "${end:s}"}, "a time needs a unit"),
        ({"from": "${start:s}", "to": "${end:s}", "step": "${step}"}, "a length needs a unit"),
        ({"from": "${start:s}", "to": "${end:s}", "v": "${verison}"}, "`verison` is not defined; there are"),
    ],
)
def test_placeholders_that_mean_nothing(parameters, text):
    assert text in told(POINTS, parameters=parameters)


# --- servers that are busy, odd, or strangers ---------------------------------------------------------------------------


def test_a_store_that_is_busy_is_asked_again_when_it_says():
    with serving(({"error": "slow down"}, 429, {"Retry-After": "1"}), POINTS) as server:
        begun = time.monotonic()
        (result,) = plain(server.url).fetch([query()], WINDOW)
        assert minutes(result)[1] == 4.0
        assert time.monotonic() - begun > 0.9
        assert len(server.asked) == 2


def test_a_store_that_stays_busy_is_no_answer():
    with (
        serving(({}, 429, {"Retry-After": "3600"})) as server,
        pytest.raises(SourceUnavailable, match="fewer requests"),
    ):
        plain(server.url).fetch([query()], WINDOW)
    throttled = answered("cloudwatch")["error_429_is_400"]
    with serving((throttled, 400, {})) as server:
        source = source_of(recipe("cloudwatch"), server.url, timeout=1.0)
        with pytest.raises(SourceUnavailable, match="fewer requests"):
            source.fetch([query()], WINDOW)


def test_what_a_store_asks_to_wait():
    now = 1_794_960_000.0
    later = format_datetime(datetime.fromtimestamp(now + 30, UTC))
    assert _asked_to_wait({"Retry-After": "7"}, lambda: now) == 7
    assert _asked_to_wait({"Retry-After": later}, lambda: now) == pytest.approx(30)
    assert _asked_to_wait({"Retry-After": "tomorrow"}, lambda: now) == 0
    assert _asked_to_wait({"X-RateLimit-Reset": "12"}, lambda: now) == 12
    assert _asked_to_wait({"X-RateLimit-Reset": str(now + 9)}, lambda: now) == pytest.approx(9)
    assert _asked_to_wait({}, lambda: now) == 0


def test_no_more_requests_than_may_be_sent():
    with serving(POINTS) as server:
        source, begun = plain(server.url, per_minute=600), time.monotonic()
        source.fetch([query(f"q{number}") for number in range(6)], WINDOW)
        assert time.monotonic() - begun > 0.45
        slow = plain(server.url, per_minute=1, timeout=0.5)
        slow.fetch([query()], WINDOW)
        with pytest.raises(SourceUnavailable, match="per_minute"):
            slow.fetch([query()], WINDOW)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((b"<html>login</html>", 200, {}), "no JSON"),
        (({}, 302, {"Location": "https://evil.example/"}), "another address"),
        (({"message": "no"}, 403, {}), "refused access (HTTP 403)"),
        (({}, 500, {}), "HTTP 500"),
    ],
)
def test_what_is_no_answer(answer, text):
    with serving(answer) as server, pytest.raises(SourceUnavailable) as caught:
        plain(server.url).fetch([query()], WINDOW)
    assert text in str(caught.value)


@pytest.mark.parametrize("answer", [({"errors": ["bad query"]}, 400, {}), (b"nonsense", 404, {})])
def test_a_refused_query_is_an_error_of_its_metric(answer):
    assert "HTTP 4" in told(answer)


def test_nobody_listens():
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        plain("http://127.0.0.1:9", timeout=1.0).fetch([query()], WINDOW)


def test_a_server_that_drips_cannot_outlast_the_deadline():
    def drip(_):
        time.sleep(3)
        return POINTS

    begun = time.monotonic()
    with serving(drip) as server, pytest.raises(SourceUnavailable, match="in time|no answer within"):
        plain(server.url, timeout=0.5).fetch([query()], WINDOW)
    assert time.monotonic() - begun < 6


def test_no_secret_is_shown(monkeypatch):
    monkeypatch.setenv("KEY", "hunter2hunter2")
    options = {
        "type": "http",
        **PLAIN,
        "headers": {"X-Key": "${env:KEY}"},
        "parameters": {**PLAIN["parameters"], "api_key": "${env:KEY}"},
    }
    with serving(({"errors": ["key hunter2hunter2 is wrong"]}, 400, {})) as server:
        source = from_config({**options, "url": f"{server.url}/api"})
        (result,) = source.fetch([query()], WINDOW)
        assert "hunter2" not in result.error + repr(source) + result.provenance
        assert server.asked[0]["headers"]["X-Key"] == "hunter2hunter2"
    gone = from_config({**options, "url": "http://127.0.0.1:9/api", "timeout": 1.0})
    with pytest.raises(SourceUnavailable) as caught:
        gone.fetch([query()], WINDOW)
    assert "hunter2" not in str(caught.value)


class Harness:
    """Each series by its name and side."""

    def __init__(self, server):
        self.server = server

    def source(self, data):
        known = {f"{one.name}/{one.side}": one for one in data}

        def answer(asked):
            one = known.get(asked["parameters"]["q"])
            points = [] if one is None else list(one.points)
            if one is not None and one.cumulative:  # such stores count what is new
                points = [
                    (at, now - before if now >= before else now)
                    for (_, before), (at, now) in itertools.pairwise(points)
                ]
            begin, end = (float(asked["parameters"][name]) for name in ("from", "to"))
            points = [(at, None if np.isnan(value) else value) for at, value in points if begin < at <= end]
            return {"times": [at for at, _ in points], "values": [value for _, value in points]}

        self.server.answers = [answer]
        return plain(self.server.url, time_is="moment")

    def expression(self, name, side):
        return f"{name}/{side}"


@pytest.mark.parametrize("check", source_checks())
def test_the_contract_of_sources_holds(check):
    with serving(POINTS) as server:
        check(Harness(server))


def test_secrets_of_parameters_and_of_auth_are_not_shown():
    echo = ({"errors": ["token abcSECRETdef expired, key SUPERSECRET"]}, 400, {})
    with serving(echo) as server:
        for more in (
            {"headers": {"Authorization": "Bearer abcSECRETdef"}},
            {"auth": {"type": "bearer", "token": "abcSECRETdef"}},
        ):
            source = plain(server.url, parameters={**PLAIN["parameters"], "api_key": "SUPERSECRET"}, **more)
            (result,) = source.fetch([query()], WINDOW)
            assert "SECRET" not in result.error
        tls = plain(
            server.url.replace("http:", "https:"),
            parameters={**PLAIN["parameters"], "api_key": "SUPERSECRET"},
            timeout=2.0,
        )
        with pytest.raises(SourceUnavailable) as caught:
            tls.fetch([query()], WINDOW)
        assert "SECRET" not in str(caught.value)


def test_the_netrc_file_replaces_no_header(tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password other\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with serving(POINTS) as server:
        plain(server.url, headers={"Authorization": "Bearer mine"}).fetch([query()], WINDOW)
        assert server.asked[0]["headers"]["Authorization"] == "Bearer mine"


def test_every_does_not_answer_for_another_version_or_a_longer_window():
    with serving(shop) as server:
        source = plain(server.url, parameters=PER_SIDE, every="1h")
        first = source.fetch(list(ratio().queries()), Window(START, START + 60 * MINUTE))
        other = source.fetch(
            list(ratio().with_sides(canary={"version": "3"}).queries()), Window(START, START + 60 * MINUTE)
        )
        assert {one["parameters"]["v"] for one in server.asked} == {"1", "2", "3"}
        assert len(first) == len(other)
        longer = source.fetch(list(ratio().queries()), Window(START, START + 90 * MINUTE))
        assert {one.known_until for one in longer} == {START + 60 * MINUTE}
        found = judge(ratio(), source, Window(START, START + 90 * MINUTE))["errors"]
        assert found.outcome is Outcome.INSUFFICIENT


# --- as a source -------------------------------------------------------------------------------------------------------


def ratio(**more) -> JudgeConfig:
    metric = {
        "name": "errors",
        "kind": "ratio",
        "events": "errors",
        "total": "requests",
        "harm": "increase",
        "margin": "1.5x or +5pp",
        **more,
    }
    return JudgeConfig.from_mapping(
        {
            "name": "shop",
            "interval": "1m",
            "baseline": {"version": "1"},
            "canary": {"version": "2"},
            "metrics": [metric],
        }
    )


def shop(asked):
    """As many requests a minute as asked for, and errors of 1 %."""
    rng = np.random.default_rng(abs(hash(json.dumps(asked["parameters"], sort_keys=True))) % 2**32)
    first, last = int(asked["parameters"]["from"]) // 60, int(asked["parameters"]["to"]) // 60
    number = 2000 if asked["parameters"]["v"] == "1" else 500
    values = [
        int(rng.binomial(number, 0.01)) if asked["parameters"]["q"] == "errors" else number for _ in range(first, last)
    ]
    return {"times": [60 * k for k in range(first, last)], "values": values}


PER_SIDE = {**PLAIN["parameters"], "v": "${version}"}


def test_judged_and_watched():
    with serving(shop) as server:
        source = plain(server.url, parameters=PER_SIDE)
        found = judge(ratio(), source, Window(START, START + 60 * MINUTE))
        assert found["errors"].outcome is Outcome.SAFE
        monitor = Monitor(ratio(), start=START)
        for minute in range(1, 61):
            monitor.look(source, START + minute * MINUTE)
        assert monitor.evidence.consumed == 60
        assert monitor.evidence.streams["errors"].data.counts.exposure_canary.tolist() == [500.0] * 60


def test_a_delay_is_waited_for():
    clock = [START]
    with serving(shop) as server:
        source = HttpSource(plain(server.url, parameters=PER_SIDE, delay="3m")._options, now=lambda: clock[0])
        monitor = Monitor(ratio(), start=START)
        for minute in range(1, 11):
            clock[0] = START + minute * MINUTE
            monitor.look(source, clock[0])
        assert monitor.evidence.consumed == 7
        assert source.delay == 3 * MINUTE


def test_users_are_refused():
    config = ratio(unit_of_replication="user")
    with pytest.raises(ConfigError, match="keeps no users"):
        refuse_without_users(config, {"default": plain("http://127.0.0.1:9")})
    with serving(POINTS) as server:
        found = judge(config, plain(server.url), WINDOW)["errors"]
        assert found.outcome is Outcome.ERROR
