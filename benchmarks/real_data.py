"""What the judge says on real data: `python -m benchmarks.real_data [FOLDER]` writes docs/realdata.md.

FOLDER holds series.parquet, pairs.csv and requests.parquet (benchmarks/data has those parts whose licences allow it),
and, where it exists, hosts.parquet (not redistributable: the rows that need it are left out without it). Nothing was
fitted to these data: margin 10 %, declared false-alarm rate 1 %, everything else a default.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from canary_judge import JudgeConfig, Monitor, Window, judge, kayenta
from canary_judge.results import Outcome
from canary_judge.sources import FrameSource

HERE = Path(__file__).parent / "data"
FOUND = {Outcome.DEGRADED, Outcome.REGRESSED}
UNSURE = {Outcome.INSUFFICIENT, Outcome.NO_DATA, Outcome.ERROR}
ALPHA = 0.01
SAME_TIME = {"fair", "fair_unequal", "injected"}


# --- pairs of series ---------------------------------------------------------------------------------------------


@cache
def pairs(folder: Path) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    table = pd.read_csv(folder / "pairs.csv").set_index("pair_id")
    series = pd.read_parquet(folder / "series.parquet")
    return table, dict(list(series.groupby("pair_id", observed=True)))


def metric_of(pair: pd.Series) -> dict[str, object]:
    """How a user would configure this series."""
    common = {"name": "m", "harm": pair.direction, "margin": "10%"}
    if pair.kind == "count":
        return {**common, "kind": "rate", "events": "value"}
    statistic = {"latency": "quantile" if "_p9" in pair.metric else "mean", "rate": "ratio"}.get(pair.kind, "level")
    return {**common, "kind": "gauge", "query": "value", "statistic": statistic}


def config_of(pair: pd.Series) -> JudgeConfig:
    weight = {"fair_unequal": 5, "fair": 50, "injected": 50}.get(pair.fairness)
    return JudgeConfig.from_mapping(
        {
            "name": "pair",
            "interval": f"{int(1000 * pair.step_s)}ms",
            "false_alarm_rate": ALPHA,
            "metrics": [metric_of(pair)],
            **({"traffic": {"weight": weight}} if weight else {}),
        }
    )


def frame_of(points: pd.DataFrame, scale: float = 1.0) -> pd.DataFrame:
    # some sources count from an origin of their own
    since = 0 if points.timestamp.min() > 1e8 else 1_600_000_000
    return pd.DataFrame(
        {
            "timestamp": pd.to_datetime(((points.timestamp + since) * 1e9).round().astype("int64"), utc=True),
            "side": points.group.astype(str),
            "value": points.value * scale,
        }
    )


def source_of(pair: pd.Series, points: pd.DataFrame, scale: float = 1.0) -> FrameSource:
    return FrameSource(frame_of(points, scale), align="time" if pair.fairness in SAME_TIME else "start")


def once(folder: Path, name: str, scale: float = 1.0) -> Outcome:
    """One planned look at the whole pair."""
    table, points = pairs(folder)
    pair = table.loc[name]
    config, source = config_of(pair), source_of(pair, points[name], scale)
    return judge(config, source, source.window(config.interval)).metrics[0].outcome


def often(folder: Path, name: str) -> Outcome:
    """A look after every interval with the planned end as horizon; found at any look counts."""
    table, points = pairs(folder)
    pair = table.loc[name]
    config, source = config_of(pair), source_of(pair, points[name])
    window = source.window(config.interval)
    monitor = Monitor(config, start=window.start, horizon=window.duration)
    moment, outcome, worst = window.start, Outcome.INSUFFICIENT, None
    while moment < window.end:
        moment += config.interval
        outcome = monitor.look(source, moment).metrics[0].outcome
        worst = worst or (outcome if outcome in FOUND else None)
    # what is still waited for at the end has come, or never will
    outcome = monitor.look(source, window.end + 4 * config.interval).metrics[0].outcome
    return worst or outcome


def incumbents(folder: Path, name: str) -> dict[str, bool]:
    """Kayenta's rule, Mann-Whitney p < .05, Welch p < .05: any direction, as they are used."""
    points = pairs(folder)[1][name]
    b, c = (points.value[points.group == side].to_numpy(float) for side in ("baseline", "canary"))
    metric = {"name": "m", "query": {}, "groups": ["g"], "analysisConfigurations": {"canary": {"direction": "either"}}}
    request = kayenta.Request.from_mapping(
        {
            "canaryConfig": {"metrics": [metric], "classifier": {"groupWeights": {"g": 100}}},
            "scoreThresholds": {"pass": 95, "marginal": 75},
            "metricSetPairList": [
                {"name": "m", "id": "1", "tags": {}, "values": {"control": list(b), "experiment": list(c)}}
            ],
        }
    )
    label = kayenta.judge(request.config, request.pairs, request.thresholds).results[0].classification
    found = {"Kayenta": label in {"High", "Low"}}
    b, c = b[np.isfinite(b)], c[np.isfinite(c)]
    usable = min(b.size, c.size) > 1 and not (b.std() == 0 and c.std() == 0)
    found["MW"] = bool(usable and stats.mannwhitneyu(c, b).pvalue < 0.05)
    found["Welch"] = bool(usable and stats.ttest_ind(c, b, equal_var=False).pvalue < 0.05)
    return found


# --- raw requests and hosts --------------------------------------------------------------------------------------

LOOKS = 10


@cache
def requests(folder: Path) -> list[pd.DataFrame]:
    table = pd.read_parquet(folder / "requests.parquet")
    table = table[table.label == "A/A"]
    return [part.sort_values("t") for _, part in table.groupby("pair_id") if len(part) >= 200]


def raw_split(folder: Path, seed: int, share: float, kind: str) -> tuple[Outcome, Outcome, float]:
    """A random split of real requests, looked at once and ten times; and Welch's p-value of the raw latencies."""
    rng = np.random.default_rng([seed, int(1000 * share)])
    parts = requests(folder)
    part = parts[seed % len(parts)]
    canary = rng.random(len(part)) < share
    table = pd.DataFrame(
        {
            "timestamp": pd.to_datetime((part.t * 1e9).astype("int64"), utc=True),
            "side": np.where(canary, "canary", "baseline"),
            "latency": part.latency_ms.to_numpy(),
        }
    )
    slow = f"{int(part.latency_ms.quantile(0.9))}ms"
    metric = {"name": "m", "harm": "increase", "margin": "10%", "unit": "ms"}
    metric |= (
        {"kind": "samples", "query": "latency"}
        if kind == "samples"
        else {"kind": "latency", "histogram": "latency", "slower_than": slow}
    )
    span = part.t.max() - part.t.min()
    config = JudgeConfig.from_mapping(
        {"name": "raw", "interval": f"{max(int(span / 60), 1)}s", "false_alarm_rate": ALPHA, "metrics": [metric]}
    )
    source = FrameSource(table)
    window = source.window(config.interval)
    single = judge(config, source, window).metrics[0].outcome
    monitor = Monitor(config, start=window.start, horizon=window.duration)
    many = None
    for k in range(1, LOOKS + 1):
        outcome = monitor.look(source, window.start + k * window.duration / LOOKS).metrics[0].outcome
        many = many or (outcome if outcome in FOUND else None)
    outcome = monitor.look(source, window.end + 4 * config.interval).metrics[0].outcome
    p = (
        stats.ttest_ind(table.latency[canary], table.latency[~canary], equal_var=False).pvalue
        if canary.sum() > 1
        else 1.0
    )
    return single, many or outcome, float(p)


@cache
def days(folder: Path) -> list[np.ndarray]:
    """CPU of the hosts of one service on one day, shape (hosts, intervals)."""
    table = pd.read_parquet(folder / "hosts.parquet")
    return [
        part.pivot_table(index="host", columns="interval", values="cpu_percent", observed=True).to_numpy(float)
        for _, part in table.groupby(["day", "service"], observed=True)
    ]


def host_sets(folder: Path, seed: int, mode: str, effect: float) -> tuple[Outcome, float]:
    """Ten random hosts against ten others of the same service; the second half of the day, the first is the past."""
    rng = np.random.default_rng([seed, 77])
    day = days(folder)[seed % len(days(folder))]
    chosen = rng.permutation(len(day))[:20]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    half = day.shape[1] // 2
    values = np.repeat(day[chosen][:, : 2 * half], 1, axis=0).copy()
    values[10:, half:] *= effect
    times = [start + timedelta(minutes=5 * (k + 1)) for k in range(2 * half)]
    sides = np.repeat(["baseline", "canary"], 10)
    metric = {"name": "cpu", "kind": "gauge", "query": "cpu", "harm": "increase", "margin": "10%"}
    if mode == "averaged":
        rows = [
            pd.DataFrame({"timestamp": times, "side": side, "cpu": np.nanmean(values[sides == side], axis=0)})
            for side in ("baseline", "canary")
        ]
        metric["unit_of_replication"] = "instance"
    else:
        rows = [
            pd.DataFrame({"timestamp": times, "side": side, "pod": f"h{row}", "cpu": values[row]})
            for row, side in enumerate(sides)
        ]
        metric["by"] = "pod"
    history = {"history": "12h"} if mode == "past" else {}
    config = JudgeConfig.from_mapping(
        {"name": "hosts", "interval": "5m", "false_alarm_rate": ALPHA, "metrics": [metric], **history}
    )
    source = FrameSource(pd.concat(rows))
    outcome = judge(config, source, Window(times[half - 1], times[-1])).metrics[0].outcome
    b, c = (np.nanmean(values[sides == side][:, half:], axis=0) for side in ("baseline", "canary"))
    return outcome, float(stats.mannwhitneyu(c, b).pvalue)


# --- tables ------------------------------------------------------------------------------------------------------


def rate(hits: int, n: int) -> str:
    """Percent, with its 95 % Clopper-Pearson interval."""
    if not n:
        return "-"
    low = stats.beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0
    high = stats.beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0
    return f"{100 * hits / n:.1f} [{100 * low:.1f}-{100 * high:.1f}]"


def summary(outcomes: Iterable[Outcome]) -> tuple[str, str, str]:
    """Found, shown to be within the margin, not enough evidence."""
    outcomes = list(outcomes)
    n = len(outcomes)
    good = {Outcome.SAFE, Outcome.TOLERABLE}
    parts = (FOUND, good, UNSURE)
    found, safe, unsure = (sum(outcome in part for outcome in outcomes) for part in parts)
    return rate(found, n), f"{100 * safe / n:.0f}", f"{100 * unsure / n:.0f}"


def _pair_row(job: tuple[Path, str]) -> tuple[str, Outcome, Outcome, dict[str, bool]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return job[1], once(*job), often(*job), incumbents(*job)


def _raw_row(job: tuple[Path, int, float, str]) -> tuple[Outcome, Outcome, float]:
    return raw_split(*job)


def _host_row(job: tuple[Path, int, str, float]) -> tuple[Outcome, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return host_sets(*job)


def _unit_row(job: tuple[Path, str, float]) -> Outcome:
    return once(*job)


FAULTS = {
    "real_fault": "a fault put into the service itself",
    "real_fault_diluted": "a fault in one of some 40 services, the metric of all",
    "incident": "an incident, labelled by the source",
    "anomaly_window": "a window labelled anomalous, often a short spike in it",
}


def changed_for_real(table: pd.DataFrame, rows: dict[str, tuple]) -> list[str]:
    """Pairs in which something did change, by class and by what changed; none in a folder that has no such pairs."""
    real = table[table.fairness.isin(FAULTS)]
    if real.empty:
        return []
    lines = [
        "",
        "## Something changed",
        "",
        "After the fault against before it, on the same hosts. Only the first class comes with a bar (27 regressed); in the others the fault need not move the metric by the margin.",
        "",
        "| class | pairs | regressed once | found once | found often | safe | unsure | Kayenta | Mann-Whitney | Welch |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups = [(title, real.index[real.fairness == fairness]) for fairness, title in FAULTS.items()]
    own = real[real.fairness == "real_fault"]
    groups[1:1] = [
        (f"&nbsp;&nbsp;{dataset}: {effect}", part.index)
        for (dataset, effect), part in own.groupby(["dataset", "effect"])
    ]
    for title, names in groups:
        found = [rows[name] for name in names]
        regressed = sum(row[0] is Outcome.REGRESSED for row in found)
        single, safe, unsure = summary(row[0] for row in found)
        often = summary(row[1] for row in found)[0]
        others = [rate(sum(row[2][judge] for row in found), len(found)) for judge in ("Kayenta", "MW", "Welch")]
        lines.append(
            f"| {title} | {len(found)} | {regressed} | {single} | {often} | {safe} | {unsure} | {' | '.join(others)} |"
        )
    return lines


def report(folder: Path, run: Callable[..., Iterable]) -> str:
    table, _ = pairs(folder)
    rows = {row[0]: row[1:] for row in run(_pair_row, [(folder, name) for name in table.index])}
    lines = [
        "# Real data",
        "",
        "Written by `python -m benchmarks.real_data [FOLDER]`. Pairs of series from public sources (benchmarks/data/NOTICE.md); declared false-alarm rate 1 %, margin 10 %, all else defaults: nothing was fitted to these data.",
        "*Found* is degraded or regressed at the planned end (once) or at any look (often: a look after every interval, the end planned). In brackets the 95 % Clopper-Pearson interval, in percent. *Unsure* is insufficient, no data or refused: counted apart, so that silence does not look like calm.",
        "Beside it what is in use: Kayenta's rule (98 % interval, a quarter of its own shift), Mann-Whitney p < .05, Welch p < .05, each at one look, any direction.",
        "",
        "## Nothing changed: false alarms",
        "",
        "| class | pairs | found once | found often | safe | unsure | Kayenta | Mann-Whitney | Welch |",
        "|---|---|---|---|---|---|---|---|---|",
    ]

    def line(title: str, names: list[str]) -> str:
        found = [rows[name] for name in names]
        single, safe, unsure = summary(row[0] for row in found)
        others = [rate(sum(row[2][judge] for row in found), len(found)) for judge in ("Kayenta", "MW", "Welch")]
        return f"| {title} | {len(names)} | {single} | {summary(row[1] for row in found)[0]} | {safe} | {unsure} | {' | '.join(others)} |"

    titles = {
        "fair": "fair: requests split 50/50",
        "fair_unequal": "fair, unequal: 5/95, binned",
        "adjacent": "adjacent windows",
        "day_before": "same hour a day before",
        "short": "five points (something changed)",
    }
    for fairness, title in titles.items():
        names = list(table.index[table.fairness == fairness])
        if names:
            lines.append(line(title, names))
    lines += [
        "",
        "## Effects put into fair pairs",
        "",
        "| effect | pairs | found once | found often | safe | unsure | Kayenta | Mann-Whitney | Welch |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    injected = table[(table.fairness == "injected") & (table.dataset != "planetlab")]
    for (dataset, effect), part in injected.groupby(["dataset", "effect"], sort=True):
        lines.append(line(f"{dataset}: {effect}", list(part.index)))
    lines += changed_for_real(table, rows)
    draws = int(os.environ.get("CANARY_JUDGE_DRAWS", "2000"))
    lines += [
        "",
        f"## Random splits of real requests, nothing changed ({draws} each)",
        "",
        "| split | kind | found once | found at ten looks | safe | unsure | Welch p < .05 once |",
        "|---|---|---|---|---|---|---|",
    ]
    for share in (0.5, 0.05):
        for kind in ("samples", "latency"):
            found = list(run(_raw_row, [(folder, seed, share, kind) for seed in range(draws)]))
            single, safe, unsure = summary(row[0] for row in found)
            welch = rate(sum(row[2] < 0.05 for row in found), draws)
            lines.append(
                f"| {share:.0%} | {kind} | {single} | {summary(row[1] for row in found)[0]} | {safe} | {unsure} | {welch} |"
            )
    if (folder / "hosts.parquet").exists():
        lines += [
            "",
            "## Ten hosts of a service against ten others, 600 draws",
            "",
            "| input | effect | found | safe | unsure | Mann-Whitney p < .05 of the averages |",
            "|---|---|---|---|---|---|",
        ]
        for mode, title in (
            ("averaged", "averages, unit of replication: instance"),
            ("alone", "per host"),
            ("past", "per host, with its own past"),
        ):
            for effect in (1.0, 1.25, 1.5, 2.0):
                found = list(run(_host_row, [(folder, seed, mode, effect) for seed in range(600)]))
                single, safe, unsure = summary(row[0] for row in found)
                lines.append(
                    f"| {title} | x{effect:g} | {single} | {safe} | {unsure} | {rate(sum(row[1] < 0.05 for row in found), 600)} |"
                )
    changed = 0
    fair = list(table.index[table.fairness.isin(["fair", "injected"]) & (table.kind != "count")])[:120]
    for scale in (1e-9, 1e12):
        changed += sum(
            outcome is not rows[name][0]
            for name, outcome in zip(fair, run(_unit_row, [(folder, name, scale) for name in fair]), strict=True)
        )
    lines += ["", f"Rescaling the unit by 1e-9 and by 1e12 changed {changed} of {2 * len(fair)} outcomes.", ""]
    return "\n".join(lines)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    workers = int(os.environ.get("CANARY_JUDGE_WORKERS", "4"))
    with ProcessPoolExecutor(workers) as pool:
        text = report(folder, lambda job, jobs: pool.map(job, jobs, chunksize=8))
    Path(__file__).parents[1].joinpath("docs", "realdata.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
