"""Judged against a real Prometheus with backfilled data: counts are exact, and nothing missing reads as healthy."""

import json
import re
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from canary_judge.__main__ import main
from canary_judge.config.model import JudgeConfig
from canary_judge.config.presets import presets
from canary_judge.config.templates import render
from canary_judge.judging import fetch, judge
from canary_judge.results import Outcome, Verdict
from canary_judge.samples import collect
from canary_judge.series import Window
from canary_judge.sources import PrometheusSource
from tests.real_prometheus import running

pytestmark = pytest.mark.real

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
T0 = START.timestamp()
SCRAPE = 5
WINDOW = Window(START, START + timedelta(minutes=30))
LIFE = np.arange(-600, 1801, SCRAPE)  # seconds; the window is (0, 1800]
HISTORY = np.arange(-7200, 1801, 15)


def counter(name, labels, per_second, seed, *, born=-600, reset=None):
    """A counter scraped every 5 s, its true increments in (0, 1800], and its samples."""
    rng = np.random.default_rng(seed)
    steps = rng.poisson(per_second * SCRAPE, LIFE.size).astype(float)
    steps[0] = 0
    value = np.cumsum(steps)
    truth = steps[(LIFE > 0) & (LIFE <= 1800)].sum()
    alive = born <= LIFE
    value -= value[born > LIFE][-1] if (born > LIFE).any() else 0
    truth -= steps[(LIFE > 0) & (born > LIFE)].sum()
    if reset is not None:
        value = np.where(reset <= LIFE, value - value[reset > LIFE][-1], value)
    samples = (name, labels, [(T0 + t, v) for t, v in zip(LIFE[alive], value[alive], strict=True)])
    return samples, truth


def up(instance, first=-600):
    return ("up", {"job": "web", "instance": instance}, [(T0 + t, 1.0) for t in LIFE if t >= first])


def gauge(name, labels, level, seed, *, times=HISTORY, sd=5.0):
    rng = np.random.default_rng(seed)
    return (name, labels, [(T0 + t, v) for t, v in zip(times, rng.normal(level, sd, times.size), strict=True)])


TRUTH = {}


def world():
    """Everything that the tests below look at, in one server."""
    samples = []

    def add(key, name, labels, rate, seed, **more):
        made, truth = counter(name, {"job": "web", **labels}, rate, seed, **more)
        samples.append(made)
        TRUTH[key] = TRUTH.get(key, 0) + truth

    for version, instance, rate, share in (("old", "a:1", 95, 0.01), ("new", "b:1", 5, 0.05)):
        labels = {"version": version, "instance": instance}
        add(f"{version} all", "requests_total", {**labels, "code": "200"}, rate * (1 - share), 1 + (version == "new"))
        # the canary's first error is born inside the window, as it is in life
        born = 300 if version == "new" else -600
        add(
            f"{version} all",
            "requests_total",
            {**labels, "code": "500"},
            rate * share,
            3 + (version == "new"),
            born=born,
        )
        add(
            f"{version} errors",
            "requests_total_errors",
            {**labels, "code": "500"},
            rate * share,
            3 + (version == "new"),
            born=born,
        )
        samples.append(up(instance))
        for le, part in (("0.1", 0.7), ("0.25", 0.9), ("+Inf", 1.0)):
            add(
                f"{version} le {le}",
                "duration_seconds_bucket",
                {**labels, "le": le},
                rate * part,
                10 + (version == "new"),
            )
        samples.append(
            gauge("heap_bytes", {"version": version, "instance": instance}, 1e9, 20 + (version == "new"), sd=1e7)
        )
        for pod in range(4):
            samples.append(
                gauge(
                    "pod_bytes",
                    {"version": version, "pod": f"{version}-{pod}"},
                    1e9 + 1e7 * pod,
                    30 + pod + 10 * (version == "new"),
                    sd=1e6,
                )
            )
    add("reset", "reset_total", {"version": "new", "instance": "b:1"}, 3, 40, reset=900)
    add("reset old", "reset_total", {"version": "old", "instance": "a:1"}, 3, 41)
    # restarted scraping: the counter is old but Prometheus sees it, and its target, for the first time at 600 s
    made, _ = counter("late_total", {"job": "web", "version": "new", "instance": "c:1"}, 3, 42, born=600)
    samples.append((made[0], made[1], [(t, v + 1e6) for t, v in made[2]]))
    samples.append(up("c:1", first=600))
    add("late old", "late_total", {"version": "old", "instance": "a:1"}, 3, 43)
    # a process that really began inside the window says so
    add("young", "young_total", {"version": "new", "instance": "d:1"}, 3, 44, born=600)
    samples.append(up("d:1", first=600))
    samples.append(
        (
            "process_start_time_seconds",
            {"job": "web", "instance": "d:1"},
            [(T0 + t, T0 + 598.0) for t in LIFE if t >= 600],
        )
    )
    add("young old", "young_total", {"version": "old", "instance": "a:1"}, 3, 45)
    # a pod that ran for long and was relabelled at 900 s: its earlier scrapes carry another label
    made, _ = counter(
        "moved_total", {"job": "web", "version": "new", "instance": "e:1", "track": "canary"}, 3, 46, born=900
    )
    samples.append((made[0], made[1], [(t, v + 1e6) for t, v in made[2]]))
    for track, ours in (("stable", LIFE < 900), ("canary", LIFE >= 900)):
        labels = {"job": "web", "instance": "e:1", "track": track}
        samples.append(("up", labels, [(T0 + t, 1.0) for t in LIFE[ours]]))
    add("moved old", "moved_total", {"version": "old", "instance": "a:1"}, 3, 47)
    for version in ("old", "new"):
        samples.append(
            ("nan_gauge", {"version": version}, [(T0 + t, float("nan") if version == "new" else 1.0) for t in HISTORY])
        )
        samples.append(
            ("inf_gauge", {"version": version}, [(T0 + t, float("inf") if version == "new" else 1.0) for t in HISTORY])
        )
    samples.append(gauge("only_old", {"version": "old"}, 10, 50))
    # the canary stops reporting 10 minutes before the end
    samples.append(gauge("dying", {"version": "old"}, 100, 51))
    samples.append(gauge("dying", {"version": "new"}, 100, 52, times=HISTORY[HISTORY <= 900]))
    return samples


@pytest.fixture(scope="module")
def url(prometheus_binaries):
    with ExitStack() as stack:
        yield stack.enter_context(running(prometheus_binaries, world()))


def config(*metrics, **settings):
    data = {
        "name": "real",
        "interval": "15s",
        "baseline": {"version": "old"},
        "canary": {"version": "new"},
        "metrics": list(metrics),
        **settings,
    }
    return JudgeConfig.from_mapping(data)


def ratio(events, total, **more):
    return {
        "name": "m",
        "kind": "ratio",
        "events": f'{events}{{version="${{version}}"}}',
        # also where one counter stands for both
        "total": f'{total}{{version="${{version}}",job=~".*"}}',
        "harm": "increase",
        "margin": "1.5x",
        **more,
    }


def one_gauge(query, **more):
    return {"name": "m", "kind": "gauge", "query": query, "harm": "increase", "margin": "10%", **more}


def samples_of(url, made):
    source = PrometheusSource(url)
    answers = fetch(made, source, list(made.queries()), WINDOW)
    return collect(made, WINDOW, answers).metrics["m"]


def totals(found):
    counts = found.data.counts
    return {
        side: (getattr(counts, f"events_{side}").sum(), getattr(counts, f"exposure_{side}").sum())
        for side in ("baseline", "canary")
    }


def test_counts_are_exact_though_the_error_label_is_born_inside_the_window(url):
    found = totals(samples_of(url, config(ratio("requests_total_errors", "requests_total"))))
    assert found["canary"] == (TRUTH["new errors"], TRUTH["new all"])
    assert found["baseline"] == (TRUTH["old errors"], TRUTH["old all"])


def test_increase_would_have_lost_events_and_is_warned_about(url):
    expression = 'sum(increase(requests_total_errors{version="${version}"}[15s]))'
    metric = {**ratio("requests_total_errors", "requests_total"), "events": expression}
    found = samples_of(url, config(metric))
    assert totals(found)["canary"][0] < TRUTH["new errors"]
    assert any("no bare counter selector" in text for text in found.warnings)


def test_a_reset_is_counted_and_loses_nothing(url):
    found = samples_of(url, config(ratio("reset_total", "reset_total")))
    assert totals(found)["canary"][0] == TRUTH["reset"]
    assert found.quality.resets == 2  # the same series serves as events and as total


def test_an_old_counter_that_is_only_newly_scraped_is_not_counted_from_zero(url):
    found = samples_of(url, config(ratio("late_total", "late_total")))
    assert totals(found)["canary"][0] < 1e6
    assert found.quality.births_dropped == 2
    assert any("without proof that they began at zero" in text for text in found.warnings)


def test_a_relabelled_pod_is_not_counted_from_zero(url):
    found = samples_of(url, config(ratio("moved_total", "moved_total")))
    assert totals(found)["canary"][0] < 1e6
    assert found.quality.births_dropped == 2


def test_a_process_that_started_inside_the_window_is_counted_from_zero(url):
    found = samples_of(url, config(ratio("young_total", "young_total")))
    assert totals(found)["canary"][0] == TRUTH["young"]
    assert found.quality.births == 2
    assert found.quality.births_dropped == 0


def test_slow_requests_are_all_minus_the_bucket(url):
    metric = {
        "name": "m",
        "kind": "latency",
        "histogram": 'duration_seconds_bucket{version="${version}"}',
        "slower_than": "250ms",
        "margin": "1.5x",
    }
    found = totals(samples_of(url, config(metric)))
    assert found["canary"][1] == TRUTH["new le +Inf"]
    assert found["baseline"][0] == pytest.approx(
        TRUTH["old le +Inf"] - TRUTH["old le 0.25"], abs=0.15 * TRUTH["old le +Inf"]
    )


def test_a_threshold_that_is_no_bucket_bound_lists_the_bounds(url):
    metric = {
        "name": "m",
        "kind": "latency",
        "histogram": 'duration_seconds_bucket{version="${version}"}',
        "slower_than": "300ms",
        "margin": "1.5x",
    }
    result = judge(config(metric), PrometheusSource(url), WINDOW).metrics[0]
    assert result.outcome is Outcome.ERROR
    assert "0.3 is no bucket bound" in result.reason
    assert "0.1, 0.25, +Inf" in result.reason


@pytest.mark.parametrize(
    ("metric", "outcome", "text"),
    [
        (
            one_gauge('nan_gauge{version="${version}"}'),
            Outcome.NO_DATA,
            "no finite value on the canary: 120 points are NaN",
        ),
        (one_gauge('inf_gauge{version="${version}"}'), Outcome.NO_DATA, "no finite value on the canary"),
        (one_gauge('only_old{version="${version}"}'), Outcome.NO_DATA, "returned nothing for the canary"),
        (one_gauge('nowhere{version="${version}"}'), Outcome.NO_DATA, "nothing for either side"),
        (one_gauge("pod_bytes{version='${version}'}"), Outcome.ERROR, "4 series where one was expected"),
        (one_gauge("pod_bytes{version='${version}'", by="pod"), Outcome.ERROR, "parse error"),
        (one_gauge("rate(pod_bytes{version='${version}'})"), Outcome.ERROR, "at character 6"),
        (one_gauge('dying{version="${version}"}'), Outcome.INSUFFICIENT, "no value in the last 40 intervals"),
        (ratio("nowhere_total", "requests_total"), Outcome.INSUFFICIENT, "no event series on either side"),
        (ratio("requests_total", "nowhere_total"), Outcome.NO_DATA, "nothing for either side"),
    ],
    ids=["nan", "inf", "one side", "neither", "pods", "syntax", "type", "dying", "no events", "no total"],
)
def test_what_is_missing_or_broken_is_named_and_never_passes(url, metric, outcome, text):
    judgement = judge(config(metric), PrometheusSource(url), WINDOW)
    result = judgement.metrics[0]
    assert result.outcome is outcome
    assert text in result.reason
    assert judgement.verdict is Verdict.MARGINAL
    assert not judgement.sufficient


def test_instances_are_kept_apart_by_pod(url):
    result = judge(
        config(one_gauge('pod_bytes{version="${version}"}', by="pod", unit="bytes")), PrometheusSource(url), WINDOW
    )
    assert result.metrics[0].comparison.n_canary == 4
    assert result.verdict is Verdict.PASS


def test_a_baseline_selector_that_matches_the_canary_too_is_refused(url):
    metric = ratio("requests_total_errors", "requests_total")
    metric["total"] = {"baseline": "requests_total", "canary": 'requests_total{version="${version}"}'}
    result = judge(config(metric), PrometheusSource(url), WINDOW).metrics[0]
    assert result.outcome is Outcome.ERROR
    assert "both select the series" in result.reason


def test_a_baseline_that_selects_the_canary_within_a_function_is_refused(url, monkeypatch):
    def judged(baseline):
        texts = {"baseline": baseline, "canary": 'sum(increase(requests_total{version="new"}[15s]))'}
        metric = {"name": "m", "kind": "rate", "events": texts, "harm": "increase", "margin": "1.5x"}
        return judge(config(metric), source, WINDOW).metrics[0].reason

    source = PrometheusSource(url)
    assert "baseline and canary both select 2 series" in judged('sum(increase(requests_total{version=~".+"}[15s]))')
    assert "both select" not in judged('sum(increase(requests_total{version="old"}[15s]))')
    # what is known to be apart is asked for once, and what is taken away again is no overlap
    sent, real = [], source._instant
    monkeypatch.setattr(source, "_instant", lambda text, moment: sent.append(text) or real(text, moment))
    assert "both select" not in judged('sum(increase(requests_total{version="old"}[15s]))')
    taken = 'sum(increase(requests_total{version=~".+"}[15s])) - sum(increase(requests_total{version="new"}[15s]))'
    assert "both select" not in judged(taken)
    assert not [text for text in sent if ") and count_over_time(" in text]


def test_too_many_raw_samples_name_the_metric_and_the_remedy(url):
    result = judge(
        config(ratio("requests_total_errors", "requests_total"), max_samples=100), PrometheusSource(url), WINDOW
    )
    assert "more than max_samples = 100" in result.metrics[0].reason


def test_a_selector_that_was_small_is_not_counted_before_it_is_read_again(url, monkeypatch):
    source, asked = PrometheusSource(url), []
    real = source._instant

    def instant(expression, moment):
        asked.append(expression)
        return real(expression, moment)

    monkeypatch.setattr(source, "_instant", instant)
    usual = config(ratio("requests_total_errors", "requests_total"))
    first = source.fetch(list(usual.queries()), WINDOW)
    assert any("count_over_time" in one for one in asked)
    asked.clear()
    again = source.fetch(list(usual.queries()), WINDOW)
    assert asked
    assert not any("count_over_time" in one for one in asked)
    for one, other in zip(first, again, strict=True):
        for before, after in zip(one.series, other.series, strict=True):
            np.testing.assert_array_equal(before.values, after.values)
    # near the bound it is counted; and what has grown past it since is refused although it was not
    near = config(ratio("requests_total_errors", "requests_total"), max_samples=2000)
    source.fetch(list(near.queries()), WINDOW)
    assert any("count_over_time" in one for one in asked)
    source._sizes = dict.fromkeys(source._sizes, (1, 1e6))
    few = config(ratio("requests_total_errors", "requests_total"), max_samples=100)
    assert "more than max_samples = 100" in judge(few, source, WINDOW).metrics[0].reason


def test_a_history_makes_the_autocorrelation_time_more_certain(url):
    with_history = config(one_gauge('heap_bytes{version="${version}"}', unit="bytes"), history="90m")
    source = PrometheusSource(url)
    assert judge(with_history, source, WINDOW).verdict is Verdict.PASS
    assert len(list(with_history.history_queries())) == 1


def test_the_command_line_judges_a_real_server(url, tmp_path, capsys):
    path = tmp_path / "shop.yaml"
    path.write_text(
        """
name: shop
interval: 15s
baseline: {version: old}
metrics:
  - {name: errors, kind: ratio, harm: increase, margin: 1.5x or +0.1pp,
     events: 'requests_total_errors{version="${version}"}', total: 'requests_total{version="${version}"}'}
  - {name: heap, kind: gauge, query: 'heap_bytes{version="${version}"}', harm: increase, margin: 10%, unit: bytes}
"""
    )
    window = ["--start", "2026-01-01T12:00:00Z", "--end", "2026-01-01T12:30:00Z", "--canary", "version=new"]
    assert main(["judge", str(path), "--source", url, *window]) == 2
    text = capsys.readouterr().out
    assert text.startswith("FAIL")
    assert "\x1b[" not in text
    assert main(["judge", str(path), "--source", url, *window, "--format", "json"]) == 2
    assert json.loads(capsys.readouterr().out)["verdict"] == "fail"
    assert main(["judge", str(path), "--source", url, *window[:-2]]) == 1
    assert "`${version}` is not defined" in capsys.readouterr().err


LABELS = {
    "baseline": {
        "namespace": "shop",
        "workload": "web-primary",
        "service": "web",
        "version": "1",
        "ingress": "web",
        "proxy": "shop_web-primary_80",
        "backend": "web_primary",
        "route": "web",
        "port": "80",
        "job": "shop/web",
    },
    "canary": {
        "namespace": "shop",
        "workload": "web-canary",
        "service": "web",
        "version": "2",
        "ingress": "web",
        "proxy": "shop_web-canary_80",
        "backend": "web_canary",
        "route": "web",
        "port": "80",
        "job": "shop/web",
    },
}


def example_of(pattern):
    """A value that a preset's pattern matches."""
    for regex, text in (
        (r"[0-9a-zA-Z]+(-[0-9a-zA-Z]+)", "5f7b-x2x4z"),
        (r"[0-9a-z]+-[0-9a-z]+", "5f7b-x2x4z"),
        ("[0-9a-zA-Z-]+", "80"),
        ("kube(ew)?_", "kube_"),
        (".*", "x"),
        ("(_[0-9]+)?", ""),
        (".+", "x"),
        ("5..", "503"),
        ("0|503", "503"),
    ):
        pattern = pattern.replace(regex, text)
    return pattern.split("|")[0].replace("\\", "")


def labels_of(selector):
    found = {}
    for name, operator, value in re.findall(r'(\w+)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"', selector):
        if operator == "!=":
            found[name] = "web-canary"
        elif operator == "!~":
            found[name] = "13"
        else:
            found[name] = example_of(value) if operator == "=~" else value
    return {name: value for name, value in found.items() if value}


@pytest.mark.parametrize("name", sorted(set(presets()) - {"otel-native"}))  # which is in test_native.py
def test_every_preset_finds_its_metrics_on_a_real_server(name, prometheus_binaries):
    """Backfilled with series of the preset's names: 5 rps and 10 % errors against 95 rps and 1 %."""
    preset = presets()[name]
    made = JudgeConfig.from_mapping({"name": name, "interval": "15s", "preset": name, **LABELS})
    samples, seen = [], 0
    for side, rate, share, seed in (("baseline", 95, 0.01, 1), ("canary", 5, 0.1, 2)):
        rendered = {
            key: render(preset.of(side, selector), LABELS[side])
            for key, selector in (("total", preset.total), ("bad", preset.bad), ("bucket", preset.bucket))
            if selector is not None
        }
        target = {"instance": side, "job": "x"}
        healthy = {"grpc_response_status": "0"} if name == "istio-grpc" else {}
        good_labels = {**labels_of(rendered["total"]), **healthy, **target}
        bad_labels = {**labels_of(rendered["bad"]), **target}
        if "job" in labels_of(rendered["total"]):
            good_labels["job"] = bad_labels["job"] = LABELS[side]["job"]
        metric_name = rendered["total"].split("{")[0]
        samples.append(counter(metric_name, {**good_labels, "ok": "yes"}, rate * (1 - share), seed)[0])
        samples.append(counter(metric_name, {**bad_labels, "ok": "no"}, rate * share, seed + 2)[0])
        if preset.bucket is not None:
            bound = next(m for m in made.metrics if m.kind == "latency").bound()
            bucket = {**labels_of(rendered["bucket"]), **target}
            bucket["job"] = good_labels["job"]
            for le, part in ((f"{bound:g}", 0.8), ("+Inf", 1.0)):
                samples.append(
                    counter(rendered["bucket"].split("{")[0], {**bucket, "le": le}, rate * part, seed + 9)[0]
                )
    with running(prometheus_binaries, samples) as url:
        judgement = judge(made, PrometheusSource(url), WINDOW)
    errors = judgement["errors"]
    assert errors.outcome is Outcome.REGRESSED, errors.reason
    assert errors.comparison.canary == pytest.approx(0.1, abs=0.015)
    assert errors.comparison.baseline == pytest.approx(0.01, abs=0.002)
    assert errors.quality.canary_share == pytest.approx(0.05, abs=0.005)
    assert judgement["volume"].comparison.baseline == pytest.approx(95, rel=0.05)
    for metric in made.metrics:
        if metric.kind == "latency":
            seen += 1
            assert judgement[metric.name].comparison.baseline == pytest.approx(0.2, abs=0.05)
    assert seen == (1 if preset.bucket else 0)
