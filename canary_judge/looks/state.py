"""What repeated looks know of the looks before, and how it survives a restart: as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from functools import cache
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, PlainSerializer, TypeAdapter, ValidationError

from canary_judge._version import __version__
from canary_judge.arrays import Float
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.looks.streams import Stream
from canary_judge.samples.grid import HUGE
from canary_judge.stats.counts import Counts
from canary_judge.wording import sides

__all__ = ["Fresh", "How", "MonitorState", "as_requests", "check_belongs", "check_config", "no_requests", "sides_of"]

Fresh = Literal["pass", "all", "none"]

_FORMAT = 3
# A state of that format does not say which versions it compares, so its file is taken on trust.
_WITHOUT_SIDES = 2
_MOST_INTERVALS = 10_000_000


def sides_of(config: JudgeConfig) -> dict[str, dict[str, str]]:
    """What tells both versions, as it stands beside a state."""
    return {"baseline": dict(config.baseline), "canary": dict(config.canary)}


def check_config(config: JudgeConfig, of: str) -> None:
    """Refuse a state of another config, given its hash."""
    if of != config.hash():
        raise DataError(
            "the monitor state belongs to another config: evidence gathered under one set of metrics, margins "
            "and rates says nothing under another. Start again without the state, or restore the config"
        )


def check_belongs(config: JudgeConfig, *, of: str, sides_then: dict[str, dict[str, str]]) -> None:
    """Refuse a state of another config, given its hash, or of other versions."""
    check_config(config, of)
    if sides_then != sides_of(config):
        raise DataError(
            f"the monitor state is of {sides(**sides_then)}, this run compares {sides(**sides_of(config))}: "
            "evidence on one version says nothing on another. Delete it to start again, or name another file"
        )


def as_requests(*, baseline: Float, canary: Float) -> Counts:
    """Requests of both sides as exposures without events."""
    nothing = np.zeros(len(baseline))
    return Counts(events_baseline=nothing, exposure_baseline=baseline, events_canary=nothing, exposure_canary=canary)


def no_requests() -> Counts:
    """None yet."""
    return as_requests(baseline=np.empty(0), canary=np.empty(0))


def _requests_from(plain: Any) -> Counts:
    baseline, canary = (np.array(side, dtype=float) for side in plain)
    return as_requests(baseline=baseline, canary=canary)


# Requests stand in JSON as two lists: the baseline's and the canary's.
_Requests = Annotated[
    Counts,
    PlainSerializer(lambda split: [split.exposure_baseline.tolist(), split.exposure_canary.tolist()]),
    BeforeValidator(_requests_from),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a look was taken.

    Attributes:
        recent: Times the margin that the newest data were asked to rule out by themselves; None: only whether they are
            worse than the margin.
        fresh: When no evidence was to be held from looks before.
        odd: The metrics whose newly read data had a fault.
    """

    recent: float | None = 2.0
    fresh: Fresh = "pass"
    odd: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class MonitorState:
    """All that repeated looks need to know of the looks before.

    Attributes:
        start: Start of the run, aligned to the interval.
        horizon: Planned length in intervals; None without one.
        consumed: Intervals consumed since the start; the watermark is `start + consumed * interval`.
        looks: Looks that consumed data.
        left_out: Intervals of the warm-up, consumed but not judged.
        warm_until: Intervals up to this one belong to the warm-up.
        weight: Percent of the traffic that the canary gets, as last told.
        split: Requests of both sides, interval by interval, since the weight last changed and had settled.
        split_from: Intervals up to this one saw the weight change, and say nothing of the split.
        acts: Judged intervals at which the weight changed.
        since: When it last changed, and had settled: from then on users are counted; None: since the start.
        stages: How many weights are planned, for the error that metrics by user share over them; None: not known.
        passed: The verdict has been pass since a look at which all was assessed.
        how: How the last look was taken.
        streams: By metric.
        config_hash: Of the config that it belongs to; None where what holds the state checks that.
    """

    start: datetime
    horizon: int | None
    consumed: int = 0
    looks: int = 0
    left_out: int = 0
    warm_until: int = 0
    weight: float | None = None
    split: _Requests = field(default_factory=no_requests)
    split_from: int = 0
    acts: tuple[int, ...] = ()
    since: datetime | None = None
    stages: int | None = None
    passed: bool = False
    how: How = How()
    streams: Mapping[str, Stream] = field(default_factory=dict)
    config_hash: str | None = None

    def watermark(self, interval: timedelta) -> datetime:
        """The end of the last consumed interval."""
        return self.start + self.consumed * interval

    def to_json(self, config: JudgeConfig) -> str:
        """The state as JSON, which only this config can take up again."""
        plain = _adapter().dump_python(self, exclude={"config_hash"})
        head = {"format": _FORMAT, "version": __version__, "config": config.hash(), "sides": sides_of(config)}
        return json.dumps({**head, **plain}, allow_nan=False, separators=(",", ":"), default=datetime.isoformat)

    @classmethod
    def from_json(cls, config: JudgeConfig, text: str | bytes) -> MonitorState:
        """The state that `to_json` wrote; DataError says what does not fit."""
        try:
            plain: dict[str, Any] = json.loads(text)
            if plain["format"] not in (_WITHOUT_SIDES, _FORMAT):
                raise DataError(
                    f"the monitor state has format {plain['format']!r}, this version reads {_WITHOUT_SIDES} and "
                    f"{_FORMAT}: delete it to start again"
                )
            if plain["format"] == _WITHOUT_SIDES:
                plain = {**plain, "sides": sides_of(config), "streams": _completed(plain["streams"])}
            check_belongs(config, of=plain["config"], sides_then=plain["sides"])
            return _adapter().validate_python({**plain, "config_hash": plain["config"]}).checked()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise DataError(f"this is no monitor state: {where}: {first['msg']}; delete it to start again") from error
        except DataError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise DataError(
                f"this is no monitor state: {type(error).__name__}: {error}; delete it to start again"
            ) from error

    def checked(self) -> MonitorState:
        """The state, whose parts fit together: a later look must not stumble over them."""
        judged = self.consumed - self.left_out
        requests = (self.split.exposure_baseline, self.split.exposure_canary)
        split = requests[0].size == requests[1].size and all(bool((np.abs(one) < HUGE).all()) for one in requests)
        fits = {
            "start": self.start.tzinfo is not None and self.start.utcoffset() is not None,
            "since": self.since is None or self.since.tzinfo is not None,
            "stages": self.stages is None or self.stages > 0,
            "horizon": self.horizon is None or 0 < self.horizon < _MOST_INTERVALS,
            "consumed": 0 <= self.left_out <= self.consumed < _MOST_INTERVALS,
            "weight": self.weight is None or 0 <= self.weight <= 100,
            "split": split,
            "acts": all(0 <= act <= judged for act in self.acts),
            **{f"streams.{name}": stream.fits(judged) for name, stream in self.streams.items()},
        }
        for name, fine in fits.items():
            if not fine:
                raise DataError(f"this is no monitor state: {name} does not fit the rest; delete it to start again")
        return self

    def small(self, before: MonitorState | None = None, then: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """All but the data and the split, as plain JSON values.

        Args:
            before: An earlier state.
            then: What this gave of it: what is the same object now is not written out again.
        """
        others = ("streams", "split", "how", "config_hash")
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in others}
        how = {"recent": self.how.recent, "fresh": self.how.fresh, "odd": list(self.how.odd)}
        past, was = (before.streams if before else {}), (then or {}).get("streams", {})
        streams = {name: one.small(past.get(name), was.get(name)) for name, one in self.streams.items()}
        since = None if self.since is None else self.since.isoformat()
        start = self.start.isoformat()
        return {**plain, "start": start, "since": since, "acts": list(self.acts), "how": how, "streams": streams}

    @classmethod
    def of_small(cls, plain: dict[str, Any]) -> MonitorState:
        """The state that `small` gave, without its data; ValueError where it is none."""
        return _adapter().validate_python(plain)


def _completed(streams: dict[str, Any]) -> dict[str, Any]:
    """Streams of format 2, whose spaced looks knew nothing of limits."""
    return {name: {**one, "checked": one["checked"] and [*one["checked"], 0.0]} for name, one in streams.items()}


@cache
def _adapter() -> TypeAdapter[MonitorState]:
    return TypeAdapter(MonitorState)
