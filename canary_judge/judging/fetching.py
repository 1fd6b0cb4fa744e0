"""Ask the sources, and judge a finished window: the shell around one planned look."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from canary_judge.config.model import JudgeConfig
from canary_judge.errors import ConfigError, DataError, SourceError
from canary_judge.judging.verdict import judge_samples
from canary_judge.results import Judgement
from canary_judge.samples import Samples, collect
from canary_judge.series import MetricSource, Query, Result, Window, by_name, format_duration

__all__ = ["checked", "fetch", "judge", "read"]

_NONE = object()  # where no window is asked for


def judge(config: JudgeConfig, source: MetricSource | Mapping[str, MetricSource], window: Window) -> Judgement:
    """Fetch both sides over a finished window and judge the canary at this one planned look.

    Args:
        config: What to compare, and what is tolerated.
        source: Where the metrics are: one source, or one per name used by the metrics' `source:`.
        window: The span to judge; it is aligned to the config's interval, and a `warmup` is left out at its start.

    Raises:
        ConfigError: A `${label}` is undefined, or a metric names a source that is not given.
        DataError: The window is shorter than an interval.
        SourceUnavailable: A source gave no answer at all; nothing was judged.
    """
    return judge_samples(config, read(config, source, window))


def read(config: JudgeConfig, source: MetricSource | Mapping[str, MetricSource], window: Window) -> Samples:
    """What one planned look judges: the samples of a finished window; arguments and errors as of `judge`."""
    checked(config, window)
    if config.warmup is not None:
        if window.duration <= config.warmup:
            raise DataError(
                f"the window of {format_duration(window.duration)} is no longer than the `warmup` of "
                f"{format_duration(config.warmup)}; give a longer window"
            )
        window = Window(window.start + config.warmup, window.end)
    aligned = window.aligned(config.interval)
    # users are counted to the moment: what they did before the canary was there is none of its doing
    queries = config.queries(since=window.start, start=aligned.start)
    answers = fetch(config, source, list(queries), aligned)
    if config.history is not None:
        past = Window(aligned.start - config.history, aligned.start).aligned(config.interval)
        answers += fetch(config, source, list(config.history_queries()), past)
    return collect(config, aligned, answers)


def checked(config: object, window: object = _NONE) -> None:
    """Refuse what is no config and no window."""
    if not isinstance(config, JudgeConfig):
        raise ConfigError(f"the config is {type(config).__name__}; make one with JudgeConfig.load or .from_mapping")
    if window is not _NONE and not isinstance(window, Window):
        raise DataError(f"the window is {window!r}; give a Window, as Window.last('30m') or source.window('1m')")


def fetch(
    config: JudgeConfig,
    source: MetricSource | Mapping[str, MetricSource],
    queries: Sequence[Query],
    window: Window,
) -> list[tuple[Query, Result]]:
    """Ask each query of the source that its metric names.

    Raises:
        ConfigError: A metric names a source that is not given.
        SourceUnavailable: A source gave no answer at all.
        SourceError: Its answers are not those to the queries.
    """
    sources = by_name(source)
    for given in sources.values():
        if not hasattr(given, "fetch"):
            raise DataError(
                f"the source is {type(given).__name__}, which answers no queries; wrap a table as "
                "canary_judge.sources.FrameSource(table), or give a PrometheusSource(url)"
            )
    names = {metric.name: metric.source for metric in config.metrics}
    answers: list[tuple[Query, Result]] = []
    for name in dict.fromkeys(names[query.metric] for query in queries):
        if name not in sources:
            raise ConfigError(f"source {name!r} is not given; there are {sorted(sources)}")
        asked = [query for query in queries if names[query.metric] == name]
        answers += _paired(name, asked, sources[name].fetch(asked, window))
    return answers


def _paired(name: str, asked: Sequence[Query], given: object) -> Iterator[tuple[Query, Result]]:
    """Each query with its answer; SourceError where a source breaks its contract, as plug-ins may."""
    remedy = "see canary_judge.testing.source_checks"
    if not isinstance(given, Iterable):
        raise SourceError(f"source {name!r} answered {len(asked)} queries with a {type(given).__name__}; {remedy}")
    answers = list(given)
    if len(answers) != len(asked):
        raise SourceError(f"source {name!r} gave {len(answers)} answers to {len(asked)} queries; {remedy}")
    for query, answer in zip(asked, answers, strict=True):
        if not isinstance(answer, Result):
            raise SourceError(f"source {name!r} answered {query.metric!r} with a {type(answer).__name__}; {remedy}")
        for one in answer.series:
            times, values = np.shape(one.timestamps), np.shape(one.values)
            if times != values:
                raise SourceError(
                    f"source {name!r} answered {query.metric!r} with {math.prod(times)} times and {math.prod(values)} "
                    f"values of one series; {remedy}"
                )
        yield query, answer
