"""What tests are made of: counts, samples, configs and windows in one line each."""

from datetime import UTC, datetime, timedelta

import numpy as np

from canary_judge import JudgeConfig, Window
from canary_judge.results import Quality
from canary_judge.samples import CountData, GaugeData, MetricSamples, RawData, Samples
from canary_judge.stats.counts import COLUMNS, Counts

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
STEP = timedelta(seconds=15)
GAUGE = {"name": "m", "kind": "gauge", "query": "q", "harm": "increase", "margin": "10%"}
RATIO = {"name": "m", "kind": "ratio", "events": "e", "total": "t", "harm": "increase", "margin": "1.5x or +0.1pp"}


def config(*metrics, **more):
    """A config of these metrics with intervals of 15 s, or what else is said."""
    return JudgeConfig.from_mapping({"name": "test", "interval": "15s", "metrics": list(metrics), **more})


def window(n=60):
    """So many intervals from noon on."""
    return Window(START, START + n * STEP)


def quality(**more):
    """Nothing is missing, but for what is said."""
    return Quality(
        **{"coverage_baseline": 1.0, "coverage_canary": 1.0, "series_baseline": 1, "series_canary": 1, **more}
    )


def counts(events_baseline, exposure_baseline, events_canary, exposure_canary):
    """One number or one list each; a number stands for all intervals."""
    sides = (events_baseline, exposure_baseline, events_canary, exposure_canary)
    arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(side, dtype=float)) for side in sides))
    return Counts(**dict(zip(COLUMNS, map(np.array, arrays), strict=True)))


def counted(*sides, instances=None, **more):
    """Samples of a count; `sides` as in `counts`."""
    return MetricSamples(data=CountData(counts=counts(*sides), instances=instances or {}), quality=quality(**more))


def gauged(baseline, canary, *, history=(), **more):
    """Samples of a gauge: one row per side, or a matrix with one row per instance."""
    rows = [np.atleast_2d(np.asarray(side, dtype=float)) for side in (baseline, canary)]
    if len(rows[0]) == len(rows[1]) == 1 and rows[0].shape == rows[1].shape:  # gaps are shared, as `collect` does it
        gap = np.isnan(rows[0]) | np.isnan(rows[1])
        rows = [np.where(gap, np.nan, row) for row in rows]
    data = GaugeData(baseline=rows[0], canary=rows[1], history=np.asarray(history, dtype=float))
    return MetricSamples(data=data, quality=quality(**more))


def raw(baseline, canary, **more):
    """Samples of single values."""
    sides = (np.asarray(side, dtype=float) for side in (baseline, canary))
    return MetricSamples(data=RawData(**dict(zip(("baseline", "canary"), sides, strict=True))), quality=quality(**more))


def samples(named, n=60):
    """Samples of all metrics, of one metric `m`, over so many intervals."""
    return Samples(window=window(n), metrics=named if isinstance(named, dict) else {"m": named})
