"""What a calibration foretold, and what came: `python -m benchmarks.calibrate_real FOLDER` (../shared/data has hosts.parquet).

CPU of the hosts of one service on one day. The earlier half is calibrated on (pod windows). The later half was not used:
random sets of its hosts are canaries in which nothing differs, and then ones that are half as high again. Foretold are
the rate of alarms with its interval, the power, and the margin that is shown in 90 % of windows.
Then the same of recordings of single requests, which are short: one to three minutes, a fifth of the requests a canary.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.real_data import requests
from canary_judge import JudgeConfig, Window, judge
from canary_judge.history import calibrate
from canary_judge.results import Outcome
from canary_judge.sources import FrameSource
from canary_judge.stats.trials import clopper_pearson

STEP = timedelta(minutes=5)
CANARY = 5  # hosts
DRAWS = 20
EFFECT = 1.5
LENGTH = timedelta(hours=3)


def config_of(name: str, margin: str) -> JudgeConfig:
    metric = {"name": "cpu", "kind": "gauge", "query": "cpu", "by": "host", "harm": "increase", "margin": margin}
    return JudgeConfig.from_mapping({"name": name, "interval": "5m", "false_alarm_rate": 0.01, "metrics": [metric]})


def frame_of(part: pd.DataFrame, start: datetime) -> pd.DataFrame:
    times = pd.to_datetime(start) + (part.interval.to_numpy() + 1) * pd.to_timedelta(STEP)
    host = "h" + part.host.astype(str)
    return pd.DataFrame({"timestamp": times, "side": "baseline", "host": host, "cpu": part.cpu_percent.astype(float)})


def later(config: JudgeConfig, frame: pd.DataFrame, half: Window, effect: float) -> list[Outcome]:
    rng, hosts, found = np.random.default_rng(1), frame.host.unique(), []
    for number in range(int(half.duration / (LENGTH / 2)) - 1):
        window = Window(half.start + number * LENGTH / 2, half.start + number * LENGTH / 2 + LENGTH)
        for _ in range(DRAWS):
            canary = frame.host.isin(rng.choice(hosts, CANARY, replace=False))
            drawn = frame.assign(
                side=np.where(canary, "canary", "baseline"), cpu=frame.cpu * np.where(canary, effect, 1.0)
            )
            found.append(judge(config, FrameSource(drawn), window).metrics[0].outcome)
    return found


def share(outcomes: list[Outcome], *which: Outcome) -> float:
    return sum(one in which for one in outcomes) / len(outcomes)


def split_requests(folder: Path) -> None:
    """The first half of each recording is calibrated on; random fifths of the later one are the canaries."""
    metric = {"name": "latency", "kind": "samples", "query": "latency", "harm": "increase", "margin": "10%"}
    rng, rows = np.random.default_rng(5), []
    for part in requests(folder):
        times = pd.to_datetime((part.t * 1e6).astype("int64"), unit="us", utc=True)
        step = max(int((part.t.max() - part.t.min()) / 60), 1)
        config = JudgeConfig.from_mapping(
            {"name": "requests", "interval": f"{step}s", "false_alarm_rate": 0.01, "metrics": [metric]}
        )
        frame = pd.DataFrame({"timestamp": times, "side": "baseline", "latency": part.latency_ms})
        whole = Window(times.min().to_pydatetime(), times.max().to_pydatetime()).aligned(config.interval)
        noon, length = whole.start + (whole.duration / 2) // config.interval * config.interval, 15 * config.interval
        past = FrameSource(frame[frame.timestamp <= noon])
        found = calibrate(config, past, Window(whole.start, noon), length=length, weight=20, draws=DRAWS)
        line, told = next(one for one in found.lines if one.routed), found.suggestions[0]
        outcomes: dict[float, list[Outcome]] = {1.0: [], EFFECT: []}
        for start in range(0, int((whole.end - noon - length) / config.interval) + 1, 7):
            window = Window(noon + start * config.interval, noon + start * config.interval + length)
            for _ in range(DRAWS):
                canary = rng.random(len(frame)) < 0.2
                side = np.where(canary, "canary", "baseline")
                for effect, some in outcomes.items():
                    drawn = frame.assign(side=side, latency=frame.latency * np.where(canary, effect, 1.0))
                    some.append(judge(config, FrameSource(drawn), window).metrics[0].outcome)
        calm, power = outcomes[1.0], share(outcomes[EFFECT], Outcome.DEGRADED, Outcome.REGRESSED)
        rows.append(
            (line.alarms, line.total, calm.count(Outcome.REGRESSED), len(calm), told.power[f"x{EFFECT:g}"], power)
        )
    alarms, total, came, n, planned, power = np.array(rows, dtype=float).T
    print(f"\n{len(rows)} recordings of requests: alarms {alarms.sum():.0f} of {total.sum():.0f} foretold, ", end="")
    print(f"{came.sum():.0f} of {n.sum():.0f} came; power at {EFFECT}x {planned.mean():.0%} foretold, ", end="")
    print(f"{power.mean():.0%} came, within 10 points in {(np.abs(planned - power) <= 0.1).sum()}")


def main(folder: Path) -> None:
    print("| service and day | hosts | alarms foretold | alarms that came | power at 1.5x foretold | came ", end="")
    print("| margin foretold | shown in |\n| --- | ---: | --- | --- | ---: | ---: | ---: | ---: |")
    inside, powers = [], []
    table = pd.read_parquet(folder / "hosts.parquet")
    for (day, service), part in table.groupby(["day", "service"], observed=True):
        start = datetime.strptime(str(day), "%Y%m%d").replace(tzinfo=UTC)
        noon, midnight = start + timedelta(hours=12), start + timedelta(hours=24)
        frame = frame_of(part, start)
        name, hosts = f"{service} {day}", frame.host.nunique()
        config, half = config_of(name, "10%"), Window(noon, midnight)
        found = calibrate(
            config,
            FrameSource(frame[frame.timestamp <= noon]),
            Window(start, noon),
            length=LENGTH,
            weight=100 * CANARY / hosts,
            instances=CANARY,
            draws=DRAWS,
        )
        line, told = next(one for one in found.lines if one.routed), found.suggestions[0]
        came = later(config, frame, half, 1.0)
        rate = share(came, Outcome.REGRESSED)
        power = share(later(config, frame, half, EFFECT), Outcome.DEGRADED, Outcome.REGRESSED)
        shown = "-"
        if told.margin is not None:
            calm = later(config_of(name, told.margin), frame, half, 1.0)
            shown = f"{share(calm, Outcome.SAFE, Outcome.TOLERABLE):.0%}"
        low, high, held = line.low, line.high, ""
        if low is None or high is None:  # it tells none where most replays are undecided; here it is asked all the same
            low, high = clopper_pearson(line.alarms / line.total * line.worth, line.worth)
            held = " (withheld)"
        inside.append(low <= rate <= high)
        planned = told.power[f"x{EFFECT:g}"]
        powers.append(power - planned)
        print(
            f"| {name} | {hosts} | {line.alarms} of {line.total}, {low:.1%} to {high:.1%}{held} | "
            f"{came.count(Outcome.REGRESSED)} of {len(came)}, {rate:.1%} | {planned:.0%} | {power:.0%} | "
            f"{told.margin} | {shown} |",
            flush=True,
        )
    near = sum(abs(one) <= 0.1 for one in powers)
    print(
        f"\nrate inside the interval: {sum(inside)} of {len(inside)}; power within 10 points: {near} of {len(powers)}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    split_requests(Path(sys.argv[1]))
