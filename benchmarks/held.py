"""Evidence that is held between assessments, against looking at everything at every look.

`python -m benchmarks.held [runs]` follows the same canaries twice, as `observe` does and with nothing held, and tells
how many looks later a failure and a pass come, and whether any verdict came that looking always would not have given.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from canary_judge.results import Verdict
from tests.looks.test_held import first, run

LOOKS = 240
WORLDS = {
    "healthy": {},
    "harm of 1.3x from the start": {"fault": 0, "harm": 1.3},
    "1.6x after 100 looks": {"fault": 100, "harm": 1.6},
    "3x after 150 looks": {"fault": 150, "harm": 3.0},
}


def delays(name: str, world: str, seed: int) -> tuple[int, int, dict[Verdict, tuple[int | None, int | None]]]:
    """Looks whose verdict differs, metrics assessed, and when each verdict came first: held, always."""
    held, always = ([*run((name,), seed, LOOKS, always=one, **WORLDS[world])] for one in (False, True))
    differ = sum(one.verdict is not other.verdict for (_, one), (_, other) in zip(held, always, strict=True))
    assessed = sum(stream.held.at == stream.intervals for state, _ in held for stream in state.streams.values())
    return differ, assessed, {one: (first(one, held), first(one, always)) for one in (Verdict.FAIL, Verdict.PASS)}


def main(runs: int) -> None:
    """All kinds of metrics in all worlds."""
    print(f"{runs} runs of {LOOKS} looks a row, seeds from 5000; delays in looks: median, largest\n")
    print("| metric | canary | assessed | verdict differs | failed | delay | passed | delay | other way |")
    print("|---|---|---|---|---|---|---|---|---|")
    with ProcessPoolExecutor(2) as pool:
        for name in ("errors", "slow", "heap", "seconds"):
            for world in WORLDS:
                found = list(pool.map(delays, *zip(*((name, world, 5000 + k) for k in range(runs)), strict=True)))
                row, wrong = [], 0
                for verdict in (Verdict.FAIL, Verdict.PASS):
                    pairs = [one[2][verdict] for one in found]
                    wrong += sum(h is not None and (a is None or h < a) for h, a in pairs)
                    late = [h - a for h, a in pairs if h is not None and a is not None]
                    never = sum(h is None and a is not None for h, a in pairs)
                    told = f"{np.median(late):g}, {max(late)}" if late else "-"
                    row += [str(len(late)), told + (f"; {never} not yet" if never else "")]
                share = np.mean([one[1] for one in found]) / LOOKS
                print(
                    f"| {name} | {world} | {share:.0%} | {sum(o[0] for o in found) / runs / LOOKS:.2%} | "
                    f"{' | '.join(row)} | {wrong} |",
                    flush=True,
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
