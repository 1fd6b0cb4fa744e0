"""Plans from the baseline's own traffic: by the formulas of the sample sizes, and by simulation."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from canary_judge import Window, plan
from canary_judge.__main__ import main
from canary_judge.errors import DataError
from canary_judge.series import Form, Result, Series
from canary_judge.sources import FrameSource
from canary_judge.stats.dependence import ranks_tau
from canary_judge.stats.sample_sizes import rank_sample_size
from canary_judge.testing import People
from tests import builders

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
WINDOW = Window(NOON, NOON + timedelta(hours=2))
ERRORS = {
    "name": "errors",
    "kind": "ratio",
    "events": "errors",
    "total": "requests",
    "harm": "increase",
    "margin": "1.5x",
}
HEAP = {"name": "heap", "kind": "gauge", "query": "heap", "harm": "increase", "margin": "10%"}


def config(*metrics, **more):
    return builders.config(*metrics, **{"interval": "1m", **more})


class Traffic:
    """A baseline of several pods; `clump` errors at a time hit one pod."""

    def __init__(self, per_minute=1000, rate=0.005, pods=4, clump=1, rho=0.0):
        self.per_minute, self.rate, self.pods, self.clump, self.rho = per_minute, rate, pods, clump, rho
        self.sides = set()

    def fetch(self, queries, window):
        rng = np.random.default_rng(1)
        answers = []
        for query in queries:
            self.sides.add(query.side.value)
            times = window.edges(query.step)[1:]
            if query.expression == "heap":
                noise = np.zeros(times.size)
                for k in range(1, times.size):
                    noise[k] = self.rho * noise[k - 1] + rng.normal(0, 3)
                answers.append(Result(series=(Series(timestamps=times, values=100 + noise),)))
                continue
            mean = self.per_minute / self.pods * (self.rate if query.expression == "errors" else 1.0)
            made = [
                self.clump * rng.poisson(mean / (self.clump if query.expression == "errors" else 1), times.size)
                for _ in range(self.pods)
            ]
            if query.expression == "requests":
                made = [np.full(times.size, mean) for _ in made]
            series = tuple(
                Series(timestamps=times, values=one.astype(float), labels={"instance": f"pod-{k}"})
                for k, one in enumerate(made)
            )
            answers.append(Result(series=series, form=Form.COUNTS))
        return answers


def test_only_the_baseline_is_asked():
    source = Traffic()
    found = plan(config({**ERRORS, "events": "errors", "total": "requests"}), source, WINDOW)
    assert source.sides == {"baseline"}
    assert [one.name for one in found.metrics] == ["errors"]


def test_the_time_is_that_of_the_sample_size_formula():
    """At 5 % of 1,000 requests a minute and .5 % errors: events of the canary arrive at .25 a minute."""
    found = plan(config(ERRORS), Traffic(), WINDOW, weights=[5], power=0.9)
    from scipy import special

    quantiles = special.ndtri(1 - 0.05 * 0.8) + special.ndtri(0.9)
    events = (quantiles / np.log(1.5)) ** 2 / 0.95
    assert found.seconds(5) == pytest.approx(60 * events / 0.25, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("weight", [5, 25])
def test_a_healthy_canary_is_shown_safe_in_the_planned_time_about_as_often_as_planned(weight):
    from benchmarks.one_look import config as simulated
    from benchmarks.one_look import counts
    from benchmarks.repeated import runs, share

    found = plan(config(ERRORS), Traffic(), WINDOW, weights=[weight], power=0.9)
    minutes = int(np.ceil(found.seconds(weight) / 60))
    made = simulated({key: value for key, value in ERRORS.items() if key != "name"}, 0.01)
    results = runs(made, counts(share=weight / 100, intervals=minutes), 200, 1, minutes, 1, horizon=True)
    assert abs(share(results, "passed") - 0.9) < 0.1


def test_more_weight_takes_less_time_and_clumps_take_more():
    calm, clumped = (plan(config(ERRORS), Traffic(clump=clump), WINDOW) for clump in (1, 8))
    times = [calm.seconds(weight) for weight in calm.weights]
    assert times == sorted(times, reverse=True)
    assert clumped.seconds(5) > 4 * calm.seconds(5)
    assert "phi" in clumped.metrics[0].measured


def test_dependent_gauges_take_longer_at_every_weight():
    calm, slow = (plan(config(HEAP), Traffic(rho=rho), WINDOW) for rho in (0.0, 0.8))
    assert len(set(calm.metrics[0].seconds)) == 1
    assert slow.seconds(5) > 2 * calm.seconds(5)


def test_the_bottleneck_is_named_and_an_impossible_plan_says_so():
    found = plan(config({**ERRORS, "margin": "1.05x"}, HEAP), Traffic(per_minute=100), WINDOW)
    assert found.bottleneck(5) == "errors"
    assert not found.feasible
    assert "No weight shows this within a day" in found.explain()


def test_no_events_make_a_relative_margin_impossible_and_an_absolute_one_not():
    quiet = Traffic(rate=0.0)
    assert "add an absolute part" in plan(config(ERRORS), quiet, WINDOW).explain()
    assert plan(config({**ERRORS, "margin": "1.5x or +0.5pp"}), quiet, WINDOW).feasible


def test_a_source_without_data_is_said():
    class Empty:
        def fetch(self, queries, window):
            return [Result() for _ in queries]

    with pytest.raises(DataError, match="nothing of the baseline can be measured from .*no data in this window"):
        plan(config(ERRORS, HEAP), Empty(), WINDOW)


def planned(metric, *series, minutes=120, form=Form.LEVEL, weights=(5, 50), power=0.9):
    """The plan of one metric whose baseline has these (labels, values per minute, or times and values)."""

    class Source:
        def fetch(self, queries, window):
            times = window.edges(queries[0].step)[1:]
            found = tuple(Series(timestamps=times, values=np.asarray(v, float), labels=labels) for labels, v in series)
            return [Result(series=found, form=form) for _ in queries]

    found = plan(
        config(metric), Source(), Window(NOON, NOON + timedelta(minutes=minutes)), weights=weights, power=power
    )
    return found.metrics[0]


def quantiles(power=0.9):
    """Of the error that looks with a planned end leave for it, and of the wanted power."""
    return stats.norm.isf(0.05 * 0.8), stats.norm.ppf(power)


def test_single_values_take_noethers_size_of_the_margin_at_the_rate_they_come():
    rng = np.random.default_rng(1)
    values = rng.normal(100, 10, 120)
    metric = {"name": "latency", "kind": "samples", "query": "q", "harm": "increase", "margin": "+5"}
    found = planned(metric, ({}, values), form=Form.SAMPLES)
    size = rank_sample_size(baseline=values, shifted=values + 5, alpha=0.05 * 0.8, power=0.9)
    # n values in all at a share s are worth 2 n s (1 - s) a side, and one comes each minute
    tau = ranks_tau(values[None, :])
    for weight, seconds in zip((0.05, 0.5), found.seconds, strict=True):
        assert seconds == pytest.approx(60 * size * tau / (2 * weight * (1 - weight)), rel=0.02)
    assert found.measured.startswith("1 values/min")
    either = planned({**metric, "harm": "either"}, ({}, values), form=Form.SAMPLES)
    assert either.seconds[0] >= found.seconds[0]


def test_single_values_that_are_all_alike_never_show_a_relative_margin_of_nothing():
    metric = {"name": "latency", "kind": "samples", "query": "q", "harm": "increase", "margin": "10%"}
    found = planned(metric, ({}, np.zeros(120)), form=Form.SAMPLES)
    assert found.seconds == (None, None)
    assert "with and without the margin" in found.problem


def test_a_limit_of_a_gauge_takes_as_many_signs_as_tell_80_percent_from_half():
    metric = {"name": "heap", "kind": "gauge", "query": "q", "harm": "increase", "limit": 200.0}
    values = np.random.default_rng(2).normal(100, 3, 120)
    found = planned(metric, ({}, values))
    alpha, beta = quantiles()
    tau = ranks_tau(values[None, :])
    assert found.seconds == (pytest.approx(60 * ((0.5 * alpha + 0.4 * beta) / 0.3) ** 2 * tau),) * 2


@pytest.mark.parametrize("limit", ["5%", "0.2%"])
def test_a_limit_of_a_share_takes_the_trials_of_one_proportion(limit):
    metric = {**ERRORS, "limit": limit}
    del metric["margin"]
    found = plan(config(metric), Traffic(pods=1), WINDOW, weights=[5, 50], power=0.9).metrics[0]
    if limit == "0.2%":
        assert found.seconds == (None, None)
        assert found.problem == "the baseline itself is beyond the limit of 0.2%"
        return
    alpha, beta = quantiles()
    trials = ((alpha * np.sqrt(0.05 * 0.95) + beta * np.sqrt(0.005 * 0.995)) / (0.05 - 0.005)) ** 2
    assert found.seconds[0] == pytest.approx(60 * trials / (1000 * 0.05), rel=0.1)
    assert found.seconds[1] == pytest.approx(found.seconds[0] / 10)


def test_a_limit_and_a_margin_must_both_be_shown():
    def seconds(**more):
        return plan(config({**ERRORS, **more}), Traffic(), WINDOW).metrics[0].seconds

    assert seconds(margin="1.1x", limit="50%") == seconds(margin="1.1x")  # the margin takes longer
    assert seconds(margin="+50pp", limit="0.6%") > seconds(margin="+50pp")  # the limit does


def test_a_rate_falls_short_of_a_lower_limit_by_what_is_left_below_it():
    metric = {"name": "jobs", "kind": "rate", "events": "errors", "harm": "decrease", "limit": 0.01}
    found = plan(config(metric), Traffic(), WINDOW, weights=[5], power=0.9).metrics[0]
    alpha, beta = quantiles()
    usual = 1000 * 0.005 / (4 * 60)  # events per second and pod
    seconds = ((alpha * np.sqrt(0.01) + beta * np.sqrt(usual)) / (usual - 0.01)) ** 2
    assert found.seconds[0] == pytest.approx(seconds / 4 / 0.05, rel=0.25)


def test_instances_need_a_number_of_them_and_no_time():
    rng = np.random.default_rng(3)
    metric = {"name": "cpu", "kind": "gauge", "query": "q", "by": "pod", "harm": "increase", "margin": "10%"}
    pods = [({"pod": str(k)}, 100 + 5 * rng.normal() + rng.normal(size=120)) for k in range(40)]
    found = planned(metric, *pods, weights=(5, 50))
    levels = np.array([values.mean() for _, values in pods])
    needed = next(
        n
        for n in range(2, 100)
        if stats.nct.sf(
            stats.t.isf(0.05 * 0.8, 2 * n - 2), 2 * n - 2, np.sqrt(n / 2) * 0.1 * levels.mean() / levels.std(ddof=1)
        )
        >= 0.9
    )
    assert found.problem == f"needs about {needed} instances per side, whatever the time"
    assert 2 < needed <= 20  # 40 pods: 5 % of them are 2, 50 % are 20
    assert found.seconds == (None, 600.0)
    assert found.measured.startswith("40 instances, ")


def test_a_baseline_of_fewer_than_ten_intervals_is_not_planned_from():
    found = planned({**HEAP, "query": "q"}, ({}, np.full(9, 100.0)), minutes=9)
    assert (found.measured, found.seconds) == ("9 intervals", (None, None))
    assert found.problem == "measure at least 10 intervals"
    assert planned({**HEAP, "query": "q"}, ({}, np.full(10, 100.0)), minutes=10).seconds[0] is not None


def test_only_the_time_that_has_data_is_measured_and_told():
    """An hour of data, asked for with `--last 6h`, has the pace of that hour."""

    class Young(Traffic):
        def fetch(self, queries, window):
            late = Window(window.end - timedelta(hours=1), window.end)
            return super().fetch(queries, late)

    one = config(ERRORS)
    hour = plan(one, Traffic(), Window(NOON - timedelta(hours=1), NOON)).metrics[0]
    day = plan(one, Young(), Window(NOON - timedelta(hours=6), NOON)).metrics[0]
    assert day.seconds == pytest.approx(hour.seconds, rel=1e-9)
    assert day.measured == f"{hour.measured}, in 1h00m of 6h00m that have data"


BY_USER = {
    "name": "clicks",
    "kind": "ratio",
    "events": "clicks",
    "total": "impressions",
    "unit_of_replication": "user",
    "harm": "decrease",
    "margin": "10%",
}


def test_users_of_a_table_are_counted_before_its_canary_began():
    frame = People(users=20_000, hours=24, weights=((0.0, 2.0),)).draw(1).frame(NOON)
    config = builders.config(BY_USER, interval="1h")
    window = Window(NOON - timedelta(hours=24), NOON + timedelta(hours=24))
    (whole,) = plan(config, FrameSource(frame), window, weights=[2]).metrics
    inside = frame[(frame["timestamp"] > window.start) & (frame["timestamp"] <= window.end)]
    sides = inside.groupby("user")["side"].agg(["first", "nunique"])
    users = int(((sides["first"] == "baseline") & (sides["nunique"] == 1)).sum())
    assert whole.measured.startswith(f"{users:,} users in 48h00m")
    # of a table that holds no more than the run, nothing is known of two days
    (run,) = plan(config, FrameSource(frame[frame["timestamp"] > NOON]), window, weights=[2]).metrics
    assert " users in 24h00m" in run.measured
    assert 0.3 < run.seconds[0] / whole.seconds[0] < 3


def test_the_power_is_that_of_the_config_where_it_names_one():
    assert plan(config(ERRORS), Traffic(), WINDOW).power == 0.9
    assert plan(config(ERRORS, power=0.95), Traffic(), WINDOW).power == 0.95
    assert plan(config(ERRORS, power=0.95), Traffic(), WINDOW, power=0.7).power == 0.7


def test_a_table_of_the_baseline_alone_is_planned_for(tmp_path, capsys):
    rng = np.random.default_rng(1)
    times = pd.date_range(NOON, periods=240, freq="1min")
    requests = rng.poisson(1000, 240)
    table = pd.DataFrame({"timestamp": times, "side": "baseline", "requests": requests})
    table.assign(errors=rng.binomial(requests, 0.01)).to_csv(tmp_path / "before.csv", index=False)
    (tmp_path / "c.yaml").write_text(
        "{name: shop, interval: 1m, metrics: [{name: errors, kind: ratio, events: errors, total: requests, "
        "harm: increase, margin: 1.5x}]}"
    )
    assert main(["plan", str(tmp_path / "c.yaml"), "--data", str(tmp_path / "before.csv")]) == 0
    assert "errors" in capsys.readouterr().out
    assert main(["judge", str(tmp_path / "c.yaml"), "--data", str(tmp_path / "before.csv")]) == 1
    assert "no row whose side is 'canary'" in capsys.readouterr().err


@pytest.mark.parametrize("interval", ["1d", "1h"])
def test_users_summed_up_to_one_time_tell_no_pace(interval):
    rng = np.random.default_rng(1)
    day = pd.Timestamp("2026-01-02", tz="UTC")
    rows = pd.DataFrame(
        {"timestamp": day, "side": "baseline", "user": np.arange(5000), "minutes": rng.exponential(3, 5000)}
    )
    metric = {"name": "engagement", "kind": "mean", "numerator": "minutes", "harm": "decrease", "margin": "10%"}
    made, window = config(metric, interval=interval), Window(day - timedelta(days=2), day.to_pydatetime())
    with pytest.raises(DataError, match="all rows of its users have one time, so that it cannot be told how fast"):
        plan(made, FrameSource(rows), window)
    # of several days the shorter spans have none
    days = pd.concat([rows.assign(timestamp=day - pd.Timedelta(days=k)) for k in range(4)])
    found = plan(made, FrameSource(days), Window(day - timedelta(days=4), day.to_pydatetime()))
    assert "0 seconds" not in found.explain()
