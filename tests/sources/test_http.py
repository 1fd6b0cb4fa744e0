"""Any store over HTTP: the recipes of the documentation on answers written after the vendors', and what may go wrong."""

import itertools
import json
import re
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from canary_judge import JudgeConfig, Monitor, Window, judge
from canary_judge.config.reading import read_yaml
from canary_judge.errors import ConfigError, SourceUnavailable
from canary_judge.results import Outcome, Side
from canary_judge.series import Form, Query, Reading
from canary_judge.sources import from_config, refuse_without_users
from canary_judge.sources.http import HttpSource
from canary_judge.sources.json_requests import _asked_to_wait
from canary_judge.testing.sources import source_checks

START = datetime(2026, 11, 18, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WINDOW = Window(START, START + 6 * MINUTE)
ANSWERS = Path(__file__).parent.parent / "data" / "http"
PAGE = Path(__file__).parent.parent.parent / "docs" / "http.md"


class Server:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self):
        self.asked, self.answers = [], []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.do_GET()

            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = urlsplit(self.path)
                parameters = {name: values[0] for name, values in parse_qs(parts.query).items()}
                server.asked.append(
                    {
                        "path": parts.path,
                        "parameters": parameters,
                        "body": json.loads(body) if body else None,
                        "headers": dict(self.headers),
                        "raw": self.path,
                    }
                )
                given = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                answer, status, headers = given if isinstance(given, tuple) else (given, 200, {})
                if callable(answer):
                    answer = answer(server.asked[-1])
                sent = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@contextmanager
def serving(*answers):
    server = Server()
    server.answers = list(answers)
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()


def recipe(vendor: str) -> dict:
    """The config of a vendor in the documentation."""
    sections = PAGE.read_text().split("\n## ")
    section = next(one for one in sections if one.lower().startswith(vendor))
    (text,) = re.findall(r"^```yaml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return read_yaml(text, vendor)


def answered(vendor: str) -> dict[str, object]:
    return {path.stem: json.loads(path.read_text()) for path in sorted((ANSWERS / vendor).glob("*.json"))}


SIGNED = "auth"  # what needs the library of a cloud is tested in test_auth.py


def source_of(config: dict, url: str, **more) -> HttpSource:
    options = dict(config["sources"]["default"])
    path = "/" + options["url"].split("/", 3)[3]
    options = {
        **{name: value for name, value in options.items() if name not in (SIGNED, "delay", "type")},
        "url": url + path,
        **more,
    }
    return HttpSource.from_options(json.loads(json.dumps(options).replace("${env:", "$secret{")))


def query(text="q", reading=Reading.COUNTS, part="events", step=MINUTE, **labels):
    return Query(
        metric="m",
        part=part,
        side=Side.CANARY,
        reading=reading,
        expression=text,
        template=text,
        step=step,
        labels=tuple({"version": "2.4.1", **labels}.items()),
    )


def minutes(result) -> dict[int, float]:
    """Value by the minute in which it ends."""
    assert result.error is None, result.error
    return {
        int((at - int(START.timestamp()) * 10**9) // (60 * 10**9)): float(value)
        for one in result.series
        for at, value in zip(one.timestamps, one.values, strict=True)
    }


VENDORS = {
    # what the third minute, in which nothing is known, becomes
    "datadog": 0.0,
    "new relic": 0.0,
    "graphite": np.nan,
    "influxdb": np.nan,
    "cloudwatch": 0.0,
    "elasticsearch": 0.0,
    "signalfx": 0.0,
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_each_recipe_reads_the_answer_of_its_vendor(vendor):
    config, files = recipe(vendor), answered(vendor.replace(" ", ""))
    answer = json.loads(
        json.dumps(files["answer"]).replace("per_minute", "per_step").replace('"errors": 4', '"value": 4')
    )
    text = json.dumps(answer)
    if vendor == "new relic":
        text = json.dumps(files["answer"]).replace('"errors"', '"value"')
    with serving(json.loads(text)) as server:
        metric = JudgeConfig.from_mapping({key: value for key, value in config.items() if key != "sources"})
        asked = next(one for one in metric.queries() if one.side is Side.CANARY and one.part == "events")
        (result,) = source_of(config, server.url).fetch([asked], WINDOW)
        found = minutes(result)
        assert result.form is Form.COUNTS
        assert result.complete
        expected = {1: 4.0, 2: 7.0, 3: VENDORS[vendor], 4: 3.0, 5: 0.0, 6: 5.0}
        assert found.keys() == expected.keys()
        np.testing.assert_array_equal(list(found.values()), list(expected.values()))
        sent = json.dumps([server.asked[0]["parameters"], server.asked[0]["body"]])
        assert "${" not in sent.replace("$secret", "")
        assert "2.4.1" in sent or "canary" in sent
        assert "1794960" in sent or "2026-11-18T00:00:00Z" in sent


@pytest.mark.parametrize(("vendor", "name", "told"), [
    ("datadog", "error", ""), ("new relic", "error", ""), ("influxdb", "error", ""), ("elasticsearch", "error", ""),
    ("signalfx", "error", ""), ("cloudwatch", "error", ""), ("graphite", "error", ""),
])  # fmt: skip
def test_errors_of_vendors_are_errors(vendor, name, told):
    answer = answered(vendor.replace(" ", ""))[name]
    with serving(answer) as server:
        (result,) = source_of(recipe(vendor), server.url, timeout=5.0).fetch([query()], WINDOW)
        assert result.error, answer
        assert not result.series


@pytest.mark.parametrize(
    ("vendor", "name"),
    [
        ("elasticsearch", "error_200_shards"),
        ("elasticsearch", "error_200_timed_out"),
        ("influxdb", "partial"),
        ("cloudwatch", "error_200"),
    ],
)
def test_what_is_not_whole_is_no_evidence_of_health(vendor, name):
    answer = json.loads(json.dumps(answered(vendor)[name]).replace("per_minute", "per_step"))
    with serving(answer) as server:
        (result,) = source_of(recipe(vendor), server.url).fetch([query()], WINDOW)
        assert result.error or not result.complete, answer


@pytest.mark.parametrize("vendor", ["datadog", "graphite", "influxdb", "cloudwatch", "elasticsearch", "signalfx"])
def test_nothing_that_matches_is_no_series(vendor):
    answer = json.loads(json.dumps(answered(vendor)["empty"]).replace("per_minute", "per_step"))
    with serving(answer) as server:
        (result,) = source_of(recipe(vendor), server.url).fetch([query()], WINDOW)
        assert sum(float(np.nansum(one.values)) for one in result.series) == 0
        if vendor != "elasticsearch":  # whose empty buckets are zeros
            assert result.series == ()


@pytest.mark.parametrize("vendor", ["datadog", "graphite", "cloudwatch"])
def test_several_series_are_kept_apart(vendor):
    answer = answered(vendor)["several"]
    with serving(answer) as server:
        (result,) = source_of(recipe(vendor), server.url).fetch([query()], WINDOW)
        assert len(result.series) > 1
        assert len({tuple(one.labels.items()) for one in result.series}) == len(result.series)


def test_rows_of_one_point_each_are_grouped_by_their_labels():
    rows = answered("newrelic")["several"]
    options = {
        "series": None,
        "rows": "data.actor.account.nrql.results",
        "labels": {"instance": "facet"},
        "times": "beginTimeSeconds",
        "values": "errors",
    }
    with serving(rows) as server:
        (result,) = source_of(recipe("new relic"), server.url, **options).fetch([query()], WINDOW)
        assert len(result.series) > 1
        assert all(one.instance for one in result.series)


def test_times_without_a_zone_need_one_to_be_said():
    rows = answered("influxdb")["answer_v3"]
    options = {"rows": "@", "times": "time", "values": "errors", "time_unit": "iso", "failed": None, "complete": None}
    with serving(rows) as server:
        (refused,) = source_of(recipe("influxdb"), server.url, **options).fetch([query()], WINDOW)
        assert "no time zone" in refused.error
        (result,) = source_of(recipe("influxdb"), server.url, **options, timezone="UTC").fetch([query()], WINDOW)
        found = minutes(result)
        assert {key: found[key] for key in (1, 2, 4, 5, 6)} == {1: 4.0, 2: 7.0, 4: 3.0, 5: 0.0, 6: 5.0}


def test_pages_are_read_to_the_last():
    files = answered("cloudwatch")
    with serving(files["page1"], files["page2"]) as server:
        (result,) = source_of(recipe("cloudwatch"), server.url).fetch([query()], WINDOW)
        assert minutes(result) == {1: 4.0, 2: 7.0, 3: 0.0, 4: 3.0, 5: 0.0, 6: 5.0}
        assert result.complete
        assert "NextToken" not in server.asked[0]["body"]
        assert server.asked[1]["body"]["NextToken"] == files["page1"]["NextToken"]
    with serving(files["page1"]) as server:  # the same again
        (result,) = source_of(recipe("cloudwatch"), server.url).fetch([query()], WINDOW)
        assert "a page repeats points" in result.error
    empty = {**files["page1"], "MetricDataResults": []}
    with serving(empty) as server:  # without end
        (result,) = source_of(recipe("cloudwatch"), server.url).fetch([query()], WINDOW)
        assert "100 pages" in result.error


POINTS = {"times": [1794960000 + 60 * k for k in range(6)], "values": [4, 7, 1, 3, 0, 5]}
PLAIN = {
    "parameters": {"q": "${query}", "from": "${start:s}", "to": "${end:s}"},
    "times": "times",
    "values": "values",
    "time_unit": "s",
    "time_is": "bucket_start",
}


def plain(url, **more) -> HttpSource:
    return HttpSource.from_options({"url": f"{url}/api", **PLAIN, **more})


def told(answer, asked=None, **more) -> str:
    with serving(answer) as server:
        (result,) = plain(server.url, **more).fetch([asked or query()], WINDOW)
        return result.error or ""


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"times": [1794960000], "values": [1, 2]}, "`times` finds 1 and `values` 2"),
        ({"times": [1794960000000], "values": [1]}, "no time in s since 1970"),
        ({"times": [17949600], "values": [1]}, "no time in s since 1970"),
        ({"times": [True], "values": [1]}, "no number"),
        ({"times": ["soon"], "values": [1]}, "'soon'"),
        ({"times": [1794960000], "values": ["many"]}, "no number"),
        ({"times": [1794960000], "values": [False]}, "no number"),
        ({"times": {"a": 1}, "values": [1]}, "finds no list"),
        (
            {"times": [1794960000 + 300 * k for k in range(5)], "values": [1] * 5},
            "in steps of 300 s where 60 s were asked",
        ),
    ],
)
def test_an_answer_of_another_shape_is_an_error(answer, text):
    assert text.replace("'", "") in told(answer).replace("'", "").replace('"', "")


def test_a_path_that_does_not_fit_is_told():
    assert "does not fit the answer" in told({"times": None}, times="map(&[0], times)")
    assert "`times` finds" not in told({"times": None, "values": None})  # nothing is no series


def test_nulls_are_gaps_or_zeros():
    answer = {**POINTS, "values": [4, None, 1, 3, 0, 5]}
    with serving(answer) as server:
        gap, zero = (plain(server.url, nulls=kind).fetch([query()], WINDOW)[0] for kind in ("gap", "zero"))
        assert np.isnan(minutes(gap)[2])
        assert minutes(zero)[2] == 0.0


def test_starts_ends_and_moments():
    with serving(POINTS) as server:
        start, end = (
            minutes(plain(server.url, time_is=kind).fetch([query()], WINDOW)[0])
            for kind in ("bucket_start", "bucket_end")
        )
        assert start == dict(enumerate([4.0, 7.0, 1.0, 3.0, 0.0, 5.0], 1))
        assert end == {1: 7.0, 2: 1.0, 3: 3.0, 4: 0.0, 5: 5.0, 6: 0.0}  # the first one is of the minute before


def test_levels_and_samples_stay_where_they_are():
    with serving(POINTS) as server:
        (level,) = plain(server.url).fetch([query(reading=Reading.LEVEL, part="value")], WINDOW)
        assert level.form is Form.LEVEL
        assert minutes(level) == {1: 7.0, 2: 1.0, 3: 3.0, 4: 0.0, 5: 5.0}


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
