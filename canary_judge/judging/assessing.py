"""One metric: from samples to evidence, and to what the evidence may be used for."""

from __future__ import annotations

from canary_judge.config.metrics import GaugeMetric, Metric
from canary_judge.frozen import replaced
from canary_judge.judging.assessed import Assessed
from canary_judge.judging.counts import assess_counts
from canary_judge.judging.doubts.biased import biased_gauge, grows_with_requests, summed_gauge
from canary_judge.judging.doubts.made_up import filled_in
from canary_judge.judging.instances import assess_instances
from canary_judge.judging.look import Look
from canary_judge.judging.missing import objections, rarer_than_intervals
from canary_judge.judging.silence import both_heard
from canary_judge.judging.values import assess_gauge, assess_raw
from canary_judge.results import Outcome, Quality
from canary_judge.samples import AnyData, CountData, GaugeData, MetricSamples, RawData, UserData, lacks_a_side

__all__ = ["assess"]


def assess(look: Look, metric: Metric, samples: MetricSamples, share: float | None) -> Assessed:
    """The evidence on one metric at one planned look.

    Args:
        look: Config and window.
        metric: The metric.
        samples: What is known of it.
        share: The canary's share of the requests, where it is known.
    """
    bare = Assessed(metric=metric, quality=samples.quality, warnings=samples.warnings)
    if samples.error is not None:
        return replaced(bare, settled=(Outcome.ERROR, samples.error))
    if samples.data is None or _unread_side(samples.data, samples.quality):
        return replaced(bare, settled=(Outcome.NO_DATA, look.nothing or _no_data(samples)))
    if isinstance(samples.data, UserData):
        from canary_judge.judging.users import assess_users  # most canaries have no such metric

        found = assess_users(look, metric, samples.data, bare)
        if not samples.complete:
            found = found.unsafe("the source may have left data out")
        return found if samples.doubt is None else found.doubted(samples.doubt)
    look = replaced(look, both=both_heard(samples.data, look.intervals))
    found = _of_kind(look, metric, samples.data, bare, share)
    if (rare := rarer_than_intervals(look, samples.data)) is not None:
        found = replaced(found, warnings=(*found.warnings, rare))
    if found.settled is None:
        for doubt in (filled_in(samples.data), samples.doubt):
            found = found if doubt is None else found.doubted(doubt)
        for text, settles, early in objections(look, metric, samples):
            if settles:
                found = replaced(found, settled=(Outcome.INSUFFICIENT, text))
            else:
                found = found.unsafe(text) if early else found.doubted(text)
    return found


def _of_kind(
    look: Look, metric: Metric, data: GaugeData | CountData | RawData, bare: Assessed, share: float | None
) -> Assessed:
    if isinstance(data, CountData):
        found = assess_counts(look, metric, data, bare)
        if (grows := grows_with_requests(metric, data, share)) is None:
            return found
        text, surely = grows
        return found.doubted(text) if surely else replaced(found, warnings=(*found.warnings, text))
    if isinstance(data, RawData):
        return assess_raw(look, metric, data, bare)
    if (biased := biased_gauge(metric, share, bare.quality)) is not None:
        refused, text = biased
        if refused:
            return replaced(bare, settled=(Outcome.ERROR, text))
        bare = replaced(bare, warnings=(*bare.warnings, text))
    if (summed := summed_gauge(metric, data, share)) is not None:
        text, surely = summed
        if surely:
            return replaced(bare, settled=(Outcome.INSUFFICIENT, text))
        bare = replaced(bare, warnings=(*bare.warnings, text)).doubted(text)
    if isinstance(metric, GaugeMetric) and metric.by:
        return assess_instances(look, metric, data, bare)
    return assess_gauge(look, metric, data, bare, share)


def _unread_side(data: AnyData, quality: Quality | None) -> bool:
    """Whether nothing was read of a side; a side that had no traffic was read."""
    if not lacks_a_side(data):
        return False
    return not isinstance(data, CountData) or (
        quality is not None and not (quality.series_baseline and quality.series_canary)
    )


def _no_data(samples: MetricSamples) -> str:
    quality = samples.quality
    if quality is None or not (quality.series_baseline or quality.series_canary):
        if samples.warnings:
            return f"the queries returned nothing for either side that could be used: {'; '.join(samples.warnings)}"
        return "the queries returned nothing for either side; check the selectors and the window"
    if quality.non_finite:
        return f"no finite value on {_sides_without(quality)}: {quality.non_finite} points are NaN or infinite"
    return f"the query returned nothing for {_sides_without(quality)}"


def _sides_without(quality: Quality) -> str:
    coverage = {"the baseline": quality.coverage_baseline, "the canary": quality.coverage_canary}
    return " and ".join(name for name, covered in coverage.items() if covered == 0) or "one side"
