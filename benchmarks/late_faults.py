"""Faults that begin late, in the simulated world: `python -m benchmarks.late_faults [worlds]`.

A rollout (5, 25, 50, 75, 100 %) waits at 25 % for an approval; the canary is healthy until it breaks, and the approval
comes a minute later. Told are: promoted or not, and the time from the fault to weight 0, beside that of the same fault
when the canary begins at 25 %; then how long healthy canaries take. The table is printed as Markdown.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from canary_judge import Controller, JudgeConfig, RolloutPlan
from canary_judge.testing import simulated_world

MINUTE = 60.0


@dataclass(frozen=True)
class Scene:
    """Rates, and when the canary breaks (None: never), in minutes; an approval comes a minute after it."""

    rate: float
    per_minute: int
    times: float = 1.0
    after: int | None = None
    until: int = 24 * 60

    @property
    def name(self) -> str:
        traffic = f"{self.rate:.1%} of {self.per_minute:,}/min"
        return f"{traffic}, healthy" if self.after is None else f"{traffic}, {self.times:g}x after {self.after} min"


@dataclass(frozen=True)
class Ran:
    phase: str
    minutes: float
    to_zero: float | None
    highest: float


def run(scene: Scene, seed: int) -> Ran:
    broken = float("inf") if scene.after is None else scene.after * MINUTE
    world = simulated_world(
        error_rate=scene.rate,
        canary_error_rate=lambda t: scene.rate * (scene.times if t > broken else 1.0),
        seed=seed,
        requests_per_second=scene.per_minute / 60,
        interval="1m",
    )
    metric = {"name": "errors", "kind": "ratio", "events": "errors", "total": "requests", "harm": "increase"}
    world.config = JudgeConfig.from_mapping(
        {"name": "late faults", "interval": "1m", "metrics": [{**metric, "margin": "1.5x"}]}
    )
    stages: list[object] = [5.0, {"weight": 25.0, "approval": scene.after not in (None, 0)}, 50.0, 75.0, 100.0]
    first = {"first_stage_at_most": 30.0, "stages": stages[1:]} if scene.after == 0 else {"stages": stages}
    controller = Controller(
        world.config, world.source, world.router, RolloutPlan.from_mapping(first | {"minimum": "2m"}), clock=world.clock
    )
    approved, highest = False, 0.0
    for _ in controller.events():
        seconds = world.clock.seconds
        if seconds >= broken + MINUTE and not approved:
            approved = True
            controller.approve()
        highest = max(highest, world.router.get_weight().percent or 0.0)
        if seconds > scene.until * MINUTE:
            break
    falls = [at for at, percent in world.log if percent == 0 and at > 0]
    to_zero = (falls[0] - broken) / MINUTE if falls and broken < float("inf") else None
    return Ran(controller.state.phase.value, world.clock.seconds / MINUTE, to_zero, highest)


def scenes() -> Iterator[Scene]:
    for times in (10.0, 5.0, 3.0):
        for after in (0, 30, 180, 360):
            yield Scene(0.005, 1000, times, after, until=after + 12 * 60)
    for rate, per_minute in ((0.001, 1000), (0.005, 1000), (0.02, 1000), (0.005, 12_000)):
        yield Scene(rate, per_minute, until=3 * 24 * 60)


def median(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({max(values):.0f})" if values else "-"


def main() -> None:
    worlds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    print(
        "| scene | worlds | promoted | raised | at 0 % after the fault, min: median (longest) | at 100 % after, min |"
    )
    print("|---|---|---|---|---|---|")
    with ProcessPoolExecutor() as pool:
        for scene in scenes():
            ran = list(pool.map(run, [scene] * worlds, range(worlds)))
            promoted = [one for one in ran if one.phase == "promoted"]
            raised = sum(one.highest > 25 for one in ran)
            zero = [one.to_zero for one in ran if one.to_zero is not None]
            row: tuple[object, ...] = (
                scene.name,
                worlds,
                len(promoted),
                raised,
                median(zero),
                median([one.minutes for one in promoted]),
            )
            print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main()
