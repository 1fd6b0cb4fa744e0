"""What a monitor keeps of each metric: the consumed intervals, and the strongest evidence so far.

Everything a later look needs is in here, so that a restart changes nothing; no interval enters twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import BeforeValidator, Discriminator, PlainSerializer, Tag, WrapSerializer

from canary_judge.arrays import Float
from canary_judge.frozen import replaced
from canary_judge.judging.assessed import Finding
from canary_judge.looks.growing import grown
from canary_judge.looks.held import Held, as_plain
from canary_judge.moments import Moments, UserMoments
from canary_judge.results import Quality, Side
from canary_judge.samples import CountData, GaugeData, MetricSamples, RawData, UserData
from canary_judge.samples.grid import HUGE
from canary_judge.series import nanoseconds
from canary_judge.stats.counts import COLUMNS, Counts

__all__ = ["EVIDENCE", "Data", "Stream", "append", "of_next_stage"]

_ROUNDED = 1e-9

# The fields of a stream that looks have made of what was read; the others are what was read.
EVIDENCE = (
    "progress",
    "scale",
    "log_e_beyond",
    "log_e_limit",
    "checks",
    "check_at",
    "checked",
    "latched",
    "held",
)


def _kind(data: object) -> object:
    return data.get("kind") if isinstance(data, dict) else type(data).__name__


# In JSON the kind of the data stands beside them.
Data = Annotated[
    Annotated[GaugeData, Tag("GaugeData")]
    | Annotated[CountData, Tag("CountData")]
    | Annotated[RawData, Tag("RawData")]
    | Annotated[UserData, Tag("UserData")],
    Discriminator(_kind),
    WrapSerializer(lambda data, plain: {"kind": _kind(data), **plain(data)}),
]


def _of_text(found: object) -> object:
    """States of before kept the reason alone."""
    return Finding(reason=found) if isinstance(found, str) else found


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """One metric over all looks so far.

    Attributes:
        data: The judged intervals, all of them.
        intervals: How many they are.
        span_baseline: Intervals since the baseline's first sample.
        span_canary: The same for the canary.
        quality: What had to be dropped, added up.
        warnings: What was said of the data, each once.
        lost: Intervals that could not be read in time.
        trouble: Why the last of them could not.
        failing: How many of them are the newest ones, in a row.
        complete: False when the source may have left data out.
        doubt: Why no canary can be found safe by the data.
        progress: By user: the most that was reached of the planned information since the weight last changed.
        scale: Information at which the mixtures are most sensitive; fixed by the first look that could tell.
        log_e_beyond: Largest log e against "harm at most the margin" of any look.
        log_e_limit: The same against "the canary keeps the limit".
        checks: Looks so far at evidence that holds at spaced looks only: of instances, and of slow series.
        check_at: Intervals at which the next of them is due.
        checked: Their last log e: harm, beyond the margin, within the margin, beyond the limit.
        latched: How the metric was found regressed; a regression stands.
        held: How it was last assessed.
    """

    data: Data | None = None
    intervals: int = 0
    span_baseline: int = 0
    span_canary: int = 0
    quality: Quality | None = None
    warnings: tuple[str, ...] = ()
    lost: int = 0
    trouble: str | None = None
    failing: int = 0
    complete: bool = True
    doubt: str | None = None
    progress: float = 0.0
    scale: float | None = None
    log_e_beyond: float = 0.0
    log_e_limit: float = 0.0
    checks: int = 0
    check_at: int = 0
    checked: tuple[float, float, float, float] | None = None
    latched: Annotated[Finding, BeforeValidator(_of_text)] | None = None
    held: Annotated[Held, PlainSerializer(as_plain)] | None = None

    def fits(self, judged: int) -> bool:
        """Whether the parts fit together, after so many judged intervals."""
        numbers = (self.scale or 1.0, self.progress, self.log_e_beyond, self.log_e_limit, *(self.checked or ()))
        if (
            self.intervals not in (0, judged)
            or not all(math.isfinite(one) for one in numbers)
            or (self.scale or 1.0) <= 0
            or not (self.held is None or self.held.fits(self.intervals))
            or not (self.quality is None or _fits(self.quality))
        ):
            return False
        match self.data:
            case CountData(counts=counts):
                columns = [getattr(counts, name) for name in COLUMNS]
                return all(one.size == self.intervals and bool((np.abs(one) < HUGE).all()) for one in columns)
            case GaugeData(baseline=baseline, canary=canary):
                return baseline.shape[1:] == canary.shape[1:] == (self.intervals,)
            case RawData() as raw:
                sides = ((raw.baseline, raw.interval_baseline), (raw.canary, raw.interval_canary))
                return all(
                    values.size == at.size
                    and bool(np.isfinite(values).all() and ((at >= 0) & (at < self.intervals)).all())
                    for values, at in sides
                )
            case UserData(baseline=baseline, canary=canary):
                return baseline.fits() and canary.fits()
        return True

    def small(self, before: Stream | None, then: dict[str, Any] | None) -> dict[str, Any]:
        """All but the data, as plain JSON values; as in `MonitorState.small`."""
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "data"}
        plain |= {name: list(plain[name]) for name in ("warnings", "checked") if plain[name] is not None}
        for name in ("quality", "latched", "held"):
            if plain[name] is None:
                continue
            same = before is not None and then is not None and getattr(before, name) is plain[name]
            plain[name] = then[name] if same and then is not None else as_plain(plain[name])
        return plain

    def with_evidence_of(self, other: Stream) -> Stream:
        """What was read of this one, with the evidence so far of another."""
        return replaced(self, **{name: getattr(other, name) for name in EVIDENCE})

    def samples(self) -> MetricSamples:
        """All judged intervals as if they had been read at once."""
        warnings = self.warnings
        if self.lost:
            warnings = (*warnings, f"{self.lost} intervals could not be read in time: {self.trouble}")
        error = self.trouble if self.data is None and self.lost else None
        quality = self.quality
        if quality is not None and quality.unread != self.failing:
            quality = replaced(quality, unread=self.failing)
        return MetricSamples(
            data=self.data,
            quality=quality,
            warnings=warnings,
            complete=self.complete,
            doubt=self.doubt,
            error=error,
        )


def _fits(quality: Quality) -> bool:
    """Whether all of it are numbers of intervals, events and shares."""
    numbers = [getattr(quality, one.name) for one in fields(quality)]
    shares = (quality.coverage_baseline, quality.coverage_canary, quality.canary_share or 0.0)
    return all(one is None or 0 <= one < HUGE for one in numbers) and all(one <= 1 + _ROUNDED for one in shares)


def of_next_stage(stream: Stream, since: datetime) -> Stream:
    """The stream of a metric by user once the weight has changed: its users are counted anew.

    What was shown stays shown, and the strongest evidence of harm stands, for each stage has a part of the error.
    """
    if not isinstance(stream.data, UserData):
        return stream
    nobody = UserMoments(whole=Moments(), since=nanoseconds(since), until=nanoseconds(since))
    return replaced(stream, data=UserData(baseline=nobody, canary=nobody), scale=None, progress=0.0, held=None)


def append(stream: Stream, new: MetricSamples, count: int) -> Stream:
    """Add the next `count` intervals; what could not be read is a gap."""
    anew = isinstance(new.data, UserData)  # each look has all of it
    added = replaced(
        stream,
        data=_join(stream.data, new.data, stream.intervals, count),
        intervals=stream.intervals + count,
        warnings=tuple(dict.fromkeys((*(() if anew else stream.warnings), *new.warnings))),
        complete=new.complete and (stream.complete or anew),
        doubt=_doubt(stream, new),
    )
    if new.error is not None:
        added = replaced(added, lost=stream.lost + count, trouble=new.error, failing=stream.failing + count)
    else:
        added = replaced(added, failing=0)
    quality = new.quality or Quality(
        coverage_baseline=0.0,
        coverage_canary=0.0,
        silent_baseline=count,
        silent_canary=count,
        late_baseline=count,
        late_canary=count,
    )
    old = stream.quality or Quality(coverage_baseline=0.0, coverage_canary=0.0)
    baseline = _Covered(old.coverage_baseline, stream.span_baseline, old.late_baseline).then(
        _Covered(quality.coverage_baseline, count - quality.late_baseline, quality.late_baseline)
    )
    canary = _Covered(old.coverage_canary, stream.span_canary, old.late_canary).then(
        _Covered(quality.coverage_canary, count - quality.late_canary, quality.late_canary)
    )
    if isinstance(added.data, RawData) and (whole := added.data.baseline.size + added.data.canary.size):
        quality = replaced(quality, canary_share=added.data.canary.size / whole)  # of all looks
    merged = replaced(
        quality if stream.quality is None else _merged(stream, stream.quality, quality, count),
        coverage_baseline=baseline.share,
        coverage_canary=canary.share,
        late_baseline=baseline.late,
        late_canary=canary.late,
    )
    return replaced(added, quality=merged, span_baseline=baseline.span, span_canary=canary.span)


class _Covered(NamedTuple):
    """How much of one side there is.

    Attributes:
        share: Of the intervals from the first one with a value on.
        span: Those intervals; 0 where nothing has a value.
        late: The intervals before.
    """

    share: float
    span: int
    late: int

    def then(self, later: _Covered) -> _Covered:
        """With the intervals that follow: what is missing before their first value is a hole once there was one."""
        if not self.span:
            return _Covered(later.share, later.span if later.share > 0 else 0, self.late + later.late)
        span = self.span + later.late + later.span
        return _Covered((self.share * self.span + later.share * later.span) / span, span, self.late)


def _merged(stream: Stream, old: Quality, new: Quality, count: int) -> Quality:
    """What was wrong so far, and now; but for what is covered."""
    # of counts the latest share: the weight may have changed
    latest = new.canary_share is not None and (old.canary_share is None or isinstance(stream.data, CountData | RawData))
    return Quality(
        coverage_baseline=new.coverage_baseline,
        coverage_canary=new.coverage_canary,
        silent_baseline=new.silent_baseline + (old.silent_baseline if new.silent_baseline >= count else 0),
        silent_canary=new.silent_canary + (old.silent_canary if new.silent_canary >= count else 0),
        resets=old.resets + new.resets,
        resets_canary=old.resets_canary + new.resets_canary,
        falls=old.falls + new.falls,
        event_series_baseline=_most(old.event_series_baseline, new.event_series_baseline),
        event_series_canary=_most(old.event_series_canary, new.event_series_canary),
        absent_events_baseline=old.absent_events_baseline + new.absent_events_baseline,
        absent_events_canary=old.absent_events_canary + new.absent_events_canary,
        zeros_written=old.zeros_written or new.zeros_written,
        lost_events_baseline=old.lost_events_baseline + new.lost_events_baseline,
        lost_events_canary=old.lost_events_canary + new.lost_events_canary,
        lost_exposure_baseline=old.lost_exposure_baseline + new.lost_exposure_baseline,
        lost_exposure_canary=old.lost_exposure_canary + new.lost_exposure_canary,
        births=old.births + new.births,
        births_dropped=old.births_dropped + new.births_dropped,
        non_finite=old.non_finite + new.non_finite,
        non_finite_canary=old.non_finite_canary + new.non_finite_canary,
        canary_share=new.canary_share if latest else old.canary_share,
        series_baseline=max(old.series_baseline, new.series_baseline),
        series_canary=max(old.series_canary, new.series_canary),
    )


def _most(old: int | None, new: int | None) -> int | None:
    """What a look could not read does not make unknown what others have read."""
    return max((one for one in (old, new) if one is not None), default=None)


# --- joining -----------------------------------------------------------------------------------------------------


def _doubt(stream: Stream, new: MetricSamples) -> str | None:
    """What is doubted: of users anew at each look, as of counts, whose doubt is of the selector and comes again."""
    if isinstance(new.data, UserData | CountData):
        return new.doubt
    return stream.doubt or new.doubt


def _join(old: Data | None, new: Data | None, before: int, count: int) -> Data | None:
    kind = type(new) if new is not None else type(old)
    if kind is GaugeData:
        return _join_gauges(_as_gauge(old, before), _as_gauge(new, count))
    if kind is CountData:
        return _join_counts(_as_counts(old, before), _as_counts(new, count))
    if kind is RawData:
        return _join_raw(old, new, before)
    if kind is UserData:
        return new if new is not None else old  # each look has all of it anew
    return None


def _as_gauge(data: Data | None, count: int) -> GaugeData:
    if isinstance(data, GaugeData):
        return data
    return GaugeData(baseline=np.full((0, count), np.nan), canary=np.full((0, count), np.nan))


def _join_gauges(old: GaugeData, new: GaugeData) -> GaugeData:
    baseline = _join_rows(
        _Rows(old.baseline, old.names_baseline, old.before_baseline),
        _Rows(new.baseline, new.names_baseline, new.before_baseline),
    )
    canary = _join_rows(
        _Rows(old.canary, old.names_canary, old.before_canary), _Rows(new.canary, new.names_canary, new.before_canary)
    )
    return GaugeData(
        baseline=baseline.values,
        canary=canary.values,
        history=old.history if old.history.size else new.history,
        simultaneous=old.simultaneous and new.simultaneous,
        names_baseline=baseline.names,
        names_canary=canary.names,
        before_baseline=baseline.before,
        before_canary=canary.before,
    )


class _Rows(NamedTuple):
    """The instances of one side: values, names and the record before the window, row by row."""

    values: Float
    names: tuple[str, ...]
    before: Float


def _join_rows(old: _Rows, new: _Rows) -> _Rows:
    """Rows of the same instance end to end; the record before the window is the one of its first look."""
    if len(old.values) == len(new.values) == 1 and old.names == new.names and not new.before.size:
        before = old.before if old.names and old.before.size else np.empty((0, 0))
        return _Rows(grown(old.values[0], new.values[0])[None], old.names, before)
    if not old.names and not new.names:
        rows = max(len(old.values), len(new.values))
        joined = np.concatenate([_or_gaps(old.values, rows), _or_gaps(new.values, rows)], axis=1)
        return _Rows(joined, (), np.empty((0, 0)))
    names = tuple(dict.fromkeys((*old.names, *new.names)))
    joined = np.concatenate([_placed(one.values, one.names, names) for one in (old, new)], axis=1)
    width = max(old.before.shape[1], new.before.shape[1])
    if not width:
        return _Rows(joined, names, np.empty((0, 0)))
    before = np.full((len(names), width), np.nan)
    for one in (new, old):
        for row, name in zip(one.before, one.names, strict=False):
            if not np.isnan(row).all():
                before[names.index(name)] = np.nan
                before[names.index(name), : row.size] = row
    return _Rows(joined, names, before)


def _or_gaps(values: Float, rows: int) -> Float:
    """The values, or gaps in all rows where nothing was read."""
    return values if len(values) == rows else np.full((rows, values.shape[1]), np.nan)


def _placed(values: Float, known: tuple[str, ...], names: tuple[str, ...]) -> Float:
    placed = np.full((len(names), values.shape[1]), np.nan)
    for row, name in zip(values, known, strict=True):
        placed[names.index(name)] = row
    return placed


def _as_counts(data: Data | None, count: int) -> CountData:
    if isinstance(data, CountData):
        return data
    return CountData(counts=Counts(**{name: np.zeros(count) for name in COLUMNS}))


def _join_counts(old: CountData, new: CountData) -> CountData:
    arrays = {name: grown(getattr(old.counts, name), getattr(new.counts, name)) for name in COLUMNS}
    instances = dict(old.instances)
    for name, (events, exposure) in new.instances.items():
        had = instances.get(name, (0.0, 0.0))
        instances[name] = (had[0] + events, had[1] + exposure)
    return CountData(counts=Counts(**arrays), instances=instances)


def _join_raw(old: Data | None, new: Data | None, before: int) -> Data | None:
    if not isinstance(new, RawData):
        return old
    places = {f"interval_{side}": getattr(new, f"interval_{side}") + before for side in Side}
    later = replaced(new, **places)
    if not isinstance(old, RawData):
        return later
    names = ("baseline", "canary", "interval_baseline", "interval_canary")
    return RawData(**{name: grown(getattr(old, name), getattr(later, name)) for name in names})
