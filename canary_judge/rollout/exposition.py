"""A rollout as metrics, for a dashboard: a file for node_exporter's textfile collector, or a port (extra `metrics`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from canary_judge.errors import ConfigError, DataError
from canary_judge.results import Judgement, Outcome, Verdict
from canary_judge.rollout.events import Event, EventKind
from canary_judge.rollout.state import Phase

__all__ = ["Exposition"]

_EVIDENCE = ("effect", "log_e_harm", "log_e_beyond_margin", "log_e_within_margin")


class Exposition:
    """A callback of `Controller` that keeps what it was told as metrics of prometheus-client.

    | metric | labels | |
    |---|---|---|
    | canary_judge_weight_percent | rollout | weight in force |
    | canary_judge_phase | rollout, phase | 1 for the present one |
    | canary_judge_verdict | rollout, verdict | 1 for that of the last look |
    | canary_judge_score | rollout | 0 to 100 |
    | canary_judge_looks_total, canary_judge_troubles_total | rollout | looks with new data; what went wrong |
    | canary_judge_last_look_timestamp_seconds | rollout | when |
    | canary_judge_outcome | rollout, metric, outcome | 1 for the present one |
    | canary_judge_evidence | rollout, metric, what | effect; natural logs of the e-values |

    Args:
        name: Of the rollout, the label `rollout`.
        to: A file (whose name ends in .prom), put in its place whole at each event; or HOST:PORT, which is served
            while the process lives.

    Raises:
        ConfigError: prometheus-client is not installed, or `to` is neither.
        DataError: The port is in use.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from canary_judge import Controller, RolloutPlan
        >>> from canary_judge.testing import simulated_world
        >>> world = simulated_world(error_rate=0.005, canary_error_rate=0.05, seed=1)
        >>> path = Path(mkdtemp()) / "shop.prom"
        >>> shown = Exposition("shop", str(path))
        >>> plan = RolloutPlan(stages=[5, 100])
        >>> driver = Controller(world.config, world.source, world.router, plan, clock=world.clock, callbacks=[shown])
        >>> result = driver.run()
        >>> 'canary_judge_phase{phase="rolled_back",rollout="shop"} 1.0' in path.read_text()
        True
    """

    def __init__(self, name: str, to: str) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError as error:
            raise ConfigError(
                "metrics: prometheus-client is not installed; pip install 'canary-judge[metrics]'"
            ) from error
        self._name, self._registry = name, prometheus.CollectorRegistry()
        self._of_rollout: dict[str, Any] = {}
        for short, text in (
            ("weight_percent", "Percent of the traffic that the canary has."),
            ("score", "Score of the last look, 0 to 100."),
            ("last_look_timestamp_seconds", "When new data were judged last."),
        ):
            self._of_rollout[short] = self._gauge(prometheus, short, text)
        self._phase = self._gauge(prometheus, "phase", "Where the rollout stands.", "phase")
        self._verdict = self._gauge(prometheus, "verdict", "Of the last look.", "verdict")
        self._outcome = self._gauge(prometheus, "outcome", "Of each metric.", "metric", "outcome")
        self._evidence = self._gauge(prometheus, "evidence", "Of each metric: effect, log e-values.", "metric", "what")
        self._looks, self._troubles = (
            prometheus.Counter(f"canary_judge_{short}", text, ["rollout"], registry=self._registry).labels(name)
            for short, text in (("looks", "Looks with new data."), ("troubles", "What went wrong."))
        )
        self._put = self._destination(prometheus, to)

    def _gauge(self, prometheus: Any, short: str, text: str, *labels: str) -> Any:
        return prometheus.Gauge(f"canary_judge_{short}", text, ["rollout", *labels], registry=self._registry)

    def _destination(self, prometheus: Any, to: str) -> Callable[[], None]:
        if to.endswith(".prom"):
            return lambda: prometheus.write_to_textfile(to, self._registry)
        host, colon, port = to.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ConfigError(f"metrics: {to!r} is neither a file that ends in .prom nor HOST:PORT, as 127.0.0.1:9464")
        try:
            prometheus.start_http_server(int(port), addr=host.strip("[]") or "127.0.0.1", registry=self._registry)
        except OSError as error:
            raise DataError(f"metrics: {to} cannot be served: {error.strerror or error}") from error
        return lambda: None

    def __call__(self, event: Event) -> None:
        """Take in what an event says."""
        self._of_rollout["weight_percent"].labels(self._name).set(event.weight)
        for phase in Phase:
            self._phase.labels(self._name, phase.value).set(event.state.phase is phase)
        if event.kind is EventKind.TROUBLE:
            self._troubles.inc()
        if event.judgement is not None:
            self._looks.inc()
            self._of_rollout["last_look_timestamp_seconds"].labels(self._name).set(event.at.timestamp())
            self._judged(event.judgement)
        self._put()

    def _judged(self, judgement: Judgement) -> None:
        self._of_rollout["score"].labels(self._name).set(float("nan") if judgement.score is None else judgement.score)
        for verdict in Verdict:
            self._verdict.labels(self._name, verdict.value).set(judgement.verdict is verdict)
        for metric in judgement.metrics:
            for outcome in Outcome:
                self._outcome.labels(self._name, metric.name, outcome.value).set(metric.outcome is outcome)
            for what in _EVIDENCE:
                value = getattr(metric.comparison, what, None)
                self._evidence.labels(self._name, metric.name, what).set(float("nan") if value is None else value)
