"""How often a healthy canary is ever failed when it is polled: python -m benchmarks.service_peeking [CANARIES]

Two ratios, `fail_when: any_harm` where the config has it, stated rate 5 %; through the service's `web` and `kayenta`
adapters, and beside them a one-look answer at each poll, which is what a stateless judge gives.
"""

import json
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from canary_judge import JudgeConfig, Window, judge
from canary_judge.results import Judgement
from canary_judge.service import Runs
from canary_judge.service.bands import band_of, judge_result
from canary_judge.testing import simulated_world

SIDES = {"canary": {"version": "2"}, "baseline": {"version": "1"}}


def shares(folder, *, canaries, polls, rate, seed):
    """Share of the canaries that were ever failed, by adapter."""
    folder = Path(folder)
    (folder / "configs").mkdir()
    failed = dict.fromkeys(("web", "kayenta", "one look at each poll", "one look at the end"), 0)
    world = simulated_world(seed=seed)
    plain = json.loads(world.config.model_dump_json(exclude={"sources", "router"}))
    metric = plain["metrics"][0]
    plain |= {"name": "shop", "interval": "1m", "false_alarm_rate": rate}
    # no margin to speak of, so that a canary within it is one without any difference
    plain["metrics"] = [{**metric, "margin": "+0.0001pp"}]
    (folder / "configs" / "shop.json").write_text(json.dumps(plain))
    config = JudgeConfig.from_mapping(plain).with_sides(**SIDES)
    current = {}
    runs = Runs(
        folder / "configs",
        folder / "judge.db",
        workers=0,
        sources=lambda *_: {"default": current["world"]},
        now=lambda: current["world"].clock.now(),  # noqa: PLW0108  (the world changes)
        most_runs=10**6,
    )
    with runs:
        for number in range(canaries):
            world = current["world"] = simulated_world(seed=seed * 100_000 + number, interval="1m")
            world.router.set_weight(10)
            begin = world.clock.now()
            ever = dict.fromkeys(failed, False)
            for poll in range(1, polls + 1):
                world.clock.seconds += 60
                answer = runs.look("shop", **SIDES, key=f"canary {number}", start=begin, horizon=f"{polls}m")
                ever["web"] |= answer.verdict == "fail"
                end = begin + timedelta(minutes=poll)
                told = runs.asked("window", config, start=begin, end=end)
                result = judge_result(
                    Judgement.from_json(json.dumps(json.loads(told.text)["judgement"])), band_of(None), {}
                )
                ever["kayenta"] |= result["score"]["score"] == 0
                one = judge(config, world, Window(begin, end)).verdict == "fail"
                ever["one look at each poll"] |= one
                ever["one look at the end"] = one
            for name, found in ever.items():
                failed[name] += found
    return {name: number / canaries for name, number in failed.items()}


def main():
    """The table."""
    canaries = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        found = shares(folder, canaries=canaries, polls=30, rate=0.05, seed=7)
    print(f"{canaries} A/A canaries, 30 polls, stated rate 5 %\n| asked by | ever failed |\n| --- | --- |")
    for name, share in found.items():
        print(f"| {name} | {100 * share:.1f} % |")


if __name__ == "__main__":
    main()
