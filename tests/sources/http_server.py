"""A server that answers what it is told to, and what is asked of it."""

import json
import re
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from canary_judge import Window
from canary_judge.config.reading import read_yaml
from canary_judge.results import Side
from canary_judge.series import Query, Reading
from canary_judge.sources.http import HttpSource

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
