"""Watching a canary that has all of the traffic: there is no baseline beside it any more, only the baseline's past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from canary_judge.config.metrics import Metric, RateMetric
from canary_judge.config.model import JudgeConfig
from canary_judge.config.units import wider_margin
from canary_judge.results import Role, Side
from canary_judge.rollout.plan import RolloutPlan
from canary_judge.series import MetricSource, Query, Result, Series, Window, format_duration

__all__ = ["Earlier", "after_config", "period", "told"]

# Another hour has other traffic: what differs by less than this many margins may be the hour's.
_WIDER = 2.0


def _comparable(metric: Metric) -> bool:
    """Whether the past says what is normal: shares of requests do, levels follow the traffic, which has grown."""
    if metric.per_user() is not None:
        return False  # the same users were there before
    return metric.is_proportion or (isinstance(metric, RateMetric) and metric.exposure is not None)


def after_config(config: JudgeConfig) -> JudgeConfig:
    """What is judged at 100 %: limits, and shares of requests at twice their margin; the rest is only shown."""
    metrics = []
    for metric in config.metrics:
        margin = metric.margin if _comparable(metric) else None
        if margin is not None:
            margin = wider_margin(margin, _WIDER, harm=metric.harm)
        role = metric.role if margin is not None or metric.limit is not None else Role.WATCH
        metrics.append(metric.model_copy(update={"margin": margin, "role": role, "required": False}))
    return config.model_copy(update={"metrics": tuple(metrics), "traffic": None, "history": None, "warmup": None})


def period(plan: RolloutPlan, config: JudgeConfig) -> timedelta:
    """The length of the watch in whole intervals."""
    assert plan.after is not None  # noqa: S101
    return -(-plan.after // config.interval) * config.interval


def told(config: JudgeConfig, length: timedelta) -> str:
    """What will be watched at 100 %, in words."""
    judged = after_config(config).metrics
    past = [metric.name for metric in judged if metric.margin is not None]
    limits = [metric.name for metric in judged if metric.limit is not None]
    rest = [metric.name for metric in judged if metric.margin is None and metric.limit is None]
    parts = [
        f"{', '.join(past)} against the baseline's last {format_duration(length)}, at twice the margin" if past else "",
        f"{', '.join(limits)} by limit" if limits else "",
        f"not {', '.join(rest)}, which need a `limit` for that" if rest else "",
    ]
    return f"at 100 % watched for {format_duration(length)}: {'; '.join(part for part in parts if part)}"


class Earlier:
    """A source whose baseline is that of an earlier time.

    Args:
        source: The source.
        by: How much earlier; whole intervals.
    """

    def __init__(self, source: MetricSource, by: timedelta) -> None:
        self._source, self._by = source, by

    @classmethod
    def of_all(
        cls, source: MetricSource | Mapping[str, MetricSource], by: timedelta
    ) -> MetricSource | Mapping[str, MetricSource]:
        """The same of each source of a mapping."""
        if isinstance(source, Mapping):
            return {name: cls(one, by) for name, one in source.items()}
        return cls(source, by)

    def fetch(self, queries: Sequence[Query], window: Window) -> list[Result]:
        """The canary's queries as they are, the baseline's of the earlier window."""
        found: dict[int, Result] = {}
        for side, moved in ((Side.CANARY, timedelta(0)), (Side.BASELINE, self._by)):
            asked = [index for index, query in enumerate(queries) if query.side is side]
            if not asked:
                continue
            then = Window(window.start - moved, window.end - moved)
            answers = self._source.fetch([queries[index] for index in asked], then)
            found |= zip(asked, (_later(one, moved) for one in answers), strict=True)
        return [found[index] for index in range(len(queries))]


def _later(result: Result, by: timedelta) -> Result:
    if not by:
        return result
    shift = round(by / timedelta(microseconds=1)) * 1000

    def moved(one: Series) -> Series:
        return replace(
            one,
            timestamps=one.timestamps + shift,
            zero_at=None if one.zero_at is None else one.zero_at + shift,
            began_at=None if one.began_at is None else one.began_at + shift,
        )

    return replace(result, series=tuple(moved(one) for one in result.series), simultaneous=False)
