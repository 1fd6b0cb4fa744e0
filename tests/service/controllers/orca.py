"""Orca's canary stage, as a client of Kayenta's."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from tests.service.controllers.api import Answer, Api
from tests.service.controllers.spinnaker import (
    HALTED,
    CanaryConfigs,
    Credentials,
    M,
    Started,
    StatusForOrca,
    read,
)


class Terminal(Exception):
    """The stage ends TERMINAL, for a reason that is no score."""


class Window(NamedTuple):
    start: datetime
    end: datetime


RETRIED = {429, *range(500, 600)}  # of a GET; a POST is not repeated
FEW_POINTS = (
    "One of the metrics returned fewer than 50 data points, which can reduce confidence in the final canary score."
)


class Orca:
    """Orca's canary stage: RunCanaryIntervals, MonitorKayentaCanary, AggregateCanaryResults.

    `run()` goes through the stage and returns "SUCCEEDED" or "TERMINAL"; afterwards `scores`, `windows`, `warnings`,
    `message`, `statuses` tell how. Time is the stage's own; `wait` is told the seconds that pass.

    Args:
        api: the service.
        application: of the pipeline.
        scopes: mappings with scopeName, controlScope, controlLocation, experimentScope, experimentLocation,
            extendedScopeParams.
        thresholds: {"pass": int, "marginal": int}.
        config_id: the stored config; None looks `config_name` up first.
        config_name: its name, which must be unique among the configs of the application.
        lifetime_minutes: of the canary; not needed with `end`.
        interval_minutes: between judgements; None, 0 or more than the lifetime is the lifetime.
        begin_after_minutes: warm-up; it shifts the windows unless `end` is given.
        lookback_minutes: above 0 the window slides, else it grows from the start.
        baseline_offset_minutes: how much earlier the control's window lies.
        start: of the first window; None takes the clock, anew for each interval.
        end: makes it retrospective: no waits between judgements.
        step: seconds.
        execution_id: of the pipeline, constant over its runs.
        metrics_account: with one, the credentials are read at each finished run.
        configuration_account: passed on.
        storage_account: passed on.
        now: the clock at the start of the stage, aware.
        wait: told the seconds that pass.
        monitor_seconds: after which a run that does not end is given up; a poll a second.
        base: path of the facade.
    """

    def __init__(
        self,
        api: Api,
        *,
        application: str,
        scopes: Sequence[Mapping[str, Any]],
        thresholds: Mapping[str, int],
        config_id: str | None = None,
        config_name: str | None = None,
        lifetime_minutes: int | None = None,
        interval_minutes: int | None = None,
        begin_after_minutes: int = 0,
        lookback_minutes: int = 0,
        baseline_offset_minutes: int = 0,
        start: datetime | None = None,
        end: datetime | None = None,
        step: int = 60,
        execution_id: str = "01PIPELINE",
        metrics_account: str | None = None,
        configuration_account: str | None = None,
        storage_account: str | None = None,
        now: datetime = datetime(2026, 1, 1, tzinfo=UTC),
        wait: Callable[[float], None] = lambda _: None,
        monitor_seconds: int = 12 * 3600,
        base: str = "/kayenta",
    ) -> None:
        if end is None and lifetime_minutes is None:
            raise ValueError("Canary stage configuration must include either `endTime` or `lifetimeDuration`.")
        self.api, self.base, self.application, self.execution_id = api, base, application, execution_id
        self.scopes, self.thresholds, self.step = list(scopes), dict(thresholds), step
        self.config_id, self.config_name = config_id, config_name
        self.lifetime_minutes, self.interval_minutes = lifetime_minutes, interval_minutes
        self.warm_up = timedelta(minutes=begin_after_minutes)
        self.lookback = timedelta(minutes=lookback_minutes)
        self.baseline_offset = timedelta(minutes=baseline_offset_minutes)
        self.start, self.end = start, end
        self.accounts = {
            "metricsAccountName": metrics_account,
            "configurationAccountName": configuration_account,
            "storageAccountName": storage_account,
        }
        self.now, self.wait, self.monitor_seconds = now, wait, monitor_seconds
        self.scores: list[int] = []
        self.windows: list[Window] = []
        self.warnings: list[str] = []
        self.statuses: list[StatusForOrca] = []
        self.message = ""

    def run(self) -> Literal["SUCCEEDED", "TERMINAL"]:
        try:
            config_id = self.config_id or self._resolved()
            self.windows = self._planned()
            if self.warm_up:
                self._pass_time(self.warm_up.total_seconds())
            for window in self.windows:
                if self.end is None:
                    self._pass_time(60 * self._minutes()[1])
                score = self._judged(config_id, window)
                self.scores.append(score)
                if score <= self.thresholds["marginal"]:  # at equality too, and nothing comes after it
                    raise Terminal("Canary score is not above the marginal score threshold.")
            return self._aggregated()
        except Terminal as reason:
            self.message = str(reason)
        except ValidationError as broken:
            self.message = f"Orca cannot read the answer: {broken}"
        return "TERMINAL"

    # ---- RunCanaryIntervals ----

    def _instant(self) -> datetime:
        """Instant.now(): never the same twice."""
        self.now += timedelta(milliseconds=1)
        return self.now

    def _minutes(self) -> tuple[int, int]:
        if self.end is None:
            lifetime = self.lifetime_minutes
        else:
            lifetime = int((self.end - (self.start or self.now)).total_seconds() // 60)
        interval = self.interval_minutes or lifetime
        return lifetime, min(interval, lifetime)

    def _planned(self) -> list[Window]:
        """All windows, before the first wait; whatever is left of the lifetime is never judged."""
        lifetime, interval = self._minutes()
        if not interval:
            raise Terminal("/ by zero")
        windows = []
        for k in range(1, lifetime // interval + 1):
            shift = self.warm_up if self.end is None else timedelta(0)
            start = (self.start or self._instant()) + shift
            end = (self.start or self._instant()) + shift + timedelta(minutes=k * interval)
            windows.append(Window(end - self.lookback if self.lookback else start, end))
        return windows

    def _request(self, window: Window) -> dict[str, Any]:
        def side(scope: Mapping[str, Any], which: str, offset: timedelta) -> dict[str, Any]:
            return {
                "scope": scope.get(f"{which}Scope"),
                "location": scope.get(f"{which}Location"),
                "start": _iso(window.start - offset),
                "end": _iso(window.end - offset),
                "step": self.step,
                "extendedScopeParams": dict(scope.get("extendedScopeParams") or {}),
            }

        return {
            "scopes": {
                scope.get("scopeName", "default"): {
                    "controlScope": side(scope, "control", self.baseline_offset),
                    "experimentScope": side(scope, "experiment", timedelta(0)),
                }
                for scope in self.scopes
            },
            "thresholds": self.thresholds,
            "siteLocal": {},
        }

    # ---- the calls ----

    def _pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.wait(seconds)

    def _given(self, **params: str | None) -> dict[str, str]:
        return {key: value for key, value in params.items() if value is not None}

    def _get(self, path: str, model: type[M], **params: str | None) -> M:
        """A GET of a task that is tried again every second on 429 and 5xx; any other refusal ends the stage."""
        for _ in range(self.monitor_seconds):
            try:
                answer = self.api("GET", f"{self.base}{path}", params=self._given(**params) or None)
            except OSError:
                answer = Answer(503, "")
            if answer.status not in RETRIED:
                return self._read(model, answer)
            self._pass_time(1)
        raise Terminal(f"{path}: no answer within {self.monitor_seconds} s")

    def _read(self, model: type[M], answer: Answer) -> M:
        if not 200 <= answer.status < 300:
            raise Terminal(f"Status: {answer.status}, {answer.text}")
        try:
            return read(model, answer)
        except ValidationError:
            raise
        except ValueError as error:
            raise Terminal(f"the answer is no JSON: {error}") from error

    def _resolved(self) -> str:
        """The config by its name: the list is asked for without parameters."""
        found = [
            entry.id
            for entry in self._get("/canaryConfig", CanaryConfigs).root
            if entry.name == self.config_name and self.application in entry.applications
        ]
        if len(found) != 1:
            how = "Found more than one" if found else "Couldn't find a"
            raise Terminal(
                f"{how} canary configId for configName {self.config_name} and application {self.application}"
            )
        return found[0]

    def _judged(self, config_id: str, window: Window) -> int:
        params = self._given(application=self.application, parentPipelineExecutionId=self.execution_id, **self.accounts)
        try:
            answer = self.api("POST", f"{self.base}/canary/{config_id}", params=params, json=self._request(window))
        except OSError as error:
            raise Terminal(str(error)) from error
        execution = self._read(Started, answer).execution_id
        for _ in range(self.monitor_seconds):
            account = self.accounts["storageAccountName"]
            status = self._get(f"/canary/{execution}", StatusForOrca, storageAccountName=account)
            if status.status == "succeeded":
                self.statuses.append(status)
                self._warn(status)
                return status.result.judgeResult.score.score
            if status.status in HALTED:
                self.statuses.append(status)
                raise Terminal(f"the canary is {status.status}: {status.exception}")
            self._pass_time(1)
        raise Terminal(f"execution {execution} did not end within {self.monitor_seconds} s")

    def _warn(self, status: StatusForOrca) -> None:
        kind = ""
        if account := self.accounts["metricsAccountName"]:
            credentials = self._get("/credentials", Credentials).root
            kind = next((credential.type for credential in credentials if credential.name == account), "")
        counts = [result.controlMetadata.stats.count for result in status.result.judgeResult.results]
        if kind != "datadog" and any(count < 50 for count in counts):
            self.warnings.append(FEW_POINTS)

    # ---- AggregateCanaryResults ----

    def _aggregated(self) -> Literal["SUCCEEDED", "TERMINAL"]:
        """The last score decides, and an undecided one (above marginal, below pass) is a failure then."""
        if not self.scores:
            raise Terminal("no judgement was made")
        final = self.scores[-1]
        if final < self.thresholds["pass"]:
            raise Terminal(f"Final canary score {final} is below the pass score threshold.")
        self.message = f"Final canary score {final} met or exceeded the pass score threshold."
        return "SUCCEEDED"


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
