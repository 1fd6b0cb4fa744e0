"""What a calibration foretold, and what came: `python -m benchmarks.calibrate_real FOLDER` (../shared/data has hosts.parquet).

CPU of the hosts of one service on one day. The earlier half is calibrated on (pod windows). The later half was not used:
random sets of its hosts are canaries in which nothing differs, and then ones that are half as high again. Foretold are
the rate of alarms with its interval, the power, and the margin that is shown in 90 % of windows.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

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
