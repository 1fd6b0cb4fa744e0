"""What a server may answer that no server should: one message each, in time, and nothing that a terminal obeys."""

import contextlib
import gzip
import http.server
import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest

from canary_judge import JudgeConfig, Window, judge
from canary_judge import bodies as module
from canary_judge.__main__ import main
from canary_judge.errors import CanaryJudgeError, SourceUnavailable
from canary_judge.sources import PrometheusSource

CONFIG = """
name: shop
interval: 1m
baseline: {version: v1}
canary: {version: v2}
metrics:
- {name: errors, kind: ratio, events: 'e{v="${version}"}', total: 't{v="${version}"}', harm: increase, margin: 1.5x}
"""
WINDOW = Window(datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 13, tzinfo=UTC))


def matrix(series):
    return b'{"status":"success","data":{"resultType":"matrix","result":[' + series + b"]}}"


ANSWERS = {
    "metric null": matrix(b'{"metric":null,"values":[[1,"1"]]}'),
    "an infinite time": matrix(b'{"metric":{},"values":[[1e400,"1"]]}'),
    "a time of 400 digits": matrix(b'{"metric":{},"values":[[1' + b"0" * 400 + b',"1"]]}'),
    "a time of 5000 digits": matrix(b'{"metric":{},"values":[[1' + b"0" * 5000 + b',"1"]]}'),
    "a time that is text": matrix(b'{"metric":{},"values":[["noon","1"]]}'),
    "a time that is none": matrix(b'{"metric":{},"values":[[NaN,"1"]]}'),
    "half a point": matrix(b'{"metric":{},"values":[[1]]}'),
    "a point that is a mapping": matrix(b'{"metric":{},"values":[{}]}'),
    "a value that is no number": matrix(b'{"metric":{},"values":[[1767270000,"many"]]}'),
    "a value that is null": matrix(b'{"metric":{},"values":[[1767270000,null]]}'),
    "values null": matrix(b'{"metric":{},"values":null}'),
    "values that are text": matrix(b'{"metric":{},"values":"abc"}'),
    "no values": matrix(b'{"metric":{}}'),
    "a series that is text": matrix(b'"a"'),
    "a label that is a number": matrix(b'{"metric":{"a":1},"values":[[1767270000,"1"]]}'),
    "a label that is half a surrogate pair": matrix(b'{"metric":{"a":"\\ud800"},"values":[[1767270000,"1"]]}'),
    "a label that moves the cursor": matrix(b'{"metric":{"a":"\\u001b[2J\\rPASS"},"values":[[1767270000,"1"]]}'),
    "a mapping for a list": b'{"status":"success","data":{"resultType":"matrix","result":{}}}',
    "a vector": b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]}]}}',
    "2,000 brackets": b"[" * 2000 + b"]" * 2000,
    "200,000 brackets": b'{"status":' + b"[" * 200_000,
    "an error that moves the cursor": b'{"status":"error","errorType":"internal","error":"\\u001b[2J\\r\\ud800PASS"}',
    "warnings that are a number": b'{"status":"success","warnings":5,"data":{"resultType":"matrix","result":[]}}',
    "warnings that move the cursor": b'{"status":"success","warnings":["\\u001b[2J\\rPASS"],"data":{"resultType":"matrix","result":[]}}',
    "null": b"null",
    "nothing": b"",
    "rubbish": bytes(range(256)),
}


@pytest.fixture
def answering():
    """The address of a server, and what it answers."""
    said = {"body": b"", "headers": {}, "drip": 0.0}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if said["drip"]:
                with contextlib.suppress(OSError):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                    for number in range(1000):
                        self.wfile.write(b"X-%d: 1\r\n" % number)
                        time.sleep(said["drip"])
                return
            self.send_response(200)
            for name, value in {"Content-Length": len(said["body"]), **said["headers"]}.items():
                self.send_header(name, str(value))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(said["body"])

        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", said
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("kind", ANSWERS)
def test_every_answer_ends_in_one_message(answering, tmp_path, capsys, kind):
    url, said = answering
    said["body"] = ANSWERS[kind]
    file = tmp_path / "shop.yaml"
    file.write_text(CONFIG)
    span = ("--start", "2026-01-01T12:00Z", "--end", "2026-01-01T13:00Z")
    assert main(["judge", str(file), "--source", url, *span]) in (1, 3, 4)
    out = "".join(capsys.readouterr())
    assert "internal error" not in out
    assert not set(out) & set("\x1b\r\x07")
    out.encode()


def test_a_result_of_such_an_answer_is_json(answering):
    url, said = answering
    config = JudgeConfig.parse(CONFIG)
    for kind in ("a label that is half a surrogate pair", "warnings that move the cursor", "a label that is a number"):
        said["body"] = ANSWERS[kind]
        try:
            json.loads(judge(config, PrometheusSource(url), WINDOW).to_json().encode())
        except CanaryJudgeError as error:
            str(error).encode()


def test_an_answer_has_a_largest_size(answering, monkeypatch):
    """Also where it comes packed, though nobody asked for that."""
    url, said = answering
    monkeypatch.setattr(module, "_LARGEST", 1 << 20)
    said["body"] = gzip.compress(b" " * (50 << 20))
    said["headers"] = {"Content-Encoding": "gzip"}
    found = judge(JudgeConfig.parse(CONFIG), PrometheusSource(url), WINDOW).metrics[0]
    assert "its answer is larger than 1 MiB" in found.reason


def test_headers_that_drip_keep_no_process(answering):
    url, said = answering
    said["drip"] = 0.2
    script = (
        "import sys; from tests.sources.test_hostile_servers import *\n"
        "judge(JudgeConfig.parse(CONFIG), PrometheusSource(sys.argv[1], deadline=1.0, timeout=1.0), WINDOW)"
    )
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", script, url], capture_output=True, timeout=60, check=False)
    assert b"SourceUnavailable" in ended.stderr
    assert b"deadline of 1 s" in ended.stderr
    assert time.monotonic() - began < 15  # 200 s of headers were to come
    with pytest.raises(SourceUnavailable, match="deadline"):
        judge(JudgeConfig.parse(CONFIG), PrometheusSource(url, deadline=0.5, timeout=0.5), WINDOW)
