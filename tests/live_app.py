"""A small real HTTP app with Prometheus metrics: `python -m tests.live_app PORT ERROR_RATE MEDIAN_SECONDS SEED`.

GET / answers 200 or, at the error rate, 500; GET /metrics is scraped. The 500 label is born at the first error.
GET /fault?errors=RATE&slower=FACTOR changes both while it runs.
"""

from __future__ import annotations

import random
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest


def main() -> None:
    port, error_rate, median, seed = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    rng = random.Random(seed)
    fault = {"errors": error_rate, "slower": 1.0}
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    requests = Counter("http_requests", "Requests by code", ["code"], registry=registry)
    requests.labels("200")  # known from the first scrape on, so that its first requests are counted
    seconds = Histogram(
        "http_request_duration_seconds",
        "Duration",
        buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25),
        registry=registry,
    )

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet, or each answer waits 40 ms for an acknowledgement

        def do_GET(self):
            if self.path == "/metrics":
                self.answer(200, generate_latest(registry))
                return
            if self.path.startswith("/fault?"):
                fault.update({name: float(value) for name, value in parse_qsl(self.path.partition("?")[2])})
                self.answer(200, b"ok\n")
                return
            begin = time.perf_counter()
            time.sleep(median * fault["slower"] * rng.lognormvariate(0, 0.4))
            code = 500 if rng.random() < fault["errors"] else 200
            seconds.observe(time.perf_counter() - begin)
            requests.labels(str(code)).inc()
            self.answer(code, b"ok\n")

        def answer(self, code, body):
            self.send_response(code)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
