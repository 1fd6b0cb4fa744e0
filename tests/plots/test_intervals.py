"""What single intervals had, in the picture of one metric in depth: medians of raw values, gaps, counters anew."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.picture_cases import judged, looks
from canary_judge import JudgeConfig
from canary_judge.judging import judge_samples
from canary_judge.results import Quality
from canary_judge.samples import MetricSamples, RawData, Samples
from canary_judge.series import Window

SLOW = JudgeConfig.from_mapping(
    {
        "name": "shop",
        "interval": "1m",
        "metrics": [{"name": "latency", "kind": "samples", "query": "l", "harm": "increase", "margin": "20%"}],
    }
)


def raw(start, *, without=()):
    """Five values an interval over twenty; the canary has none in some."""
    rng, interval = np.random.default_rng(1), np.repeat(np.arange(20), 5)
    sides = rng.lognormal(3, 0.5, 100), rng.lognormal(3, 0.5, 100)
    kept = ~np.isin(interval, without)
    data = RawData(baseline=sides[0], canary=sides[1][kept], interval_baseline=interval, interval_canary=interval[kept])
    quality = Quality(coverage_baseline=1.0, coverage_canary=1.0)
    window = Window(start, start + 20 * SLOW.interval)
    return Samples(window=window, metrics={"latency": MetricSamples(data=data, quality=quality)})


def test_dots_of_raw_values_are_the_medians_of_their_intervals():
    samples = raw(looks("fail")[0].start, without=(3, 4))
    top = judge_samples(SLOW, samples).plot("latency", samples=samples).child_axes[0]
    data = samples.metrics["latency"].data
    expected = [float(np.median(data.canary[data.interval_canary == k])) for k in range(20) if k not in (3, 4)]
    dots = next(line for line in top.lines if line.get_marker() == "o" and line.get_xdata().size == 20)
    heights = np.asarray(dots.get_ydata())
    assert np.isnan(heights[[3, 4]]).all()
    assert heights[~np.isnan(heights)] == pytest.approx(expected)
    assert "dots: median of each interval" in top.get_title(loc="left")
    assert " no canary" in [text.get_text() for text in top.texts]


def test_looks_by_which_counters_began_anew_have_a_triangle():
    run = looks("fail")
    assert not triangles(judged("fail").plot("errors", looks=run))
    began = [with_resets(one, 0 if k < 3 else 2) for k, one in enumerate(run)]
    ax = began[-1].plot("errors", looks=began)
    (drawn,) = triangles(ax)
    minutes = (began[3].end - began[0].start).total_seconds() / 60
    assert drawn.get_xdata() == pytest.approx([minutes])
    assert "triangles: resets;" in ax.child_axes[0].get_title(loc="left")
    # one look alone knows that there were some, and not when
    assert not triangles(began[-1].plot("errors"))


def with_resets(judgement, resets):
    metrics = tuple(
        replace(one, quality=replace(one.quality, resets=resets)) if one.name == "errors" else one
        for one in judgement.metrics
    )
    return replace(judgement, metrics=metrics)


def triangles(ax):
    return [line for line in ax.child_axes[0].lines if line.get_marker() == "^"]


def test_the_finding_counts_in_the_unit_of_its_axis():
    run = looks("fail")
    title = judged("fail").plot("errors", looks=run).get_title(loc="left") or " ".join(
        text.get_text() for text in judged("fail").plot("errors", looks=run).texts
    )
    assert "regressed at minute 24" in title
    length = run[-1].end - run[0].start
    slow = [
        replace(one, end=one.start + 60 * (one.end - one.start), interval_seconds=60 * one.interval_seconds)
        for one in run
    ]
    last = slow[-1]
    found = tuple(replace(one, decided_at=last.end) if one.decided_at is not None else one for one in last.metrics)
    slow[-1] = replace(last, metrics=found)
    drawn = slow[-1].plot("errors", looks=slow)
    texts = " ".join(text.get_text() for text in drawn.texts)
    hours = round(60 * length.total_seconds() / 3600)
    assert f"regressed at hour {hours}" in texts
