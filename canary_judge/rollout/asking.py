"""What a plan asks of its surroundings: is the canary ready for traffic, and is it still the revision that is meant?"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np

from canary_judge.config.model import JudgeConfig
from canary_judge.config.templates import render
from canary_judge.errors import ConfigError, DataError, RouterError, SourceError
from canary_judge.plugins import from_environment
from canary_judge.results import Side
from canary_judge.rollout.after import after_config
from canary_judge.rollout.plan import Ready, RolloutPlan
from canary_judge.routing import TrafficRouter
from canary_judge.series import MetricSource, Query, Reading, Window, by_name, format_duration

__all__ = ["Revision", "check_plan", "output_of", "patient", "ready_query", "refuse_hasty", "why_not_ready"]

_SECONDS = 30.0
_SHOWN = 200


def check_plan(
    plan: RolloutPlan,
    config: JudgeConfig,
    source: MetricSource | Mapping[str, MetricSource],
    router: TrafficRouter,
) -> None:
    """Refuse, before any weight is touched, what can never be asked or set.

    Raises:
        ConfigError: It says what, and the remedy.
    """
    if plan.ready is not None and plan.ready.query is not None:
        ready_query(plan.ready, config, source)
    for command in (plan.revision, None if plan.ready is None else plan.ready.command):
        from_environment(command or [], "rollout")
    if plan.after is not None:
        if plan.after < 2 * config.interval:
            raise ConfigError(f"rollout.after: is shorter than two intervals of {format_duration(config.interval)}")
        if not any(metric.role.decides for metric in after_config(config).metrics):
            raise ConfigError(
                "rollout.after: nothing could be judged at 100 %, where there is no baseline any more; give a metric a "
                "`limit`, or leave `after` out"
            )
    if any(stage.ahead for stage in plan.stages) and not getattr(router, "supports_ahead", False):
        raise ConfigError(
            "rollout.stages: this router can put no header, cookie or mirror before its weights; Istio's http routes "
            "and Gateway API's rules in a cluster can"
        )


def patient(plan: RolloutPlan, interval: timedelta) -> RolloutPlan:
    """The plan with a patience that leaves the data time to come: three intervals, or two where one was given.

    The first interval that is complete may end two intervals after a weight is in force, and its data are late.
    """
    least = (2 if "patience" in plan.model_fields_set else 3) * interval
    return plan if plan.patience >= least else plan.model_copy(update={"patience": least})


def refuse_hasty(plan: RolloutPlan, interval: timedelta) -> None:
    """Refuse a deadline at which nothing can have been judged.

    Raises:
        ConfigError: It says which.
    """
    for stage in plan.stages:
        longest = plan.maximum_of(stage)
        if longest is not None and longest < 2 * interval and stage.weight < 100:
            raise ConfigError(
                f"rollout.maximum: {format_duration(longest)} at {stage.told()} is over before there is anything to "
                f"judge of intervals of {format_duration(interval)}; give more than {format_duration(2 * interval)}"
            )


def output_of(command: Sequence[str]) -> str:
    """What a command of the plan prints, stripped.

    Raises:
        RouterError: It cannot be run, takes longer than 30 seconds, or exits with something else than 0.
    """
    try:
        words = from_environment(list(command), "rollout")
        ended = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False)  # noqa: S603  (the operator's own)
    except Exception as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise RouterError(f"{command[0]} cannot be run: {why}") from error
    text = ended.stdout.decode("utf-8", "replace").strip()
    if ended.returncode:
        said = " ".join((ended.stderr.decode("utf-8", "replace").strip() or text).split())[-_SHOWN:]
        raise RouterError(f"{command[0]} exits with {ended.returncode}{f': {said}' if said else ''}")
    return text


class Revision:
    """What is rolled out, as a command of the plan names it.

    Args:
        command: The command; None where the plan asks for none.

    Attributes:
        known: What it named first; None before it did.
        noted: Whether that is in the journal.
    """

    def __init__(self, command: Sequence[str] | None) -> None:
        self._command = command
        self.known: str | None = None
        self.noted = False
        self._told = False

    def take_up(self, known: str | None) -> None:
        """Go on with what the journal says."""
        self.known, self.noted = known, known is not None

    @property
    def unknown(self) -> bool:
        """Whether it is wanted, and was not told when it was asked last."""
        return self._command is not None and not self._told

    def changed(self) -> str:
        """Why the rollout is superseded; empty when it is not.

        Raises:
            RouterError: The command tells nothing.
        """
        if self._command is None:
            return ""
        self._told = False
        found = output_of(self._command)
        if not found:
            raise RouterError(f"{self._command[0]} prints nothing")
        self._told = True
        self.known = found if self.known is None else self.known
        return "" if found == self.known else f"superseded: {found!r} is rolled out now, {self.known!r} was judged"

    def refuse_another(self, ended: str) -> None:
        """Whoever reads that a rollout has ended well must not take it for what is rolled out now.

        Raises:
            DataError: Another revision is rolled out than the one that the journal knows, or it cannot be told.
        """
        try:
            reason = self.changed() if self.known else ""
        except RouterError as error:
            raise DataError(
                f"{ended}, and whether {self.known!r} is still rolled out cannot be told: {error}"
            ) from error
        if reason:
            raise DataError(f"{ended}: {reason}; give another journal")


def why_not_ready(
    ready: Ready, config: JudgeConfig, source: MetricSource | Mapping[str, MetricSource], now: datetime
) -> str:
    """Why the canary may not get its first traffic yet; empty when it may."""
    try:
        if ready.command is not None:
            output_of(ready.command)
            return ""
        value = _newest(ready, config, source, now)
    except (RouterError, SourceError) as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  (whatever a plug-in raises, it does not say that it is ready)
        return f"{type(error).__name__}: {error}"
    if value is None or math.isnan(value):
        return f"{ready.query} has no value"
    return "" if value > 0 else f"{ready.query} is {value:g}"


def ready_query(
    ready: Ready, config: JudgeConfig, source: MetricSource | Mapping[str, MetricSource]
) -> tuple[MetricSource, Query]:
    """The query that tells whether the canary is ready, and whom to ask.

    Raises:
        ConfigError: Its source is not given, or a label of it is undefined.
    """
    sources = by_name(source)
    if ready.source not in sources:
        raise ConfigError(
            f"rollout.ready.source: {ready.source!r} is not given; there are {', '.join(sorted(sources))}"
        )
    try:
        expression = render(ready.query or "", config.labels(Side.CANARY))
    except ValueError as error:
        raise ConfigError(f"rollout.ready.query: {error}") from error
    query = Query(
        metric="ready",
        part="value",
        side=Side.CANARY,
        reading=Reading.LEVEL,
        expression=expression,
        step=config.interval,
    )
    return sources[ready.source], query


def _newest(
    ready: Ready, config: JudgeConfig, source: MetricSource | Mapping[str, MetricSource], now: datetime
) -> float | None:
    """The least of the newest values of its series, in the last two intervals."""
    asked, query = ready_query(ready, config, source)
    (result,) = asked.fetch([query], Window(now - 2 * config.interval, now).aligned(config.interval))
    if result.error is not None:
        raise RouterError(result.error)
    values = [float(one.values[-1]) for one in result.series if one.values.size]
    return float(np.min(values)) if values else None
