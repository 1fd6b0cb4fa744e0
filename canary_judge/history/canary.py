"""One past canary: what it was, what was read of it, how it ended, and what is known of it since."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, cast, get_args

import numpy as np

from canary_judge._version import __version__
from canary_judge.arrays import Float
from canary_judge.config.model import JudgeConfig
from canary_judge.config.reading import nearest
from canary_judge.errors import DataError
from canary_judge.history.tape import Tape
from canary_judge.looks.streams import Data
from canary_judge.results import Judgement
from canary_judge.samples import CountData, GaugeData, RawData, UserData
from canary_judge.series import moment_from
from canary_judge.stats.counts import COLUMNS
from canary_judge.untrusted import printable

__all__ = ["EndedBy", "Label", "LabelKind", "PastCanary", "Span", "digests"]

# By so many of the newest intervals canaries are known again, where they hold more than so many different numbers.
_COMPARED, _VARIED = 20, 5
# A deploy before a canary, or an incident after it, still says something of it.
_NEAR = timedelta(days=7)
# Of a plan of so many intervals one may be missing.
_A_PLAN = 10
# Of series that take two values each, so many places are the same by no chance.
_FEW_BITS = 40
EndedBy = Literal["this judge", "another judge", "a person", "the planned end", "unknown"]
LabelKind = Literal["healthy", "bad", "unknown"]
# What the driver did is the judge's own opinion, and no truth to judge it by.
_NO_TRUTH = re.compile(r"roll(ed|ing)?[ _-]?back|\b(the|this) judge\b|canary.judge", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a canary was found to have been, afterwards.

    Attributes:
        kind: healthy, bad or unknown.
        by: Who says so, or from what it is known.
        note: In their words.
        at: When it was given, which the archive knows; None before it is in one.
    """

    kind: LabelKind = "unknown"
    by: str = ""
    note: str = ""
    at: datetime | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Refuse what is no label, and a rollback as the truth."""
        if self.kind not in get_args(LabelKind):
            raise DataError(f"label is {self.kind!r}; give one of {', '.join(get_args(LabelKind))}")
        _fit("label", self.by, self.note)
        if self.kind != "unknown" and not self.by.strip():
            raise DataError(f"label {self.kind!r} has no `by`: say who says so, or what shows it")
        if self.kind != "unknown" and _NO_TRUTH.search(self.by):
            raise DataError(
                f"label: by {self.by!r} is no truth: with it a judge is measured by its own opinion. Label what an "
                "incident, a fix or a person has shown, and leave the others unknown"
            )

    @classmethod
    def read(cls, kind: object, by: object, note: object) -> Label:
        """As it stands in an archive, maybe of another version: what is no label is unknown."""
        try:
            return cls(kind=cast("LabelKind", kind or "unknown"), by=str(by or ""), note=str(note or ""))
        except DataError:
            return cls(note=str(note or ""))


def _fit(what: str, *texts: str) -> None:
    for text in texts:
        try:
            text.encode()
        except (UnicodeEncodeError, AttributeError) as error:
            raise DataError(f"{what}: {text!r} is no text that can be kept; write it in Unicode") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A time at which something else happened: a deploy of the baseline, an incident.

    Attributes:
        what: deploy or incident, or another word.
        start: Its beginning.
        end: Its end.
        note: In somebody's words.
    """

    what: str
    start: datetime
    end: datetime
    note: str = ""

    def __post_init__(self) -> None:
        """Convert to UTC; refuse what is no time, and an end before the beginning."""
        for name in ("start", "end"):
            object.__setattr__(self, name, moment_from(getattr(self, name), f"span {name}"))
        if self.end < self.start:
            raise DataError(
                f"span {self.what!r}: ends at {self.end.isoformat()}, before it begins at {self.start.isoformat()}"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PastCanary:
    """One past canary.

    Attributes:
        id: The same for the same config, versions and start: archived again, it replaces what was there.
        config: Of its run, as JSON without sources, router and rollout; its sides are the labels of both versions.
        version: Of the library that wrote it.
        start: When its first interval began.
        end: The end of the last interval that was read.
        tape: What was read by each of its looks.
        weights: Since when the canary had how many percent of the traffic, where it is known.
        judgement: The last one, as JSON; None where it was not judged.
        did: What the controller did, in its words, as "promoted" or "rolled back".
        ended_by: Who ended it.
        ended_why: Why, in their words.
        deployment: The baseline's deployment, or set of pods: canaries that share it share their luck.
        spans: Deploys and incidents meanwhile, where they are known.
        label: What it was found to have been.
        reconstructed: Its looks were not those of a live run, but made up afterwards.
    """

    id: str
    config: str
    version: str
    start: datetime
    end: datetime
    tape: Tape
    weights: tuple[tuple[datetime, float], ...] = ()
    judgement: str | None = None
    did: str = ""
    ended_by: EndedBy = "unknown"
    ended_why: str = ""
    deployment: str = ""
    spans: tuple[Span, ...] = ()
    label: Label = field(default_factory=Label)
    reconstructed: bool = False

    def __post_init__(self) -> None:
        """Refuse what no reader would understand."""
        if self.ended_by not in get_args(EndedBy):
            raise DataError(f"ended_by is {self.ended_by!r}; give one of {', '.join(get_args(EndedBy))}")
        if not isinstance(self.label, Label):
            raise DataError(f"label is {self.label!r}; give a Label(kind='bad', by='incident 7')")
        for name, kind in (("spans", Span), ("weights", tuple)):
            given = getattr(self, name)
            if not isinstance(given, tuple) or not all(isinstance(one, kind) for one in given):
                what = "Span(what='deploy', start=..., end=...)" if kind is Span else "(moment, percent)"
                raise DataError(f"{name} is {given!r}; give a list of {what}")
        _fit("the canary", self.did, self.ended_why, self.deployment)

    @classmethod
    def of(cls, config: JudgeConfig, tape: Tape, **more: Any) -> PastCanary:
        """Of what a run consumed, and what else is known of it (the attributes of this class)."""
        state, text = tape.last, config_text(config)
        start = state.start.astimezone(UTC)
        known = {one.name for one in fields(cls)}
        if strange := [name for name in more if name not in known]:
            raise DataError(f"{strange[0]!r} is nothing that is known of a canary{nearest(strange[0], known)}")
        more |= {name: _listed(more[name]) for name in ("spans", "weights") if name in more}
        if isinstance(judgement := more.get("judgement"), Judgement):
            more["judgement"] = judgement.to_json()
        made = cls(
            **{
                "id": id_of(config, start),
                "config": text,
                "version": __version__,
                "start": start,
                "end": state.watermark(config.interval).astimezone(UTC),
                "tape": tape,
                "weights": _weights(tape, start, config.interval),
                **more,
            }
        )
        _refuse_far(made.spans, start, made.end)
        return made

    def __repr__(self) -> str:
        """Which canary, when, and what is known of it."""
        parsed = json.loads(self.config)
        what = [f"{self.start:%Y-%m-%d %H:%M}", f"{len(self.tape.lines) - 1} looks", self.label.kind]
        return f"PastCanary({self.id}, {printable(str(parsed.get('name')))!r}, {', '.join(what)})"

    @property
    def name(self) -> str:
        """Of its config: the service."""
        return _name(self.config)

    @property
    def interval(self) -> timedelta:
        """Length of an interval."""
        return self.settings().interval

    @property
    def ran_out(self) -> bool:
        """Whether it ran to its planned end: of one that somebody ended, a slower judge cannot be known."""
        horizon = self.tape.horizon
        if self.ended_by == "a person" or horizon is None:
            return self.ended_by == "the planned end"
        # the last rows of a run are often missing
        least = horizon - 1 if horizon >= _A_PLAN else horizon
        return self.end - self.start >= least * self.interval or self.ended_by == "the planned end"

    def settings(self) -> JudgeConfig:
        """Its config."""
        return _settings(self.config)

    def judged(self) -> Judgement | None:
        """The last judgement of its run; None where it was not judged."""
        return None if self.judgement is None else Judgement.from_json(self.judgement)

    def labelled(self, label: Label) -> PastCanary:
        """The same with this label."""
        return replace(self, label=label)


def _listed(given: object) -> Any:
    """A list, or what is read once, as a tuple; anything else as it is, to be refused."""
    return tuple(given) if isinstance(given, Iterable) and not isinstance(given, str | Mapping) else given


def _refuse_far(spans: Iterable[Span], start: datetime, end: datetime) -> None:
    """What happened at another time is a slip of the pen: the canary would stay among those that saw nothing."""
    for one in spans:
        if one.end < start - _NEAR or one.start > end + _NEAR:
            raise DataError(
                f"spans: {one.what} from {one.start:%Y-%m-%d %H:%M} to {one.end:%Y-%m-%d %H:%M} is far from the "
                f"canary, which served from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC; is the date right?"
            )


@lru_cache(maxsize=64)
def _name(text: str) -> str:
    return str(json.loads(text)["name"])


@lru_cache(maxsize=64)
def _settings(text: str) -> JudgeConfig:
    """Many canaries of an archive were judged by the same config."""
    return JudgeConfig.from_mapping(json.loads(text))


def config_text(config: JudgeConfig) -> str:
    """A config as it is archived: all that is judged, with both versions; nothing of where it was read or driven."""
    exclude = {"sources", "router", "rollout", "preset"}
    return json.dumps(config.model_dump(mode="json", by_alias=True, exclude=exclude), separators=(",", ":"))


def id_of(config: JudgeConfig, start: datetime) -> str:
    """By which the same canary is known again."""
    sides = {"baseline": dict(config.baseline), "canary": dict(config.canary)}
    told = json.dumps([config.name, config.hash(), sides, start.timestamp()], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:20]


def _weights(tape: Tape, start: datetime, interval: timedelta) -> tuple[tuple[datetime, float], ...]:
    """Since when each weight was in force, as the looks were told: since the end of the look before."""
    found: list[tuple[datetime, float]] = []
    since = start
    for moment, weight in tape.moments(interval):
        if weight is not None and (not found or weight != found[-1][1]):
            found.append((since, weight))
        since = moment
    return tuple(found)


def digests(canary: PastCanary) -> tuple[str, ...]:
    """By which a canary that was archived twice is known again: one of each metric, nothing of what did not vary."""
    found = []
    for name, data in sorted(canary.tape.data.items()):
        newest = [values[..., -_COMPARED:] for values in _numbers(data)]
        # many numbers, or few that come in no order of their own
        different = [_different(values) for values in newest]
        bits = _COMPARED * sum(number > 1 for number in different)
        if bits > _FEW_BITS or any(number > _VARIED for number in different):
            found.append(f"{name} {_digest(newest)}")
    if len(found) < len(canary.settings().metrics):
        for name, stream in sorted(canary.tape.last.streams.items()):
            if isinstance(stream.data, UserData):  # of which few totals say it all
                sides = stream.data.baseline.whole, stream.data.canary.whole
                if min(one.users for one in sides) > _COMPARED:
                    found.append(f"{name} {_digest([one.mean for one in sides])}")
    return tuple(found)


def _different(values: Float) -> int:
    """How many values there are, what is missing being one; of few `np.unique` takes ten times as long."""
    known = values[~np.isnan(values)]
    return len(set(known.tolist())) + (known.size < values.size)


def _digest(values: list[Float]) -> str:
    return hashlib.sha256(b"".join(one.tobytes() for one in values)).hexdigest()[:16]


def _numbers(data: Data) -> list[Float]:
    """What was read of both sides."""
    match data:
        case CountData(counts=counts):
            return [getattr(counts, name) for name in COLUMNS]
        case GaugeData(baseline=baseline, canary=canary) | RawData(baseline=baseline, canary=canary):
            return [baseline, canary]
    return []
