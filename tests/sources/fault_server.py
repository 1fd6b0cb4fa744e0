"""A server that answers like a Prometheus in trouble; what it does is a function of the request."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Answer:
    def __init__(self, body, status=200, *, headers=(), delay=0.0, drip=0.0, kind="application/json"):
        self.body = body if isinstance(body, str) else json.dumps(body)
        self.status, self.headers, self.delay, self.drip, self.kind = status, dict(headers), delay, drip, kind


def success(result, *, warnings=(), kind="matrix"):
    answer = {"status": "success", "data": {"resultType": kind, "result": result}}
    return Answer({**answer, "warnings": list(warnings)} if warnings else answer)


class Request:
    def __init__(self, method, path, params, headers, in_body):
        self.method, self.path, self.params, self.headers, self.in_body = method, path, params, headers, in_body


@contextlib.contextmanager
def serving(respond: Callable[[Request], Answer]) -> Iterator[tuple[str, list[Request]]]:
    seen: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.answer("")

        def do_POST(self):
            self.answer(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())

        def answer(self, body):
            parts = urlsplit(self.path)
            params = {name: values[0] for name, values in parse_qs(body or parts.query).items()}
            request = Request(self.command, parts.path, params, dict(self.headers), bool(body))
            seen.append(request)
            answer = respond(request)
            time.sleep(answer.delay)
            payload = answer.body.encode()
            with contextlib.suppress(OSError):
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.kind)
                self.send_header("Content-Length", str(len(payload)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if not answer.drip:
                    self.wfile.write(payload)
                for byte in payload if answer.drip else b"":
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(answer.drip)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
