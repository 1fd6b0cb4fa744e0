"""What operators see: metrics in Prometheus' text form, and one line of JSON for each event."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from canary_judge.service.looking import Told, What
from canary_judge.service.problems import StoreDown
from canary_judge.service.runs import Runs
from canary_judge.service.store import RUNNING, Run

__all__ = ["Telemetry", "log_as_json"]

_LOG = logging.getLogger("canary_judge.service")
_SCORES = {"pass": 100.0, "marginal": 50.0, "fail": 0.0}
_MOST_RUNS = 2000
# Seconds since somebody asked of a run, for its score to be told.
_LATELY = 86_400.0


class Telemetry(Collector):
    """Counts what happens, and tells how things stand when it is asked."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "canary_judge_look_seconds",
            "What a look took, with its queries.",
            ["what"],
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
            registry=self.registry,
        )
        self._looks = Counter("canary_judge_looks", "Looks by how they ended.", ["what", "end"], registry=self.registry)
        self._errors = Counter("canary_judge_source_errors", "Looks without an answer.", registry=self.registry)
        self._late = Counter("canary_judge_late_looks", "Looks later than an interval.", registry=self.registry)
        self.registry.register(self)
        runs.listeners.append(self.heard)

    def heard(self, what: str, run: Run | None, told: Told) -> None:
        """A look has ended."""
        self._seconds.labels(what).observe(told.seconds)
        self._looks.labels(what, told.what.value).inc()
        if told.what is What.UNAVAILABLE:
            self._errors.inc()
        if told.late:
            self._late.inc()
        more = {} if run is None else {"run": run.id, "key": run.key, "config": run.config_name}
        text = told.text if run is not None or told.what is not What.KEPT else ""
        ended = {"end": told.what.value, "why": text, "seconds": round(told.seconds, 4)}
        _LOG.info(what, extra={"more": {**more, **ended}})

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """How things stand."""
        queue = GaugeMetricFamily("canary_judge_queue", "Questions that are being answered.")
        queue.add_metric([], self._runs.going)
        yield queue
        score = GaugeMetricFamily(
            "canary_judge_score", "100 pass, 50 undecided, 0 fail.", labels=["config", "key", "verdict"]
        )
        running = GaugeMetricFamily("canary_judge_runs", "Runs that are running.", labels=["config"])
        try:
            runs = self._runs.store.listed(limit=_MOST_RUNS)
        except StoreDown:
            return
        numbers: dict[str, int] = {}
        seen = set()
        for run in runs:
            if run.state == RUNNING:
                numbers[run.config_name] = numbers.get(run.config_name, 0) + 1
            lately = self._runs.now().timestamp() - run.asked < _LATELY
            answer = self._runs.answer(run)
            if run.key not in seen and lately and not answer.blind:
                score.add_metric([run.config_name, run.key, answer.verdict], _SCORES[answer.verdict])
            seen.add(run.key)
        for config, number in numbers.items():
            running.add_metric([config], number)
        yield score
        yield running

    def text(self) -> bytes:
        """In Prometheus' text form."""
        return generate_latest(self.registry)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "more", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_as_json(level: str = "info") -> None:
    """Write what happens to standard error, a line of JSON each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("alembic", "uvicorn.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
