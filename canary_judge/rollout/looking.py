"""The looks of a rollout: what is new is read and judged, and the evidence is kept beside the journal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from canary_judge.config.model import JudgeConfig, TrafficExpectation
from canary_judge.errors import CanaryJudgeError, DataError, SourceError
from canary_judge.judging.silence import all_silent
from canary_judge.looks.log import StateLog
from canary_judge.looks.monitor import Monitor
from canary_judge.looks.state import Fresh
from canary_judge.results import Action, Judgement, TrafficSplit
from canary_judge.rollout.after import Earlier, after_config, period
from canary_judge.rollout.plan import RolloutPlan
from canary_judge.rollout.resuming import restored
from canary_judge.rollout.state import Phase, RolloutState
from canary_judge.routing import same_weight
from canary_judge.series import MetricSource

__all__ = ["Looks", "reached", "said"]

# Intervals for which a weight of somebody else's is in force before it counts as a change.
_LASTING = 2

Sources = MetricSource | Mapping[str, MetricSource]


class Looks:
    """Reads and judges.

    Args:
        config: What to compare.
        source: As for `judge`.
        plan: The stages.
        evidence: Where the evidence is kept, if anywhere.

    Attributes:
        judgement: The last one that new data gave.
        number: How many looks brought new data.
    """

    def __init__(
        self,
        config: JudgeConfig,
        source: MetricSource | Mapping[str, MetricSource],
        plan: RolloutPlan,
        evidence: Path | None,
    ) -> None:
        self._config, self._source, self._plan, self._evidence = config, source, plan, evidence
        self._monitor: Monitor | None = None
        self._log: StateLog | None = None
        self._own: dict[tuple[int, datetime, int], Monitor] = {}
        self._first: datetime | None = None
        self.judgement: Judgement | None = None
        self.number = 0

    @property
    def served(self) -> datetime | None:
        """Since when the canary serves; None before."""
        return self._first if self._monitor is None else self._monitor.start

    def begin(self, state: RolloutState) -> None:
        """A stage is reached: the canary serves since then, unless it did before."""
        self._first = self._first or state.since
        if self._monitor is None and self._plan.stages[state.stage].ahead is None:
            self._monitor = Monitor(self._config, start=state.since, stages=self._weights())

    def _weights(self) -> int:
        """How many weights the canary will be judged at."""
        return len({stage.weight for stage in self._plan.stages if 0 < stage.weight < 100 and stage.ahead is None}) or 1

    def take_up(self, state: RolloutState, served: datetime) -> str:
        """Go on with the evidence that was kept, or read it again; a word on that, or nothing."""
        self._first = served
        if self._plan.stages[max(state.stage, 0)].ahead is not None:
            return ""
        self._monitor, self._log, told = restored(self._config, self._evidence, served, stages=self._weights())
        return told

    def look(self, state: RolloutState, now: datetime, *, written: float | None = None) -> tuple[Judgement | None, str]:
        """The judgement, if there is new data; and what went wrong, or why there is none.

        Args:
            state: Of the rollout.
            now: Up to when there may be data.
            written: The weight that is written, where that is known: somebody else may have changed it.
        """
        if self.served is None or state.stage < 0:
            return None, ""
        stage = self._plan.stages[state.stage]
        last = state.stage == len(self._plan.stages) - 1
        running = state.phase is Phase.RUNNING
        apart = running and ((last and self._plan.after is not None) or stage.ahead is not None)
        weight, recent = None, self._plan.recent_of(stage)
        if apart:
            monitor, source, now = self._apart(state, now)
        else:
            self._monitor = self._monitor or Monitor(self._config, start=state.since, stages=self._weights())
            monitor, source, weight = self._monitor, self._source, state.weight
            since = state.drifted
            # what comes and goes within a moment is no weight at which something was judged
            lasts = since is not None and now - since >= _LASTING * self._config.interval
            if lasts and written is not None and not same_weight(written, weight):
                weight = written
        before = monitor.watermark
        try:
            judgement = monitor.look(
                source, now, weight=weight, weight_since=state.since, recent=recent, fresh=self._fresh(state, now)
            )
        except (SourceError, DataError) as error:
            return None, str(error)
        except Exception as error:  # noqa: BLE001  (a fault of a plug-in, or ours, must not leave the canary alone)
            return None, f"the look failed: {type(error).__name__}: {error}"
        if monitor.watermark == before:
            return None, "no interval is complete yet"
        self.judgement = judgement
        self.number += 1
        trouble = ""
        if self._evidence is not None and not apart:
            try:
                self._keep(monitor, self._evidence)
            except Exception as error:  # noqa: BLE001  (it can be read again from the source; the judgement stands)
                trouble = said(error)
        if before is not None and monitor.watermark is not None and judgement.action is not Action.ROLL_BACK:
            intervals = (monitor.watermark - before) // self._config.interval
            if all_silent(judgement, intervals):
                return None, "neither side has any value in what was read"
        return judgement, trouble

    def _keep(self, monitor: Monitor, path: Path) -> None:
        if self._log is None:
            self._log = StateLog.begun(self._config, path)
        self._log.keep(*monitor.steps)

    def close(self) -> None:
        """Let go of the evidence."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def _fresh(self, state: RolloutState, now: datetime) -> Fresh:
        """What raises the weight is assessed at the look that raises it; before it may, nothing depends on a pass."""
        if state.stage == len(self._plan.stages) - 1:
            return "pass"
        stage = self._plan.stages[state.stage]
        waits = state.paused or (stage.approval and state.approved < state.stage)
        return "none" if waits or now - state.since < self._plan.minimum_of(stage) else "all"

    def _apart(self, state: RolloutState, now: datetime) -> tuple[Monitor, Sources, datetime]:
        """For a stage whose evidence is its own: what a header or a mirror brings is no sample of the traffic.

        At 100 % there is only the baseline's past: each period of `after` is judged by itself, beside as long a time
        before the canary had everything. A new driver reads it again.

        Returns:
            The monitor, the sources, and up to when it looks.
        """
        if self._plan.stages[state.stage].ahead is not None:
            key = (state.stage, state.since, 0)
            if key not in self._own:
                # no share of it is expected, and the requests that are mirrored are those of the baseline
                config = self._config.model_copy(update={"traffic": TrafficExpectation()})
                self._own[key] = Monitor(config, start=state.since)
            return self._own[key], self._source, now
        length = period(self._plan, self._config)
        running = [number for stage, since, number in self._own if (stage, since) == (state.stage, state.since)]
        number = max(running, default=max((now - state.since) // length, 0))
        key = (state.stage, state.since, number)
        if key in self._own and self._ends(self._own[key], length):
            number = max((now - state.since) // length, number + 1)
            key = (state.stage, state.since, number)
        if key not in self._own:
            self._own[key] = Monitor(after_config(self._config), start=state.since + number * length)
        monitor = self._own[key]
        start = monitor.start or now
        return monitor, Earlier.of_all(self._source, (number + 1) * length), min(now, start + length)

    def _ends(self, monitor: Monitor, length: timedelta) -> bool:
        return (
            monitor.start is not None and monitor.watermark is not None and monitor.watermark >= monitor.start + length
        )


def reached(traffic: TrafficSplit | None, last: Judgement | None) -> str:
    """What is known of requests that reached the canary since a rollback; empty where nothing is.

    Args:
        traffic: The split since then, where both sides had requests.
        last: The last look.
    """
    if traffic is not None:
        return traffic.finding or f"no request of {traffic.requests:,.0f} reached the canary since the rollback"
    shares = () if last is None else (one.quality.canary_share for one in last.metrics if one.quality is not None)
    if 1.0 in shares:
        return "all requests that were counted last reached the canary, and none the baseline: is 0 % in force at all?"
    return ""


def said(error: Exception) -> str:
    """An error of ours by its text, any other one with its type."""
    return str(error) if isinstance(error, CanaryJudgeError) else f"{type(error).__name__}: {error}"
