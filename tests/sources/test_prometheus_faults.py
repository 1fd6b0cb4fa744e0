"""What a Prometheus in trouble does to us: an error or a metric without evidence, never a pass, never a hang."""

import socket
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import requests

from canary_judge.config.model import JudgeConfig
from canary_judge.errors import ConfigError, SourceUnavailable
from canary_judge.judging import judge
from canary_judge.results import Outcome, Side, Verdict
from canary_judge.series import Query, Reading, Window
from canary_judge.sources import PrometheusSource, from_config
from tests.sources.fault_server import Answer, serving, success

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
STEP = timedelta(seconds=15)
WINDOW = Window(START, START + 40 * STEP)


def query(expression="up", reading=Reading.LEVEL, side=Side.CANARY, **more):
    return Query(metric="m", part="value", side=side, reading=reading, expression=expression, step=STEP, **more)


def grid(request, value=1.0):
    start, end, step = (float(request.params[key]) for key in ("start", "end", "step"))
    return [[start + k * step, str(value)] for k in range(round((end - start) / step) + 1)]


def fetch_one(url, expression="up", reading=Reading.LEVEL, **options):
    return PrometheusSource(url, **options).fetch([query(expression, reading)], WINDOW)[0]


def test_an_unreachable_server_is_named_at_once():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(SourceUnavailable, match=rf"127\.0\.0\.1:{port}: cannot be reached: connection refused"):
        fetch_one(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("answer", [Answer("{}", delay=5.0), Answer("x" * 400, drip=0.05)], ids=["hangs", "drips"])
def test_a_hanging_server_costs_no_more_than_the_deadline(answer):
    with serving(lambda _: answer) as (url, seen):
        begin = time.monotonic()
        with pytest.raises(SourceUnavailable, match="no answer within 0.5 s"):
            fetch_one(url, timeout=0.5)
        assert time.monotonic() - begin < 2.0
        assert len(seen) == 1, "a read time-out must not be tried again"


def test_a_web_page_in_place_of_json_is_recognised():
    with serving(lambda _: Answer("<html>Please log in</html>", kind="text/html")) as (url, _):  # noqa: SIM117
        with pytest.raises(SourceUnavailable, match="a web page, no Prometheus API: a login"):
            fetch_one(url)


def test_status_error_with_http_200_is_an_error():
    with serving(lambda _: Answer({"status": "error", "errorType": "internal", "error": "boom"})) as (url, _):  # noqa: SIM117
        with pytest.raises(SourceUnavailable, match="internal: boom"):
            fetch_one(url)


@pytest.mark.parametrize("body", ["[]", '{"status": "success"}', "nonsense", ""])
def test_answers_without_a_result_are_errors(body):
    with serving(lambda _: Answer(body)) as (url, _):  # noqa: SIM117
        with pytest.raises(SourceUnavailable):
            fetch_one(url)


def test_bad_promql_is_an_error_of_that_query_with_its_position():
    text = '1:3: parse error: unexpected "}"'
    with serving(lambda _: Answer({"status": "error", "errorType": "bad_data", "error": text}, 400)) as (url, seen):
        result = fetch_one(url, "up}")
    assert "at character 3, before '}' (query: up})" in result.error
    assert len(seen) == 1, "a refused query must not be tried again"


@pytest.mark.parametrize("status", [429, 502, 504])
def test_a_busy_server_is_asked_again_and_the_error_text_kept(status):
    def respond(_):
        return Answer({"status": "error", "errorType": "unavailable", "error": "too busy"}, status)

    with serving(respond) as (url, seen):
        with pytest.raises(SourceUnavailable, match="too busy"):
            fetch_one(url)
        assert len(seen) == 3


def test_a_server_that_recovers_is_not_an_error():
    left = [2]

    def respond(request):
        left[0] -= 1
        return Answer("busy", 502) if left[0] >= 0 else success([{"metric": {}, "values": grid(request)}])

    with serving(respond) as (url, _):
        assert len(fetch_one(url).series) == 1


def test_retry_after_is_not_waited_for_past_the_deadline():
    busy = Answer("busy", 429, headers={"Retry-After": "3600"})
    with serving(lambda _: busy) as (url, _):
        begin = time.monotonic()
        with pytest.raises(SourceUnavailable):
            fetch_one(url, timeout=0.5)
        assert time.monotonic() - begin < 2.0


def test_a_query_timeout_is_tried_in_halves_and_its_text_kept():
    def respond(request):
        points = grid(request)
        if len(points) > 20:
            return Answer({"status": "error", "errorType": "timeout", "error": "query timed out"}, 503)
        return success([{"metric": {"a": "b"}, "values": points}])

    with serving(respond) as (url, seen):
        result = fetch_one(url)
        assert len(seen) == 3
    assert result.series[0].values.size == 40
    assert (np.diff(result.series[0].timestamps) == 15e9).all()


def test_a_query_that_always_times_out_is_an_error_not_a_pass():
    timeout = Answer({"status": "error", "errorType": "timeout", "error": "query timed out"}, 503)
    with serving(lambda _: timeout) as (url, _):
        result = fetch_one(url)
    assert "query timed out" in result.error
    assert not result.complete


def test_more_points_than_a_server_allows_are_asked_for_in_pieces():
    window = Window(START, START + 25_000 * STEP)

    def respond(request):
        points = grid(request)
        assert len(points) <= 11_000
        return success([{"metric": {"a": "b"}, "values": points}])

    with serving(respond) as (url, seen):
        result = PrometheusSource(url).fetch([query()], window)[0]
        assert len(seen) == 3
    assert result.series[0].values.size == 25_000
    assert (np.diff(result.series[0].timestamps) == 15e9).all()


def test_parameters_travel_in_the_body_and_fall_back_to_get():
    def respond(request):
        return Answer("no", 405) if request.method == "POST" else success([{"metric": {}, "values": grid(request)}])

    with serving(respond) as (url, seen):
        source = PrometheusSource(url)
        source.fetch([query()], WINDOW)
        source.fetch([query()], WINDOW)
    assert [request.method for request in seen] == ["POST", "GET", "GET"]
    assert seen[0].in_body


def test_tenant_headers_and_credentials_are_sent_and_never_shown(monkeypatch):
    monkeypatch.setenv("SECRET", "s3cret")
    with serving(lambda r: success([{"metric": {}, "values": grid(r)}])) as (url, seen):
        options = {
            "type": "prometheus",
            "url": url,
            "tenant": "shop",
            "bearer_token": "${env:SECRET}",
            "headers": {"X-More": "${env:SECRET}"},
        }
        source = from_config(options)
        result = source.fetch([query()], WINDOW)[0]
        PrometheusSource(url.replace("//", "//me:s3cret@")).fetch([query()], WINDOW)
    assert seen[0].headers["X-Scope-OrgID"] == "shop"
    assert seen[0].headers["Authorization"] == "Bearer s3cret"
    assert seen[0].headers["X-More"] == "s3cret"
    assert seen[1].headers["Authorization"].startswith("Basic ")
    assert "s3cret" not in f"{source!r} {result.provenance} {vars(source)}"


def test_any_requests_auth_object_signs_the_request():
    class Signature(requests.auth.AuthBase):
        def __call__(self, request):
            request.headers["X-Signature"] = "signed"
            return request

    with serving(lambda r: success([{"metric": {}, "values": grid(r)}])) as (url, seen):
        fetch_one(url, auth=Signature())
    assert seen[0].headers["X-Signature"] == "signed"


@pytest.mark.parametrize("status", [401, 403])
def test_refused_access_names_the_credentials(status):
    with serving(lambda _: Answer({"status": "error", "error": "who?"}, status)) as (url, _):  # noqa: SIM117
        with pytest.raises(SourceUnavailable, match="check the token"):
            fetch_one(url)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type": "prometeus"}, "did you mean 'prometheus'"),
        ({"type": "prometheus"}, "url: is missing; add it"),
        ({"type": "prometheus", "url": "localhost:9090"}, "write it as http://localhost:9090"),
        ({"type": "prometheus", "url": "http://x", "timout": 3}, "timout: unknown key; did you mean 'timeout'"),
        ({"type": "prometheus", "url": "${env:NOT_SET_ANYWHERE}"}, "NOT_SET_ANYWHERE is not set"),
        ({"type": "frame", "pth": "x"}, "pth: unknown key; did you mean 'path'"),
        ({"type": "frame", "path": "no.csv", "align": "end"}, "cannot be read"),
    ],
)
def test_a_wrong_source_section_is_explained(options, message):
    with pytest.raises(ValueError, match=message):
        from_config(options)


def test_a_wrong_password_is_not_printed_in_the_error():
    with pytest.raises(ConfigError) as caught:
        from_config({"type": "prometheus", "url": "http://x", "password": ["s3cret"]})
    assert "s3cret" not in str(caught.value)


CONFIG = JudgeConfig.parse(
    """
    name: shop
    interval: 15s
    metrics: [{name: heap, kind: gauge, query: 'heap{v="${v}"}', harm: increase, margin: 10%}]
    baseline: {v: old}
    canary: {v: new}
    """
)


def heap(request, factor=1.0):
    rng = np.random.default_rng(len(request.params["query"]) + ("new" in request.params["query"]))
    return [[when, str(100 * factor + rng.normal())] for when, _ in grid(request)]


def test_a_partial_answer_prevents_a_pass_and_a_complete_one_does_not():
    for warnings, verdict in ((), Verdict.PASS), (("partial response: store gateway gone",), Verdict.MARGINAL):
        with serving(lambda r, w=warnings: success([{"metric": {}, "values": heap(r)}], warnings=w)) as (url, _):
            judgement = judge(CONFIG, PrometheusSource(url), WINDOW)
        assert judgement.verdict is verdict
        assert judgement.sufficient is (verdict is Verdict.PASS)
    assert "partial response: store gateway gone" in judgement.explain()


def test_a_query_that_fails_on_one_side_only_leaves_an_error_of_that_metric():
    def respond(request):
        if "new" in request.params["query"]:
            return Answer({"status": "error", "errorType": "internal", "error": "shard lost"}, 500)
        return success([{"metric": {}, "values": heap(request)}])

    with serving(respond) as (url, _):
        judgement = judge(CONFIG, PrometheusSource(url), WINDOW)
    assert judgement.metrics[0].outcome is Outcome.ERROR
    assert "shard lost" in judgement.metrics[0].reason
    assert judgement.verdict is Verdict.MARGINAL


def test_a_scalar_answer_is_an_error_that_says_so():
    with serving(lambda _: success([1700000000.0, "1"], kind="scalar")) as (url, _):
        result = PrometheusSource(url).fetch([query("up", Reading.COUNTS)], WINDOW)[0]
    assert "single number" in result.error


def test_progress_is_reported():
    told = []
    with serving(lambda r: success([{"metric": {}, "values": grid(r)}])) as (url, _):
        PrometheusSource(url, progress=lambda done, total: told.append((done, total))).fetch([query()] * 3, WINDOW)
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    "warning",
    ["receive series from Addr: rpc error: code = Unavailable", "remote_read: remote server returned HTTP status 503"],
)
def test_any_warning_but_a_hint_on_the_query_prevents_a_pass(warning):
    with serving(lambda r: success([{"metric": {}, "values": heap(r)}], warnings=[warning])) as (url, _):
        assert judge(CONFIG, PrometheusSource(url), WINDOW).verdict is Verdict.MARGINAL
    hint = "PromQL info: metric might not be a counter"
    with serving(lambda r: success([{"metric": {}, "values": heap(r)}], warnings=[hint])) as (url, _):
        assert judge(CONFIG, PrometheusSource(url), WINDOW).verdict is Verdict.PASS


def test_a_partial_answer_of_victoriametrics_prevents_a_pass():
    def respond(request):
        answer = {"status": "success", "isPartial": True, "data": {"resultType": "matrix"}}
        answer["data"]["result"] = [{"metric": {}, "values": heap(request)}]
        return Answer(answer)

    with serving(respond) as (url, _):
        assert judge(CONFIG, PrometheusSource(url), WINDOW).verdict is Verdict.MARGINAL


def test_a_forgotten_label_is_not_a_comparison_of_the_baseline_with_itself():
    same = JudgeConfig.from_mapping(
        {
            "name": "c",
            "interval": "15s",
            "metrics": [{"name": "heap", "kind": "gauge", "query": "heap", "harm": "increase", "margin": "10%"}],
        }
    )
    with serving(lambda r: success([{"metric": {}, "values": heap(r)}])) as (url, _):
        result = judge(same, PrometheusSource(url), WINDOW)
    assert result.metrics[0].outcome is Outcome.ERROR
    assert "both sides ask heap" in result.metrics[0].reason


@pytest.mark.parametrize(
    "expression", ["sum(requests_total)", "rate(requests_total[1m])", "sum(increase(requests_total[5m]))"]
)
def test_counts_must_be_counters_or_increases_of_one_interval(expression):
    with serving(lambda r: success([{"metric": {}, "values": grid(r)}])) as (url, seen):
        source = PrometheusSource(url)
        refused = source.fetch([query(expression, Reading.COUNTS)], WINDOW)[0]
        assert "no bare counter selector" in refused.error
        assert not seen
        assert source.fetch([query("sum(increase(requests_total[15s]))", Reading.COUNTS)], WINDOW)[0].error is None


@pytest.mark.parametrize(
    ("expression", "refused"),
    [
        ('sum(count_over_time(r_total{code=~"5.."}[15s]))', True),
        ("count_over_time(l_seconds_bucket[15s])", True),
        ("count_over_time(active_count[15s])", False),
        ('sum(count_over_time((up{job="a[1]"} == 0)[15s:5s]))', False),
        ("count_over_time(up[15s])", False),
    ],
)
def test_scrapes_of_a_counter_are_not_what_it_counts(expression, refused):
    with serving(lambda request: success([], kind="matrix")) as (url, _):
        found = fetch_one(url, expression, Reading.COUNTS)
    assert (found.error is not None and "was scraped, and not what it counts" in found.error) == refused


@pytest.mark.parametrize("quote", ['"', "'", "`"])
def test_brackets_in_a_text_are_no_range(quote):
    with serving(lambda request: success([], kind="matrix")) as (url, _):
        found = fetch_one(url, f"sum(increase(x{{code=~{quote}5[0-9]+{quote}}}[15s]))", Reading.COUNTS)
    assert found.error is None


@pytest.mark.parametrize("result", [None, "text", [{}], [{"metric": {}, "values": [[1, "abc"]]}], [{"values": 5}]])
def test_an_answer_of_another_shape_is_an_error_of_its_query(result):
    with serving(lambda _: success(result)) as (url, _):
        assert "shape that Prometheus does not give" in fetch_one(url).error


def test_a_redirect_is_named_and_not_followed():
    def respond(request):
        return Answer("", 302, headers={"Location": "http://elsewhere.example/prom?token=s3cret"})

    with serving(respond) as (url, seen):
        with pytest.raises(SourceUnavailable, match="sends us on to http://elsewhere.example/prom") as caught:
            fetch_one(url, headers={"X-Api-Key": "s3cret"})
        assert "s3cret" not in str(caught.value)
        assert len(seen) == 1


def test_the_deadline_holds_for_halved_queries():
    timeout = Answer({"status": "error", "errorType": "timeout", "error": "query timed out"}, 503, delay=0.2)
    with serving(lambda _: timeout) as (url, _):
        begin = time.monotonic()
        with pytest.raises(SourceUnavailable):
            PrometheusSource(url, timeout=1.0).fetch([query()], WINDOW)
        assert time.monotonic() - begin < 3.0


def test_tokens_lose_their_newline_and_broken_ones_are_not_shown():
    with serving(lambda r: success([{"metric": {}, "values": grid(r)}])) as (url, seen):
        fetch_one(url, bearer_token="s3cret\n")
    assert seen[0].headers["Authorization"] == "Bearer s3cret"
    for options in ({"bearer_token": "s3\ncret"}, {"headers": {"X": "s3\ncret"}}):
        with pytest.raises(ConfigError, match="no HTTP header can carry") as caught:
            PrometheusSource("http://x", **options)
        assert "cret" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        PrometheusSource("admin:s3cret@prom:9090")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "http://x/p?tenant=a"}, "which would be lost"),
        ({"url": "http://[::1"}, "is no address"),
        ({"url": "http://x", "ca": "/nowhere.pem"}, "does not exist"),
        ({"url": "http://x", "password": "p"}, "without a `username`"),
        ({"url": ["http://x"]}, "url"),
    ],
)
def test_options_that_would_be_lost_or_fail_later_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        from_config({"type": "prometheus", **options})


def test_answers_stand_where_only_the_question_when_counters_began_takes_too_long():
    def respond(request):
        if request.params["query"].startswith("up{"):
            return Answer("{}", delay=5.0)
        if not request.params["query"].endswith("]"):
            return success([{"metric": {}, "value": [WINDOW.end.timestamp(), "10"]}], kind="vector")
        middle = WINDOW.start.timestamp() + 300
        values = [[middle + 15.0 * k, str(10.0 * k)] for k in range(10)]
        return success([{"metric": {"__name__": "hits", "instance": "a"}, "values": values}])

    with serving(respond) as (url, _):
        source = PrometheusSource(url, timeout=5.0, deadline=1.0)
        found = source.fetch([query("hits", Reading.COUNTS)], WINDOW)[0]
    assert found.error is None
    assert found.series[0].timestamps.size == 10
    assert any("it could not be told when new counters began: no answer within" in text for text in found.warnings)


def test_an_overlap_that_cannot_be_asked_for_is_told():
    def answer(request):
        if " and " in request.params["query"]:
            return Answer('{"status": "error", "errorType": "bad_data", "error": "not here"}', status=400)
        return success([{"metric": {}, "values": grid(request)}])

    queries = [
        query(f'sum(increase(r_total{{pod=~"{pod}"}}[15s]))', Reading.COUNTS, side)
        for side, pod in ((Side.BASELINE, "shop-.*"), (Side.CANARY, "shop-canary-.*"))
    ]
    with serving(answer) as (url, _):
        found = PrometheusSource(url).fetch(queries, WINDOW)
    assert all(one.error is None for one in found)
    told = "it could not be told whether both sides select the same series"
    assert all(any(told in text and "not here" in text for text in one.warnings) for one in found)


@pytest.mark.parametrize(
    ("text", "away"),
    [
        ("expanding series: rpc error: code = Unavailable desc = store away", True),
        ("query timed out: context deadline exceeded", True),
        ("multiple matches for labels: many-to-one matching must be explicit", False),
    ],
)
def test_a_store_behind_the_server_that_is_away_is_asked_again(text, away):
    """Thanos and Mimir answer with the status of a query that cannot be evaluated."""
    body = f'{{"status":"error","errorType":"execution","error":"{text}"}}'
    with serving(lambda _: Answer(body, 422)) as (url, _):
        if away:
            with pytest.raises(SourceUnavailable, match="HTTP 422, execution"):
                fetch_one(url)
        else:
            assert not fetch_one(url).temporary


def test_a_redirect_to_another_path_of_the_same_server_is_named():
    with serving(lambda _: Answer("", 302, headers={"Location": "/login?next=x"})) as (url, _):  # noqa: SIM117
        with pytest.raises(SourceUnavailable, match="sends us on to /login; use that address"):
            fetch_one(url)
