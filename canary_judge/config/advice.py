"""What is likely to be wrong with a config, before it costs a canary: the wrong metrics, margins and weights.

References:
    Beyer, B. et al. (2016), *Site Reliability Engineering*, chapter 6 (latency, traffic, errors, saturation).
    Davidovic, S. & Beyer, B. (2018), doi:10.1145/3190566 (canary metrics that mislead).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from canary_judge.config.metrics import GaugeMetric, LatencyMetric, RateMetric, RatioMetric, SamplesMetric
from canary_judge.results import Harm, Role
from canary_judge.series import format_duration, parse_duration
from canary_judge.stats.sample_sizes import rate_ratio_events

if TYPE_CHECKING:
    from canary_judge.config.metrics import Metric
    from canary_judge.config.model import JudgeConfig

__all__ = ["PLACEHOLDER", "Advice", "AdviceList", "advise"]

# In place of a query that somebody has to write.
PLACEHOLDER = "CHANGE_ME_"

_LATENCY = re.compile(r"latenc|duration|response_time|_seconds|_ms\b|slow", re.IGNORECASE)
# What more of is bad, and what less of; and counts, unless they are shares or of one request each.
_BAD = re.compile(
    r"error|fail|5xx|latenc|timeout|exception|crash|reject|\bp9\d|\bun(avail|success)|cancel|duplic|backlog|refund|gap|"
    r"cost|abandon|time.to|skip|(?<![a-z])hid(e|den)|complain|unsubscri|buffering|rebuffer|bounce|churn|dislike|"
    r"dissatisf|disengag|thumbs?.?down|accidental|rage.?click|negative.?(feedback|review|rating)|unfollow|not.?interested|"
    r"(?<![a-z])(muted?|mutes|unlikes|blocks.(per|by).user|(abuse|spam).reports)(?![a-z])|"
    r"(?<![a-z0-9])[45]\d\ds?(?![a-z0-9])|4xx|(?<![a-z])slow|response.?time|"
    r"(?<!session)(?<!session.)(?<!sessions.)(?<!watch)(?<!watch.)(?<!view)(?<!visit)(?<!visit.)(?<!stay)duration|"
    r"(?<![a-z])(memory|heap|restarts?|oom|oom.?kill(s|ed)?|panics?|lag|queue.?(depth|length|size)|wait|faults?|retries|dropped|"
    r"throttled|saturation|ttfb|deadlocks?|gc.?pauses?)(?![a-z])",
    re.IGNORECASE,
)
_GOOD = re.compile(
    r"\bsuccess|\bavailab|uptime|conversion|click.?through|revenue|orders?\b|budget|handled|free|non-|within|under|"
    r"complian|slo\b|in.?time|capacity|idle|headroom|remaining|efficien|apdex|(?<![a-z0-9])2(xx|00s?)(?![a-z0-9])",
    re.IGNORECASE,
)
# What a business wants, by its usual names; and words of the machines that have such names, too.
_WANTED = re.compile(
    r"(?<![a-z])(engagement|satisfaction|ratings?|stars|likes|ctr|nps|csat|reshares)(?![a-z])|play.?rate|"
    r"click.?(rate|share)|thumbs?.?up|^(shares|comments|saves|follows|plays)( per .*)?$|completion.?rate|"
    r"(?<![a-z])(dwell|viewing|session).?time|^time.?spent( per .*)?$|"
    r"^retention$|(user|customer|viewer).?retention|retention.?rate|watch.?time|listening.?time|"
    r"(minutes|hours).?(watched|listened|played)|"
    r"(?<![a-z])(clicks|purchases|sales|payments|sign.?ups|bookings|registrations|checkouts|downloads|installs|"
    r"logins|subscriptions|gmv|page.?views|video.?views|add.?to.?cart)(?![a-z])|^(throughput|goodput)$|"
    r"hit.?(rate|ratio)|cache.?hits",
    re.IGNORECASE,
)
_MACHINES = re.compile(
    r"lag|drop|overflow|queue|backlog|lost|stale|behind|sync|bytes|connection|breaker|throttl|etcd|kafka|keys|db|prompt",
    re.IGNORECASE,
)
_COUNTED = re.compile(r"errors?|requests?|failures?|crash|orders?|clicks|5xx", re.IGNORECASE)
_SHARED = re.compile(
    r"rate|ratio|share|percent|%|per (?!second|minute|hour)|latenc|duration|time|size|budget|memory|cpu|free|queue|"
    r"length",
    re.IGNORECASE,
)
_RANGE = re.compile(r"\[(\d+(?:ms|s|m|h|d))(?::[^\]]*)?\]")
# More canary events than this is more than most canaries see in a day.
_MORE_THAN_A_DAY = 5000.0
_FEW_METRICS = 4
# So often a second, once a minute, an event of which one is afraid does not happen.
_OFTEN = 1 / 60
# A fall by more than this is seldom meant to be tolerated.
_MOST_OF_IT = 0.5
# What users do of what they like, as columns of it are called.
_LIKED = re.compile(r"(user_)?(clicks|clicked|likes|liked|shares|shared|follows|plays|played|watched|rating|stars)")
# Of which one asks the mean, and not the sum.
_AVERAGED = re.compile(
    r"((mean|average|avg)[ _])?(rating|stars|satisfaction|nps|csat)([ _](score|value))?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One thing to think about.

    Attributes:
        code: A short name, for filters.
        metric: The metric it is about; None for the config as a whole.
        text: What is wrong, and what to do.
    """

    code: str
    metric: str | None
    text: str

    def __str__(self) -> str:
        return self.text if self.metric is None else f"{self.metric}: {self.text}"


class AdviceList(tuple[Advice, ...]):
    """Pieces of advice: a tuple that is read as lines, and as a list in a notebook."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(f"- {one} [{one.code}]" for one in self) or "nothing to advise"

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{html.escape(str(one))} <code>{html.escape(one.code)}</code></li>" for one in self)
        return f"<ul style='margin:0;color:inherit'>{items}</ul>" if items else "<i>nothing to advise</i>"


def advise(config: JudgeConfig) -> AdviceList:
    """Warnings on a config; what only the data can tell (traffic, dependence) is in `plan` and in the judgement.

    Examples:
        >>> from canary_judge import JudgeConfig
        >>> config = JudgeConfig.from_mapping({
        ...     "name": "shop", "interval": "15s", "metrics": [
        ...         {"name": "p99", "kind": "gauge", "harm": "increase", "margin": "10%",
        ...          "query": "histogram_quantile(0.99, sum by (le) (rate(request_seconds_bucket[1m])))"}]})
        >>> [advice.code for advice in advise(config)]
        ['no-business-metric', 'quantile-gauge']
    """
    found = [Advice(code=code, metric=None, text=text) for code, text in _of_the_whole(config)]
    for metric in config.metrics:
        found += [Advice(code=code, metric=metric.name, text=text) for code, text in _of_one(config, metric)]
    return AdviceList(found)


def _of_the_whole(config: JudgeConfig) -> Iterator[tuple[str, str]]:
    judged = [metric for metric in config.metrics if metric.role is not Role.WATCH]
    if not any(metric.business for metric in judged):
        yield "no-business-metric", "no metric is marked `business: true`: a canary that loses orders would not be seen"
    if judged and all(_counts_errors(metric) for metric in judged):
        yield (
            "only-errors",
            (
                "only errors are judged: a canary that answers slowly, or answers rubbish with a 200, would pass; "
                "add a latency, a saturation and a business metric"
            ),
        )
    elif not any(_is_latency(metric) for metric in judged):
        yield (
            "no-latency-metric",
            "no latency is judged: add `kind: latency`, the share of requests slower than a bound",
        )
    if len(judged) > _FEW_METRICS and len({metric.group for metric in judged}) == 1:
        yield (
            "one-group",
            (
                f"{len(judged)} metrics are in one group: the most frequent kind decides the score; give each kind "
                "its `group` and the groups a weight"
            ),
        )
    if config.traffic is None and (by_user := [m.name for m in judged if m.per_user() is not None]):
        yield (
            "users-without-weight",
            (
                f"{', '.join(by_user[:3])}: without `traffic: {{weight: ...}}` (or a weight that a monitor or a "
                "rollout knows) it is not seen that users are missing on the canary, as when it crashes at its start"
            ),
        )
    levels = [m.name for m in judged if isinstance(m, GaugeMetric) and m.request_statistic() == "level"]
    fresh = any("baseline" in text.lower() for text in (*config.baseline.values(), *config.baseline.keys()))
    if levels and config.baseline and not fresh:
        yield (
            "old-fleet",
            (
                f"{', '.join(levels[:3])}: if the baseline is the old fleet, its caches are warm and it has been "
                "running for longer; compare with a fresh baseline: the old version, started together with the canary"
            ),
        )


def _of_one(config: JudgeConfig, metric: Metric) -> Iterator[tuple[str, str]]:
    if isinstance(metric, GaugeMetric):
        yield from _of_gauge(config, metric)
    if (odd := _other_harm(metric)) is not None:
        yield "harm-direction", odd
    yield from _of_limit(metric)
    texts = [text if isinstance(text, str) else text.canary for _, text in metric.texts().values()]
    if any(PLACEHOLDER in text for text in texts):
        yield "placeholder", f"{PLACEHOLDER}... stands for a query that could not be carried over; write it"
    if isinstance(metric, RatioMetric | RateMetric) and any(
        re.search(r"\b(increase|i?rate)\(", text) for text in texts
    ):
        yield (
            "increase-of-counter",
            (
                "increase() and rate() lose the first events of a series born in the window: a canary's "
                "first errors; give the bare counter"
            ),
        )
    for text in texts:
        for found in _RANGE.findall(text):
            if parse_duration(found) < config.interval:
                yield (
                    "short-range",
                    (
                        f"[{found}] is shorter than the interval of {format_duration(config.interval)}: what is "
                        "between is never seen, and a range of less than two scrapes is empty; use [${interval}]"
                    ),
                )
    yield from _of_margin(config, metric)
    yield from _of_users(metric)
    if metric.role is Role.SCORE and (hidden := _hidden(config, metric)) is not None:
        yield "hidden", hidden


def _of_gauge(config: JudgeConfig, metric: GaugeMetric) -> Iterator[tuple[str, str]]:
    statistic = metric.request_statistic()
    weight = config.traffic.weight if config.traffic is not None else None
    if statistic in ("quantile", "ratio") and (weight is None or not 33 <= weight <= 67):
        what = "a quantile" if statistic == "quantile" else "a ratio"
        instead = "kind: latency" if statistic == "quantile" else "kind: ratio with the two counters"
        yield (
            f"{statistic}-gauge",
            f"{what} of few requests and one of many differ although nothing changed; use {instead}",
        )
    if statistic == "level" and not metric.by and metric.role is not Role.WATCH:
        yield (
            "averaged",
            (
                "one series per side; when few instances stand behind it, a lasting difference of healthy ones "
                "cannot be told from an effect (keep them apart with `by: pod`)"
            ),
        )
    if statistic == "level" and not metric.by and _COUNTED.search(metric.name) and not _SHARED.search(metric.name):
        yield (
            "grows-with-traffic",
            (
                "a count grows with the traffic of its side, so that a small canary always has less; use "
                "kind: ratio, or kind: rate with `exposure`"
            ),
        )


def _of_limit(metric: Metric) -> Iterator[tuple[str, str]]:
    limit = metric.parsed_limit()
    if isinstance(metric, RateMetric) and metric.exposure is None and limit is not None and limit >= _OFTEN:
        yield (
            "limit-per-second",
            (
                f"its limit of {metric.limit} is one per second of each instance's time, {3600 * limit:,.4g} an hour: "
                "is that meant?"
            ),
        )


def _of_users(metric: Metric) -> Iterator[tuple[str, str]]:
    per_user = metric.per_user()
    if per_user is None or per_user.denominator is not None:
        return
    if _AVERAGED.fullmatch(metric.name) or _AVERAGED.fullmatch(per_user.numerator):
        yield (
            "added-up",
            (
                f"adds up each user's `{per_user.numerator}`, so that users who rate more count for more: give the "
                "number of ratings as `denominator`, for their mean"
            ),
        )


def _other_harm(metric: Metric) -> str | None:
    """Whether the name says the opposite of `harm`."""
    name = metric.name
    if metric.harm is Harm.DECREASE and _BAD.search(name) and not _GOOD.search(name):
        return "`harm: decrease` says that fewer of them hurt, and the name that more do: is it turned round?"
    wanted = _GOOD.search(name) or (_WANTED.search(name) and not _MACHINES.search(name))
    if (per_user := metric.per_user()) is not None:
        wanted = wanted or _LIKED.fullmatch(per_user.numerator)
    if metric.harm is Harm.INCREASE and wanted and not _BAD.search(name):
        return "`harm: increase` says that more of it hurts, and the name that less does: is it turned round?"
    return None


def _of_margin(config: JudgeConfig, metric: Metric) -> Iterator[tuple[str, str]]:
    margin = metric.parsed_margin()
    if metric.harm is Harm.DECREASE and margin is not None and (margin.relative or 0.0) > _MOST_OF_IT:
        left = f"{1 - (margin.relative or 0.0):.2g}"
        yield (
            "wide-margin",
            f"a margin of {metric.margin} tolerates a fall to {left}x of the baseline; a fall by a twentieth is 5%",
        )
    share = 0.0 if margin is None else margin.relative or 0.0
    if metric.harm is Harm.INCREASE and share >= 1 and "%" in str(metric.margin):
        yield (
            "percent-margin",
            f"a margin of {metric.margin} is {1 + share:g}x of the baseline; if {share:g}x is meant, write that",
        )
    if margin is None or margin.relative is None or margin.absolute is not None:
        return
    if isinstance(metric, RatioMetric | RateMetric | LatencyMetric):
        ratio = 1 - margin.relative if metric.harm is Harm.DECREASE else 1 + margin.relative
        events = rate_ratio_events(ratio, canary_share=0.0, alpha=config.false_pass_rate, power=config.power)
        if events > _MORE_THAN_A_DAY:
            yield (
                "narrow-margin",
                (
                    f"a margin of {metric.margin} takes {events:,.0f} canary events to show"
                    + ("" if isinstance(metric, RateMetric) else ", unless they are most of their total")
                    + "; see `canary-judge plan`, or take a wider one"
                ),
            )


def _hidden(config: JudgeConfig, metric: Metric) -> str | None:
    """Whether the canary passes whatever this metric says."""
    counted = [other for other in config.metrics if other.role is not Role.WATCH]
    of_group = sum(other.score_weight for other in counted if other.group == metric.group)
    weights = {
        name: config.groups.get(name, sum(m.score_weight for m in counted if m.group == name))
        for name in {other.group for other in counted}
    }
    share = metric.score_weight / of_group * weights[metric.group] / sum(weights.values())
    if 100 * (1 - share) < config.score.pass_:
        return None
    return (
        f"is {share:.1%} of the score, so the canary passes (at {config.score.pass_:g}) even when it has regressed; "
        "make it `role: guard` or `gate`, or give it more weight"
    )


def _counts_errors(metric: Metric) -> bool:
    return isinstance(metric, RatioMetric | RateMetric) and metric.harm is Harm.INCREASE and not metric.business


def _is_latency(metric: Metric) -> bool:
    if isinstance(metric, LatencyMetric):
        return True
    if not isinstance(metric, SamplesMetric | GaugeMetric):
        return False
    text = metric.query if isinstance(metric.query, str) else metric.query.canary
    return bool(_LATENCY.search(metric.name) or _LATENCY.search(text))
