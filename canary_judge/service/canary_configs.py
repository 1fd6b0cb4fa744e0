"""Kayenta's canary configs: those that were stored, and the configs of the folder in the same form."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from canary_judge.config.model import JudgeConfig
from canary_judge.errors import CanaryJudgeError, DataError
from canary_judge.kayenta import CanaryConfig, to_config
from canary_judge.kayenta.documents import JUDGE_NAME
from canary_judge.results import Role
from canary_judge.series import format_duration
from canary_judge.service.bands import JUDGE, settings_of
from canary_judge.service.problems import UnknownRun
from canary_judge.service.runs import Runs
from canary_judge.service.shown import shown

__all__ = ["CanaryConfigs", "Chosen", "iso", "millis"]

_NAME = re.compile(r"[\w,-]{1,200}", re.ASCII)
_JUDGES = ("", JUDGE, JUDGE_NAME, "RemoteJudge-v1.0")
_PLACE = re.compile(r"\$\{(\w+)\}")


def iso(seconds: float) -> str:
    """A moment as Kayenta writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def millis(seconds: float) -> int:
    """The same in milliseconds since the epoch."""
    return round(seconds * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A canary config, ready to judge.

    Attributes:
        id: By which it was asked for.
        document: As Kayenta has it.
        config: As we have it, without sides.
        compatible: Kayenta's own judge is wanted.
        once: A window is judged at one planned look.
        horizon: Planned length of a run of looks.
        scopes: Names of the scopes that its metrics use.
        folder: It is a config of the folder.
        notes: What had to be decided to read it.
    """

    id: str
    document: Mapping[str, Any]
    config: JudgeConfig
    compatible: bool
    once: bool
    horizon: timedelta | None
    scopes: tuple[str, ...]
    folder: bool
    notes: tuple[str, ...] = ()


class CanaryConfigs:
    """What `/kayenta/canaryConfig` lists, reads and changes."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def listed(self, application: str | None = None) -> list[dict[str, Any]]:
        """[{id, name, updatedTimestamp, updatedTimestampIso, applications}]."""
        found = []
        for name in self._runs.configs.names():
            at = self._runs.configs.changed(name)
            apps = self._applications(name)
            apps += [application] if application and application not in apps else []
            found.append(_entry(name, name, at, apps))
        for row in self._runs.store.canary_configs():
            apps = list(row["body"].get("applications") or [])
            if application is None or application in apps:
                found.append(_entry(row["id"], row["name"], row["updated"], apps))
        return found

    def _applications(self, name: str) -> list[str]:
        """A config of the folder is of every application; where one is wanted, its own names stand for it."""
        try:
            return list(dict.fromkeys([name, self._runs.configs.get(name).name]))
        except CanaryJudgeError:
            return [name]

    def document(self, identity: str) -> dict[str, Any]:
        """One of them, as Kayenta has it."""
        return dict(self.chosen(identity).document)

    def chosen(self, identity: str, *, step: timedelta | None = None) -> Chosen:
        """One of them, ready to judge.

        Args:
            identity: Its id.
            step: Length of an interval, for those that were stored: theirs is in the request.

        Raises:
            UnknownRun: There is none.
        """
        row = self._runs.store.canary_config(identity)
        if row is not None:
            return self.of(row["body"], identity=identity, step=step)
        if identity not in self._runs.configs.names():
            raise UnknownRun(f"there is no canary config {shown(identity)}")
        config = self._runs.configs.get(identity)
        at = self._runs.configs.changed(identity)
        document = _as_kayenta(identity, config, self._applications(identity), at)
        return Chosen(
            id=identity,
            document=document,
            config=config,
            compatible=False,
            once=False,
            horizon=None,
            scopes=("default",),
            folder=True,
        )

    def of(self, body: object, *, identity: str = "", step: timedelta | None = None) -> Chosen:
        """A canary config that was sent; DataError (ConfigError) says what cannot be judged in it."""
        if not isinstance(body, Mapping):
            raise DataError(f"the canary config is {shown(body)}; it must be an object")
        known = CanaryConfig.from_mapping(body)
        if known.judge not in _JUDGES:
            raise DataError(f"judge.name is {shown(known.judge)}; there are {JUDGE} and {JUDGE_NAME}")
        once, horizon = settings_of(body)
        interval = format_duration(step or timedelta(minutes=1))
        conversion = to_config(body, interval=interval)
        plain = dict(conversion.data)
        scopes = {metric.name: _scope_of(body, metric.name) for metric in known.metrics}
        plain["metrics"] = [_scoped(metric, scopes.get(metric["name"], "default")) for metric in plain["metrics"]]
        return Chosen(
            id=identity,
            document={**body, "id": identity},
            config=JudgeConfig.from_mapping(plain, name="canary config"),
            compatible=known.judge == JUDGE_NAME,
            once=once,
            horizon=horizon,
            scopes=tuple(dict.fromkeys(scopes.values())),
            folder=False,
            notes=conversion.notes,
        )

    def put(self, body: object, *, identity: str | None = None) -> str:
        """Store one, or replace it where its id is given; its id."""
        if not isinstance(body, Mapping):
            raise DataError(f"the canary config is {shown(body)}; it must be an object")
        name, applications = body.get("name"), body.get("applications")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise DataError(f"name is {shown(name)}; give letters, digits, - and _")
        if not isinstance(applications, list) or not applications or not all(isinstance(a, str) for a in applications):
            raise DataError("applications: name at least one")
        given = identity or body.get("id") or str(uuid.uuid4())
        if not isinstance(given, str) or not re.fullmatch(r"[\w.-]{1,64}", given, re.ASCII):
            raise DataError(f"id is {shown(given)}; give letters, digits, . - and _")
        if name in self._runs.configs.names() or given in self._runs.configs.names():
            raise DataError(f"{shown(name)} is a config of the service's folder; give another name")
        self.of(body, identity=given)
        now = self._runs.now().timestamp()
        stamps = {"updatedTimestamp": millis(now), "updatedTimestampIso": iso(now)}
        row = {"id": given, "name": name, "body": {**body, "id": given, **stamps}, "created": now, "updated": now}
        if self._runs.store.put_canary_config(row, new=identity is None):
            return given
        if identity is None:
            raise DataError(f"there is a canary config {shown(given)} already; replace it with PUT")
        raise UnknownRun(f"there is no canary config {shown(given)}")

    def drop(self, identity: str) -> None:
        """Forget one that was stored."""
        if identity in self._runs.configs.names():
            raise DataError(f"{shown(identity)} is a file in the service's folder; delete it there")
        if not self._runs.store.drop_canary_config(identity):
            raise UnknownRun(f"there is no canary config {shown(identity)}")


def _entry(identity: str, name: str, at: float, applications: list[str]) -> dict[str, Any]:
    stamps = {"updatedTimestamp": millis(at), "updatedTimestampIso": iso(at)}
    return {"id": identity, "name": name, **stamps, "applications": applications}


def _scope_of(body: Mapping[str, Any], name: str) -> str:
    for metric in body.get("metrics") or ():
        if isinstance(metric, Mapping) and metric.get("name") == name:
            return str(metric.get("scopeName") or "default")
    return "default"


def _scoped(metric: Mapping[str, Any], scope: str) -> dict[str, Any]:
    """The metric with the labels of its own scope, where that is not the default one."""
    if scope == "default":
        return dict(metric)
    return {**metric, "query": _PLACE.sub(lambda place: f"${{{scope}/{place[1]}}}", str(metric["query"]))}


def _as_kayenta(identity: str, config: JudgeConfig, applications: list[str], at: float) -> dict[str, Any]:
    """A config of the folder in the form that Orca, deck and scripts read."""
    weights = dict(config.groups)
    for metric in () if weights else config.metrics:
        if metric.role is not Role.WATCH:
            weights[metric.group] = weights.get(metric.group, 0.0) + metric.score_weight
    whole = sum(weights.values()) or 1.0
    return {
        "id": identity,
        "name": identity,
        "description": config.name,
        "configVersion": "1",
        "applications": applications,
        "updatedTimestamp": millis(at),
        "updatedTimestampIso": iso(at),
        "createdTimestamp": millis(at),
        "createdTimestampIso": iso(at),
        "judge": {"name": JUDGE, "judgeConfigurations": {}},
        "metrics": [
            {
                "name": metric.name,
                "query": {"type": JUDGE},
                "groups": [metric.group],
                "analysisConfigurations": {},
                "scopeName": "default",
            }
            for metric in config.metrics
        ],
        "templates": {},
        "classifier": {
            "groupWeights": {group: round(100 * weight / whole, 2) for group, weight in weights.items()},
            "scoreThresholds": {"pass": config.score.pass_, "marginal": config.score.marginal},
        },
    }
