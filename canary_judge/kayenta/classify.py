"""One metric as NetflixACAJudge-v1.0 labels it: preprocessing, outlier fences, effect size, label, reason.

Every oddity of the original is kept; docs/kayenta.md names them. Sums run in Kayenta's order, so that numbers agree
to the last digit.

References:
    spinnaker/kayenta, kayenta-judge: NetflixACAJudge.scala, MannWhitneyClassifier.scala, IQRDetector,
    DescriptiveStatistics.scala, EffectSizes.scala.
    Hyndman, R. J. & Fan, Y. (1996), doi:10.1080/00031305.1996.10473566 (quantiles of type 7).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from canary_judge.arrays import Float
from canary_judge.errors import DataError
from canary_judge.kayenta.documents import MetricClassification, MetricConfig, MetricSetPair, SideStatistics
from canary_judge.kayenta.interval import ShiftEstimate, shift_estimate
from canary_judge.stats.rank import mann_whitney

__all__ = ["Settings", "classify"]

_TOLERANCE = 0.25
_NOISE = 1e-5

# Integers that are written as they are, and those that a float can hold.
_MOST_DIGITS, _AS_FLOAT = 40, 10**300


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`analysisConfigurations.canary` with Kayenta's defaults filled in."""

    direction: str = "either"
    replace_nan: bool = False
    outlier_factor: float | None = None
    critical: bool = False
    must_have_data: bool = False
    muted: bool = False
    measure: str = "meanRatio"
    allowed_increase: float = 1.0
    allowed_decrease: float = 1.0
    critical_increase: float = 1.0
    critical_decrease: float = 1.0

    @classmethod
    def from_mapping(cls, analysis: Mapping[str, Any], what: str) -> Settings:
        """Read them; what Kayenta cannot cast raises DataError, what it does not know is the default.

        Examples:
            >>> Settings.from_mapping({"direction": "sideways", "outliers": {"strategy": "remove"}}, "m").direction
            'either'
        """
        if "direction" in analysis and analysis["direction"] is None:
            raise DataError(f"{what}: direction is null, which Kayenta cannot judge; leave it out")
        direction = analysis.get("direction")
        outliers = _mapping(analysis, "outliers")
        effect = _mapping(analysis, "effectSize")
        measure = "cles" if effect.get("measure") == "cles" else "meanRatio"
        usual = 0.5 if measure == "cles" else 1.0
        factor = None
        if outliers.get("strategy") == "remove":
            factor = _number(outliers, "outlierFactor", 3.0, what)
            if factor <= 0:
                raise DataError(f"{what}: outlierFactor is {factor:g}; it must be above 0")
        return cls(
            direction=direction if direction in ("increase", "decrease") else "either",
            replace_nan=analysis.get("nanStrategy") == "replace",
            outlier_factor=factor,
            critical=_boolean(analysis, "critical", what),
            must_have_data=_boolean(analysis, "mustHaveData", what),
            muted=_boolean(analysis, "muted", what),
            measure=measure,
            allowed_increase=_number(effect, "allowedIncrease", usual, what),
            allowed_decrease=_number(effect, "allowedDecrease", usual, what),
            critical_increase=_number(effect, "criticalIncrease", usual, what),
            critical_decrease=_number(effect, "criticalDecrease", usual, what),
        )


def classify(config: MetricConfig, pair: MetricSetPair, rng: np.random.Generator) -> MetricClassification:
    """Label one pair.

    Args:
        config: The metric's entry in the canary config.
        pair: Its data.
        rng: Source of the noise that Kayenta adds when both sides are constant.

    Raises:
        DataError: A setting has a type that Kayenta cannot cast: it gives no verdict at all.
    """
    settings = Settings.from_mapping(config.analysis, f"metric {config.name!r}")
    if config.groups is None:
        raise DataError(f"metric {config.name!r}: groups is missing, which Kayenta cannot judge; add `groups: []`")
    with np.errstate(all="ignore"):  # infinite values and overflow run their course, as they do in Kayenta
        baseline, canary = (_preprocessed(values, settings) for values in (pair.baseline, pair.canary))
        found = _label(config.name, settings, baseline=baseline, canary=canary, rng=rng)
        return MetricClassification(
            name=pair.name,
            id=pair.id,
            tags=dict(pair.tags),
            classification=found.label,
            reason=found.reason,
            groups=config.groups,
            baseline=_statistics(baseline),
            canary=_statistics(canary),
            ratio=found.ratio,
            critical=found.critical,
            muted=settings.muted,
            shift=found.shift,
            effect=found.effect,
        )


@dataclass(frozen=True, slots=True)
class _Label:
    label: str
    reason: str | None = None
    ratio: float | None = 1.0
    critical: bool = False
    shift: ShiftEstimate | None = None
    effect: float | None = None


def _preprocessed(values: Float, settings: Settings) -> Float:
    missing = np.isnan(values)
    if missing.any():
        values = np.where(missing, 0.0, values) if settings.replace_nan else values[~missing]
    if settings.outlier_factor is None or not values.size:
        return values
    ordered = np.sort(values)
    first, quarter, three_quarters, last = (_percentile(ordered, p) for p in (0.01, 0.25, 0.75, 0.99))
    reach = settings.outlier_factor * (three_quarters - quarter)
    # a NaN fence, from infinite values, drops nothing
    outside = (values < np.minimum(first, quarter - reach)) | (values > np.maximum(last, three_quarters + reach))
    return np.asarray(values[~outside])


def _percentile(ordered: Float, p: float) -> np.float64:
    position = 1 + (ordered.size - 1) * p
    whole = math.floor(position)
    if whole >= ordered.size:
        return np.float64(ordered[-1])
    return np.float64(ordered[whole - 1] + (position - whole) * (ordered[whole] - ordered[whole - 1]))


def _label(name: str, settings: Settings, *, baseline: Float, canary: Float, rng: np.random.Generator) -> _Label:
    if not baseline.size or not canary.size:
        if settings.replace_nan:
            return _Label("Pass")
        if settings.must_have_data and not settings.critical:
            return _Label("NodataFailMetric", f"Missing data for {name}")
        return _Label("Nodata", f"Missing data for {name}", critical=settings.critical)
    if baseline.size == canary.size and np.array_equal(np.sort(baseline), np.sort(canary)):
        return _Label("Pass", "The Canary and Baseline data are identical")
    constant = bool((baseline == baseline[0]).all() and (canary == canary[0]).all())
    if constant and baseline[0] == canary[0]:
        return _Label("Pass")
    if constant:
        baseline, canary = (_noisy(values, rng) for values in (baseline, canary))
    found = shift_estimate(baseline=baseline, canary=canary)
    if found is None:
        return _Label("Error", "Metric Classification Failed", ratio=None)
    ratio = _mean_ratio(baseline=baseline, canary=canary)
    effect = ratio if settings.measure == "meanRatio" else _cles(baseline=baseline, canary=canary)
    bound = _TOLERANCE * abs(found.estimate)
    if settings.direction != "decrease" and found.lower > bound and not effect < settings.allowed_increase:
        label, critical = "High", not effect < settings.critical_increase
    elif settings.direction != "increase" and found.upper < -bound and not effect > settings.allowed_decrease:
        label, critical = "Low", not effect > settings.critical_decrease
    else:
        return _Label("Pass", ratio=ratio, shift=found, effect=effect)
    critical = critical and settings.critical
    reason = (
        f"The metric {name} was classified as {label} (Critical)" if critical else f"{name} was classified as {label}"
    )
    return _Label(label, reason, ratio, critical, found, effect)


def _noisy(values: Float, rng: np.random.Generator) -> Float:
    scale = float(values[0]) * _NOISE
    return values if scale == 0 else values + rng.normal(0.0, abs(scale), values.size)


def _mean_ratio(*, baseline: Float, canary: Float) -> float:
    usual, new = _mean(baseline), _mean(canary)
    return new / usual if usual != 0 and new != 0 else math.nan


def _cles(*, baseline: Float, canary: Float) -> float:
    """Share of pairs with the canary higher, ties half; Kayenta's 32-bit products overflow at about 32768 a side."""
    n, m = baseline.size, canary.size
    u = float(mann_whitney(baseline=baseline[None, :], canary=canary[None, :]).u[0])
    rank_sum = u + m * (m + 1) / 2
    pairs = _int32(2 * n * m)
    return (2 * rank_sum - _int32(m * (m + 1))) / pairs if pairs else math.nan


def _int32(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


def _statistics(values: Float) -> SideStatistics:
    if not values.size:
        return SideStatistics(count=0, mean=0.0, min=0.0, max=0.0, std=0.0)
    mean = _mean(values)
    std = 0.0
    if values.size > 1:
        deviations = values - mean
        excess = _sum(deviations)
        std = float(np.sqrt((_sum(deviations * deviations) - excess * excess / values.size) / (values.size - 1)))
    return SideStatistics(
        count=values.size, mean=float(mean), min=float(values.min()), max=float(values.max()), std=std
    )


def _mean(values: Float) -> float:
    first = _sum(values) / values.size
    return first + _sum(values - first) / values.size


def _sum(values: Float) -> float:
    return float(np.cumsum(values)[-1])  # one after the other; np.sum adds in pairs, which ends elsewhere


def _mapping(fields: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = fields.get(key)
    return value if isinstance(value, Mapping) else {}


def _boolean(fields: Mapping[str, Any], key: str, what: str) -> bool:
    value = fields.get(key)
    if value is not None and not isinstance(value, bool):
        raise DataError(f"{what}: {key} is {value!r}, which Kayenta cannot judge; write true or false")
    return bool(value)


def _shown(value: int) -> str:
    """A number of as many digits as one can read."""
    digits = value.bit_length() // 3
    return str(value) if digits <= _MOST_DIGITS else f"a number of some {digits} digits"


def _number(fields: Mapping[str, Any], key: str, default: float, what: str) -> float:
    value = fields.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{what}: {key} is {value!r}, which Kayenta cannot judge; write a number")
    if isinstance(value, int) and not -(2**31) <= value < 2**31:
        remedy = f"write it as {float(value)}" if abs(value) < _AS_FLOAT else "write a smaller one"
        raise DataError(f"{what}: {key} is {_shown(value)}, an integer beyond 32 bits; {remedy}")
    return float(value)
