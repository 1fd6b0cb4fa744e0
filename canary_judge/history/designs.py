"""A canary that is no canary: designs that draw both sides from the baseline, each right for what it redraws.

A split keeps the moment and redraws the noise; a shift in time keeps the noise and redraws the moment. So no two
designs measure the same, none is pooled with another one, and each says what it is blind to. What is refused: thinning
recorded counts (clumps of errors fall apart), and swapping labels by interval (it measures nothing but itself).

References:
    Kuensch, H. R. (1989), doi:10.1214/aos/1176347265 (blocks of a series that follows itself).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import numpy as np

from canary_judge.arrays import Bool, Float
from canary_judge.config.metrics import GaugeMetric, Metric, RateMetric
from canary_judge.config.model import JudgeConfig
from canary_judge.history.injecting import Fault, faulty_gauges, faulty_rows
from canary_judge.judging.fetching import read
from canary_judge.results import Side
from canary_judge.samples import CountData, GaugeData, MetricSamples, RawData
from canary_judge.series import MetricSource, Query, Result, Window, by_name
from canary_judge.sources import FrameSource
from canary_judge.sources.tables import Table
from canary_judge.stats.counts import Counts

__all__ = [
    "ADJACENT",
    "BLOCKS",
    "DAY",
    "PODS",
    "POD_WINDOWS",
    "REQUESTS",
    "SMOOTH",
    "WEEK",
    "BaselineOnly",
    "Design",
    "Draw",
    "How",
    "Piece",
    "draws_of",
    "pieces_of",
]

# Intervals over which the path of one series is smoothed, and the length of the blocks in which what is left is drawn.
_SMOOTHED, _BLOCK = 9, 5
# Blocks that a window is cut into, where whole stretches of it are drawn.
_PARTS = 10
# Kinds of which each row of a table is one request, whatever its columns.
_BY_ROW = ("samples", "latency")
# So many instances more than the canary has leave a baseline to compare with.
_MORE_INSTANCES, _FEWEST_TO_DRAW = 3, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """How both sides are drawn from the baseline.

    Attributes:
        name: As it is shown.
        shows: What its alarms are about.
        blind: What it cannot see.
        routed: It draws what a router draws: its alarms can refute the declared rate.
    """

    name: str
    shows: str
    blind: str
    routed: bool = True


REQUESTS = Design(
    name="requests split", shows="noise of so small a share of the requests", blind="pods, deployment, drift"
)
# Of a table without a column of users.
REQUESTS_APART = replace(REQUESTS, blind="repeats of one user, which are taken apart; pods, deployment, drift")
PODS = Design(name="pods split", shows="how pods of one deployment differ", blind="a fresh canary's warm-up and cache")
POD_WINDOWS = Design(
    name="pod windows drawn", shows="how pods of one deployment differ", blind="a fresh canary's warm-up; few pods"
)
SMOOTH = Design(
    name="smooth + residual", shows="noise of one averaged series", blind="all that is slower, and the pods behind it"
)
DAY = Design(
    name="day before",
    shows="if the baseline were yesterday's",
    blind="pods, unequal traffic",
    routed=False,
)
WEEK = Design(
    name="week before",
    shows="if the baseline were last week's",
    blind="pods, unequal traffic",
    routed=False,
)
ADJACENT = Design(
    name="adjacent windows",
    shows="if the baseline were from the window before",
    blind="pods, unequal traffic",
    routed=False,
)
BLOCKS = Design(
    name="blocks",
    shows="how one side follows itself",
    blind="what both sides share, pods, unequal traffic, drift",
    routed=False,
)
_DAY = timedelta(days=1)
# How long before each is, and how long a past tells it from chance: three weeks of weeks.
_BEFORE = ((DAY, _DAY, _DAY), (WEEK, 7 * _DAY, 14 * _DAY))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draw:
    """One A/A canary.

    Attributes:
        design: By which it was drawn.
        samples: Of both sides.
        window: The window that was judged.
        cluster: What shares its luck with others.
        fault: The fault that was put into its canary; None of a healthy one.
    """

    design: Design
    samples: MetricSamples
    window: Window
    cluster: str
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """What is known of the baseline in one window.

    Attributes:
        window: The window.
        metrics: Of each metric the samples, in which the canary is the baseline.
        cluster: What shares its luck with others.
        tables: Sources whose single rows can be drawn apart, by the name of the source.
    """

    window: Window
    metrics: Mapping[str, MetricSamples]
    cluster: str
    tables: Mapping[str, FrameSource] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class How:
    """How canaries are drawn.

    Attributes:
        share: Of the traffic that the canary gets.
        instances: Of the canary, where instances are kept apart.
        draws: Of each window, where it can be drawn anew.
        rng: Draws them.
        faults: What is put into canaries: the first draw of each window comes again with each that it can have.
    """

    share: float
    instances: int
    draws: int
    rng: np.random.Generator
    faults: Sequence[Fault] = ()


class BaselineOnly:
    """A source in which the canary is the baseline."""

    def __init__(self, source: MetricSource) -> None:
        self._source = source

    def fetch(self, queries: Sequence[Query], window: Window) -> list[Result]:
        """Ask for the baseline, and give both sides its answer."""
        asked = [query for query in queries if query.side is Side.BASELINE]
        answers = dict(zip(((one.metric, one.part) for one in asked), self._source.fetch(asked, window), strict=True))
        return [answers[query.metric, query.part] for query in queries]


def pieces_of(
    config: JudgeConfig, source: MetricSource | Mapping[str, MetricSource], windows: Sequence[Window]
) -> Iterator[Piece]:
    """The baseline's past as a source has it.

    Args:
        config: What is compared; of the sides the baseline's labels.
        source: As for `judge`.
        windows: In order of time.
    """
    sources = by_name(source)
    only = {name: BaselineOnly(one) for name, one in sources.items()}
    tables = {name: one for name, one in sources.items() if isinstance(one, FrameSource)}
    begun = windows[0].start
    for window in windows:
        block = f"block {(window.start - begun) // window.duration}"
        yield Piece(window=window, metrics=read(config, only, window).metrics, cluster=block, tables=tables)


def draws_of(config: JudgeConfig, pieces: Iterable[Piece], how: How) -> Iterator[tuple[str, Draw]]:
    """All draws of all metrics, window by window: the name of the metric, and the draw.

    Args:
        config: What is compared.
        pieces: The baseline's past, in order of time.
        how: What is drawn.
    """
    found: dict[Window, Mapping[str, MetricSamples]] = {}
    begun: datetime | None = None
    for piece in pieces:
        window = piece.window
        begun = begun or window.start
        found[window] = piece.metrics
        before = [(ADJACENT, window.duration, window.duration), *_BEFORE]
        for metric in config.metrics:
            own = piece.metrics[metric.name]
            yield from ((metric.name, one) for one in _of_data(metric, own, piece, how))
            pairs = [
                (design, _paired(found[earlier][metric.name], own))
                for design, shift, past in before
                if (earlier := Window(window.start - shift, window.end - shift)) in found
                and window.start - begun >= past
            ]
            for design, pair in [*pairs, (BLOCKS, _in_blocks(own, how))]:
                if pair is not None:
                    yield metric.name, Draw(design=design, samples=pair, window=window, cluster=piece.cluster)
        for name, table in piece.tables.items():
            of_table = [one for one in config.metrics if one.source == name and not _by_time(one)]
            metrics = tuple(one for one in of_table if table.single_requests or one.kind in _BY_ROW)
            if metrics:
                yield from _requests(config, metrics, table, piece, how)
        for old in [one for one in found if one.start < window.start - _BEFORE[-1][1]]:
            del found[old]


def _requests(
    config: JudgeConfig, metrics: tuple[Metric, ...], table: FrameSource, piece: Piece, how: How
) -> Iterator[tuple[str, Draw]]:
    """Single requests (or their users) are drawn apart, as a router does it."""
    judged = config.model_copy(update={"metrics": metrics, "warmup": None, "history": None})
    luck = how.rng.spawn(1)[0]  # healthy draws are the same with and without faults

    def of_rows(some: Table) -> Mapping[str, MetricSamples]:
        sources = dict.fromkeys({one.source for one in metrics}, table.with_rows(some))
        return read(judged, sources, piece.window).metrics

    inside = _inside(table, piece.window) & ~table.table.canary
    rows, users = table.table.rows(inside), table.users_of_rows()
    codes = None if users is None else np.unique(users[inside], return_inverse=True)[1]
    first, design = True, REQUESTS if codes is not None else REQUESTS_APART
    for _ in range(how.draws):
        if codes is None:
            canary = how.rng.random(len(rows)) < how.share
        else:
            canary = (how.rng.random(int(codes.max(initial=-1)) + 1) < how.share)[codes]
        if not canary.any() or canary.all():
            continue
        shared: dict[str, Any] = {"design": design, "window": piece.window, "cluster": piece.cluster}
        found = of_rows(replace(rows, canary=canary))
        for metric in metrics:
            yield metric.name, Draw(samples=found[metric.name], **shared)
        for fault in how.faults if first else ():
            faulty, reached = faulty_rows(rows, canary, codes, metrics, fault, luck)
            found = of_rows(replace(faulty, canary=canary)) if reached else {}
            for name in sorted(reached):
                yield name, Draw(samples=found[name], fault=fault, **shared)
        first = False


def _by_time(metric: Metric) -> bool:
    """It is a rate by time: the canary's small share of the requests has a small rate whatever it does."""
    return isinstance(metric, RateMetric) and metric.exposure is None


def _inside(table: FrameSource, window: Window) -> Bool:
    edges = window.edges(window.duration)
    inside: Bool = (table.table.times > edges[0]) & (table.table.times <= edges[-1])
    return inside


def _of_data(metric: Metric, own: MetricSamples, piece: Piece, how: How) -> Iterator[Draw]:
    """What can be drawn from values on the grid: instances, or what one series leaves over its smooth path."""
    data = own.data
    if not isinstance(data, GaugeData) or not data.baseline.size:
        return
    if isinstance(metric, GaugeMetric) and metric.by:
        rows = data.baseline[~np.isnan(data.baseline).all(axis=1)]
        cluster = ", ".join(data.names_baseline)
        if len(rows) >= how.instances + _MORE_INSTANCES:
            design, made = PODS, partial(_pods, data, how.instances)
        elif len(rows) >= _FEWEST_TO_DRAW:
            design, made = POD_WINDOWS, partial(_pod_windows, rows, how.instances, len(rows))
        else:
            return
    else:
        series, cluster = data.baseline[0], piece.cluster
        if np.isfinite(series).sum() <= 2 * _SMOOTHED:
            return
        design, made = SMOOTH, partial(_smooth, series, how.share, data.history)
    luck = how.rng.spawn(1)[0]
    for number in range(how.draws):
        one = made(how.rng)
        shared: dict[str, Any] = {"design": design, "window": piece.window, "cluster": cluster}
        yield Draw(samples=replace(own, data=one), **shared)
        for fault in () if number else how.faults:
            faulty = faulty_gauges(one, fault, metric.harm, luck)
            if faulty is not None:
                yield Draw(samples=replace(own, data=faulty), fault=fault, **shared)


def _pods(data: GaugeData, instances: int, rng: np.random.Generator) -> GaugeData:
    """Some pods against the others of their deployment, at the same moments."""
    chosen = np.zeros(len(data.baseline), dtype=bool)
    chosen[rng.choice(chosen.size, instances, replace=False)] = True
    before = data.before_baseline if data.before_baseline.size else np.empty((len(data.baseline), 0))
    names = np.array(data.names_baseline, dtype=object)
    return GaugeData(
        baseline=data.baseline[~chosen],
        canary=data.baseline[chosen],
        names_baseline=tuple(names[~chosen]),
        names_canary=tuple(names[chosen]),
        before_baseline=before[~chosen],
        before_canary=before[chosen],
    )


def _pod_windows(rows: Float, instances: int, others: int, rng: np.random.Generator) -> GaugeData:
    """The path that pods share, and whole windows of what single pods leave over it, drawn anew."""
    path = np.nanmean(rows, axis=0)
    # k pods share one of their degrees of freedom with the path
    rest = (rows - path) * math.sqrt(len(rows) / (len(rows) - 1))
    sides = [path + rest[rng.integers(0, len(rows), size)] for size in (others, instances)]
    names = [tuple(f"{side} {number}" for number in range(len(one))) for side, one in zip("bc", sides, strict=True)]
    return GaugeData(baseline=sides[0], canary=sides[1], names_baseline=names[0], names_canary=names[1])


def _smooth(series: Float, share: float, history: Float, rng: np.random.Generator) -> GaugeData:
    """One smooth path for both sides, and blocks of what is left over it, as wide as each side's share makes it."""
    known = np.isfinite(series)
    filled = np.interp(np.arange(series.size), np.flatnonzero(known), series[known])
    half = _SMOOTHED // 2
    path = np.convolve(np.pad(filled, half, mode="edge"), np.ones(_SMOOTHED) / _SMOOTHED, "valid")
    rest = (filled - path) / math.sqrt(1 - 1 / _SMOOTHED)

    def drawn(part: float) -> Float:
        starts = rng.integers(0, series.size - _BLOCK + 1, -(-series.size // _BLOCK))
        noise = rest[(starts[:, None] + np.arange(_BLOCK)).ravel()[: series.size]]
        return np.where(known, path + noise / math.sqrt(part), np.nan)

    return GaugeData(baseline=drawn(1 - share)[None], canary=drawn(share)[None], history=history)


def _in_blocks(own: MetricSamples, how: How) -> MetricSamples | None:
    """Both sides from blocks of the baseline's intervals (Kuensch 1989), each by itself."""
    data = own.data
    if isinstance(data, GaugeData):
        size = data.baseline.shape[1]
    elif isinstance(data, CountData):
        size = data.counts.events_baseline.size
    else:
        return None
    length = max(_BLOCK, size // _PARTS)
    if size < 2 * length:
        return None
    luck = how.rng.spawn(1)[0]
    starts = luck.integers(0, size - length + 1, (2, -(-size // length)))
    b, c = ((one[:, None] + np.arange(length)).ravel()[:size] for one in starts)
    if isinstance(data, GaugeData):
        return replace(
            own, data=replace(data, baseline=data.baseline[:, b], canary=data.baseline[:, c], simultaneous=False)
        )
    counts = data.counts
    events, exposure = counts.events_baseline, counts.exposure_baseline
    drawn = Counts(
        events_baseline=events[b], exposure_baseline=exposure[b], events_canary=events[c], exposure_canary=exposure[c]
    )
    return replace(own, data=CountData(counts=drawn))


def _paired(before: MetricSamples, now: MetricSamples) -> MetricSamples | None:
    """The baseline of one window against that of another one."""
    match before.data, now.data:
        case CountData(counts=b), CountData(counts=c) if b.events_baseline.size == c.events_baseline.size:
            counts = Counts(
                events_baseline=b.events_baseline,
                exposure_baseline=b.exposure_baseline,
                events_canary=c.events_baseline,
                exposure_canary=c.exposure_baseline,
            )
            return replace(now, data=CountData(counts=counts))
        case GaugeData() as b, GaugeData() as c if b.baseline.shape[1] == c.baseline.shape[1]:
            data = GaugeData(
                baseline=b.baseline,
                canary=c.baseline,
                history=c.history,
                simultaneous=False,
                names_baseline=b.names_baseline,
                names_canary=c.names_baseline,
            )
            return replace(now, data=data)
        case RawData() as b, RawData() as c:
            data_raw = RawData(
                baseline=b.baseline,
                canary=c.baseline,
                interval_baseline=b.interval_baseline,
                interval_canary=c.interval_baseline,
            )
            return replace(now, data=data_raw)
    return None
