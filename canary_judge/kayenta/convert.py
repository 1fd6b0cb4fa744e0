"""A Kayenta canary config as a config of the calibrated judge, and what could not be carried over.

References:
    spinnaker/kayenta: CanaryConfig, QueryConfigUtils (templates), PrometheusMetricsService (the query that is built).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from canary_judge.config.advice import PLACEHOLDER
from canary_judge.config.metrics import GaugeMetric
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import ConfigError, DataError
from canary_judge.kayenta.classify import Settings
from canary_judge.kayenta.documents import CanaryConfig, MetricConfig
from canary_judge.untrusted import printable

__all__ = ["Conversion", "to_config"]

_MARGIN = "10%"
# So much more is hardly meant.
_MANYFOLD = 3.0
_SCOPE_LABEL = "instance"
_JUDGE = "NetflixACAJudge-v1.0"


@dataclass(frozen=True)
class Conversion:
    """What became of a Kayenta config.

    Attributes:
        data: The new config as plain data, in the order in which it should be read.
        notes: What was not carried over or had to be decided, one sentence each.
    """

    data: Mapping[str, Any]
    notes: tuple[str, ...]

    @cached_property
    def config(self) -> JudgeConfig:
        """The new config, validated."""
        return JudgeConfig.from_mapping(self.data, name="converted config")

    def to_yaml(self) -> str:
        """The new config as YAML, with the notes as comments in front."""
        import yaml  # a conversion in Python needs none

        notes = (printable(" ".join(note.split())) for note in self.notes)  # no name may end a comment
        head = "".join(f"# - {note}\n" for note in notes)
        body = yaml.safe_dump(dict(self.data), sort_keys=False, allow_unicode=True, width=110)
        return f"# Converted from a Kayenta canary config. Read before use:\n{head}{body}" if head else str(body)


def to_config(data: object, *, interval: str = "1m", by_name: bool = False) -> Conversion:
    """Carry a Kayenta canary config over to the calibrated judge.

    Args:
        data: The canary config, as parsed JSON.
        interval: Length of one interval; Kayenta has the step in the request, not in the config.
        by_name: Ask for each metric by its name instead of its query, for data that are at hand.

    Raises:
        DataError: It is no canary config, or Kayenta itself could not judge it.
        ConfigError: No metric can be carried over.

    Examples:
        >>> found = to_config({"name": "shop", "classifier": {"groupWeights": {"latency": 100}}, "metrics": [
        ...     {"name": "p50", "groups": ["latency"],
        ...      "query": {"type": "prometheus", "customInlineTemplate": 'PromQL:avg(p50{version="${scope}"})'},
        ...      "analysisConfigurations": {"canary": {"direction": "increase", "critical": True}}}]})
        >>> metric = found.config.metrics[0]
        >>> metric.role.value, metric.margin, metric.query
        ('gate', '10%', 'avg(p50{version="${scope}"})')
    """
    given = CanaryConfig.from_mapping(data)
    notes: list[str] = []
    metrics: list[dict[str, Any]] = []
    names: set[str] = set()
    labels: set[str] = set()
    for metric in given.metrics:
        if metric.name in names:
            notes.append(
                f"metric {metric.name!r} stands there twice; Kayenta reads the first only, so the second is left out"
            )
            continue
        names.add(metric.name)
        query = metric.name if by_name else _query(metric, given.templates, notes)
        if query is not None:
            labels.update(re.findall(r"\$\{(\w+)\}", query))
            metrics.append(_metric(metric, query, notes))
    if not metrics:
        raise ConfigError(
            f"canary config {given.name!r}: none of its {len(given.metrics)} metrics can be carried over"
            f"{': ' + notes[0] if notes else ''}"
        )
    if given.judge not in ("", _JUDGE):
        notes.append(f"its judge is {given.judge!r}, not {_JUDGE}: how that one decides is not carried over")
    _one_gate_at_least(metrics, notes)
    converted: dict[str, Any] = {"name": given.name or "converted", "interval": interval}
    if not by_name:
        notes.append(f"the interval is {interval}: Kayenta takes the step from the request")
    if labels:
        sides = " ".join(f"--baseline {name}=... --canary {name}=..." for name in sorted(labels))
        notes.append(f"define {', '.join(sorted(labels))} for both sides, as in {sides}")
    if score := _thresholds(given, notes):
        converted["score"] = score
    converted["metrics"] = metrics
    groups = _groups(given, metrics, notes)
    if groups:
        converted["groups"] = groups
    notes.extend(
        f"metric {gauge.name!r} is a {gauge.request_statistic()} per interval, which unequal traffic biases: it is not "
        "judged then; count requests instead, with `kind: ratio` or `kind: latency`"
        for gauge in JudgeConfig.from_mapping(converted, name="converted config").metrics
        if isinstance(gauge, GaugeMetric) and gauge.request_statistic() in ("ratio", "quantile")
    )
    return Conversion(converted, tuple(dict.fromkeys(notes)))


def _settings(metric: MetricConfig) -> Settings:
    return Settings.from_mapping(metric.analysis, f"metric {metric.name!r}")


def _metric(metric: MetricConfig, query: str, notes: list[str]) -> dict[str, Any]:
    name = metric.name
    settings = _settings(metric)
    role = "watch" if settings.muted else "gate" if settings.critical else "score"
    converted: dict[str, Any] = {
        "name": name,
        "kind": "gauge",
        "query": query,
        "harm": settings.direction,
        "margin": _margin(name, settings, notes),
        "role": role,
    }
    if settings.must_have_data:
        converted["required"] = True
    if metric.groups:
        converted["group"] = metric.groups[0]
        if len(metric.groups) > 1:
            notes.append(f"metric {name!r} is in {len(metric.groups)} groups; it counts in {metric.groups[0]!r} only")
    if settings.replace_nan:
        notes.append(
            f"metric {name!r}: nanStrategy replace is not carried over: a missing value is missing, not 0; if no event "
            "means 0, count events with `kind: ratio` or `kind: rate`"
        )
    if settings.outlier_factor is not None:
        notes.append(
            f"metric {name!r}: outlier removal is not carried over: ranks do not need it, and it can hide errors"
        )
    if settings.measure == "cles":
        notes.append(
            f"metric {name!r}: effect sizes as a share of pairs (cles) have no margin; {_MARGIN} stands for them"
        )
    return converted


def _margin(name: str, settings: Settings, notes: list[str]) -> str:
    """The largest change that Kayenta tolerates, as a margin."""
    up, down = settings.allowed_increase, settings.allowed_decrease
    above, below = (up - 1 if up > 1 else None), (1 - down if 0 <= down < 1 else None)
    wanted = {"increase": [above], "decrease": [below], "either": [above, below]}[settings.direction]
    if settings.measure == "cles":
        return _MARGIN
    if any(margin is None for margin in wanted):
        what = "change" if settings.direction == "either" else settings.direction
        notes.append(
            f"metric {name!r}: Kayenta tolerates no {what} that it can see; the margin {_MARGIN} was put in, set it to "
            "what you can live with"
        )
        return _MARGIN
    tolerated = min(margin for margin in wanted if margin is not None)
    if settings.critical and (settings.critical_increase > up or settings.critical_decrease < down):
        notes.append(
            f"metric {name!r}: the margin is its allowed effect; Kayenta fails the canary by itself from the critical "
            "effect on only, here a gate does so as soon as harm beyond the margin is shown"
        )
    if above is not None and above >= _MANYFOLD:
        notes.append(
            f"metric {name!r}: allowedIncrease {up:g} is {up:g} times the baseline, a margin of {100 * above:g}%; for "
            "a tenth more it is 1.1"
        )
    if len(set(wanted)) > 1:
        notes.append(f"metric {name!r}: one margin serves both directions, the smaller one: {100 * tolerated:.6g}%")
    if settings.direction == "decrease" and tolerated >= 1:
        notes.append(f"metric {name!r}: allowedDecrease 0 tolerates everything; the margin {_MARGIN} was put in")
        return _MARGIN
    return f"{100 * tolerated:.12g}%"


def _one_gate_at_least(metrics: list[dict[str, Any]], notes: list[str]) -> None:
    if any(metric["role"] == "gate" for metric in metrics):
        return
    scored = [metric for metric in metrics if metric["role"] == "score"]
    if not scored:
        raise ConfigError("all metrics are muted, so nothing could ever pass; Kayenta gives such a canary 0")
    for metric in scored:
        metric["role"] = "gate"
    notes.append("no metric was critical, but something must be shown before a canary passes: all metrics became gates")


def _thresholds(given: CanaryConfig, notes: list[str]) -> dict[str, float] | None:
    if given.thresholds is None:
        return None
    wanted, marginal = given.thresholds.pass_, given.thresholds.marginal
    if not 0 <= marginal <= wanted <= 100:
        notes.append(f"thresholds pass {wanted:g}, marginal {marginal:g} are no scores of 0 to 100; they are left out")
        return None
    return {"pass": wanted, "marginal": marginal}


def _groups(given: CanaryConfig, metrics: list[dict[str, Any]], notes: list[str]) -> dict[str, float]:
    """Weights of the groups that metrics are in; the calibrated judge makes them sum to 100 over what is live."""
    weights = dict(given.group_weights or {})
    used = list(dict.fromkeys(metric.get("group", "default") for metric in metrics))
    if not weights:
        return {}
    lost = [group for group in weights if group not in used]
    if lost:
        notes.append(
            f"group {', '.join(map(repr, lost))} has no metric; in Kayenta its weight is lost, here the others share it"
        )
    share = (100 - sum(weights.values())) / max(sum(group not in weights for group in used), 1)
    groups = {}
    for group in used:
        weight = weights.get(group, share)
        if not 0 < weight < float("inf"):
            weight = 1.0
            notes.append(f"group {group!r} had the weight {weights.get(group, share):g} in Kayenta; it has 1 here")
        groups[group] = weight
    return groups


# --- queries ------------------------------------------------------------------------------------------------------


def _query(metric: MetricConfig, templates: Mapping[str, str], notes: list[str]) -> str | None:
    """The PromQL that Kayenta would send, with our placeholders; None where there is none."""
    query = metric.query
    kind = query.get("type")
    if kind != "prometheus":
        notes.append(
            f"metric {metric.name!r}: its query is one of {kind!r} and is not carried over: group, weight, harm and "
            f"margin are, and {PLACEHOLDER}... stands for the query; write it anew, or judge a table with `--data`"
        )
        return _to_be_written(metric)
    template = query.get("customInlineTemplate")
    named = query.get("customFilterTemplate")
    if named is not None and not isinstance(named, str):
        raise DataError(f"metric {metric.name!r}: customFilterTemplate is {named!r}; give the name of a template")
    if not template and named:
        if named not in templates:
            return _lost(metric, f"its template {named!r} is not in `templates`", notes)
        template = templates[named]
    template = str(template or "")
    _warn_of_regular_expressions(metric.name, template, notes)
    if template.startswith("PromQL:"):
        return template.removeprefix("PromQL:").strip()
    filters = [part.strip() for part in template.split(",")] if template else _instance_filters(metric, notes)
    if filters is None:
        return _lost(metric, "it has neither a template nor a resource type that Kayenta knows", notes)
    if not isinstance(query.get("metricName"), str):
        return _lost(metric, "its query has no metricName", notes)
    # what Kayenta puts first: the template's filters before the bindings, the bindings before the instance's
    bindings = _texts(query, "labelBindings", metric.name)
    filters = filters + bindings if template else bindings + filters
    if fields := ", ".join(_texts(query, "groupByFields", metric.name)):
        notes.append(
            f"metric {metric.name!r}: Kayenta judged every {fields} apart; here their average is judged. Write one "
            f"metric for each that matters, or `by: [{fields}]` if they are instances"
        )
    return f"avg({query['metricName']}{{{','.join(filters)}}})"


def _lost(metric: MetricConfig, why: str, notes: list[str]) -> str | None:
    """A metric whose query is not known is left out; a critical one stays, with a query that is to be written."""
    if not _settings(metric).critical:
        notes.append(f"metric {metric.name!r} is left out: {why}")
        return None
    query = _to_be_written(metric)
    notes.append(f"metric {metric.name!r} is critical, and {query} stands for its query, write it: {why}")
    return query


def _to_be_written(metric: MetricConfig) -> str:
    return PLACEHOLDER + re.sub(r"\W+", "_", metric.name)


def _texts(query: Mapping[str, Any], key: str, name: str) -> list[str]:
    given = query.get(key) or []
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise DataError(f"metric {name!r}: {key} is {given!r}; give a list of texts")
    return given


def _instance_filters(metric: MetricConfig, notes: list[str]) -> list[str] | None:
    resource = metric.query.get("resourceType")
    if resource == "gce_instance":
        notes.append(
            f"metric {metric.name!r}: the scope's label is taken to be `{_SCOPE_LABEL}`, as is Kayenta's default"
        )
        return [f'{_SCOPE_LABEL}=~"${{scope}}-.{{4}}"', 'zone=~".+/zones/${location}-.{1}"']
    if resource == "aws_ec2_instance":
        return ['asg_groupName="${scope}"', 'zone=~"${location}.{1}"']
    return None


def _warn_of_regular_expressions(name: str, template: str, notes: list[str]) -> None:
    notes.extend(
        f"metric {name!r}: ${{{variable}}} stands in a regular expression; its value is now matched literally, where "
        "Kayenta put it in as it was"
        for variable in re.findall(r"[=!]~\s*[\"'][^\"']*\$\{(\w+)\}", template)
    )
