"""How fast the rank kernels, imports and the command line are: `python -m benchmarks.speed [rounds]`.

Prints the tables and writes them to docs/performance.md. Every figure is a ratio to a peer in the same run. Peers that
are not installed (pingouin, tea-tasting: `pip install -e '.[bench]'`; R: `Rscript`) are named and left out.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.paired import ROUNDS, Ratio, paired
from benchmarks.rank_cases import SHAPES, Case, Data, cases, has_r, ours_judge, r_seconds

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
MARK = "<!-- written by `python -m benchmarks.speed` from here on -->\n"
NEEDS = {"pingouin": "pingouin", "tea-tasting": "tea_tasting"}
CONFIG = {
    "name": "shop",
    "interval": "1m",
    "metrics": [
        {"name": "heap", "kind": "gauge", "query": "heap", "harm": "increase", "margin": "10%"},
        {
            "name": "errors",
            "kind": "ratio",
            "events": "errors",
            "total": "requests",
            "harm": "increase",
            "margin": "1.5x or +0.1pp",
        },
    ],
}


def machine() -> str:
    """Machine, versions, date."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    features = getattr(np, "_core", np).__dict__.get("_multiarray_umath")
    found = features.__cpu_features__ if features is not None else {}
    simd = "AVX-512" if found.get("AVX512_SKX") else "AVX2" if found.get("AVX2") else "no AVX2"
    names = ("numpy", "scipy", "pandas", "pydantic")
    load = f", load {os.getloadavg()[0]:.1f} when started" if hasattr(os, "getloadavg") else ""
    return (
        f"{model}, {os.cpu_count()} cores, numpy dispatches {simd}{load}; Python {platform.python_version()}, "
        f"{', '.join(f'{name} {version(name)}' for name in names)}; {datetime.now(UTC):%Y-%m-%d}; one thread"
    )


def kernels(rounds: int) -> Iterator[str]:
    """The rank kernels against their peers."""
    yield "| work | peer | pairs x points a side | ours us/pair | peer us/pair | peer / ours | quartiles | bar | met |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for case in cases():
        needed = next((module for name, module in NEEDS.items() if case.peer_name.startswith(name)), None)
        if needed and importlib.util.find_spec(needed) is None:
            yield f"| {case.name} | {case.peer_name} | {case.data} | not installed | | | | | |"
            continue
        yield _row(case, paired(case.ours, case.peer, units=case.data.pairs, rounds=rounds))


def _row(case: Case, ratio: Ratio) -> str:
    low, high = ratio.spread
    bar = "" if case.bar is None else f"{case.bar:.3g}"
    met = "" if case.bar is None else "yes" if ratio.median >= case.bar else "**no**"
    return (
        f"| {case.name} | {case.peer_name} | {case.data} | {ratio.ours * 1e6:.3g} | {ratio.peer * 1e6:.3g} | "
        f"{ratio.median:.3g} | {low:.3g}-{high:.3g} | {bar} | {met} |"
    )


def against_r(rounds: int) -> Iterator[str]:
    """The whole judge against R, which times itself; alternated."""
    yield "| points a side | ours us/pair | R us/pair | R / ours | quartiles | bar | met |"
    yield "|---|---|---|---|---|---|---|"
    if not has_r():
        yield "| R is not installed | | | | | | |"
        return
    for pairs, points in SHAPES[1:]:
        data = Data.draw(pairs, points, ties=False)
        times, own = [], []
        for _ in range(rounds):
            seconds, estimates = r_seconds(data, 3)
            found = ours_judge(data)
            # R solves for a root between two differences, where ours is their middle: near, not the same
            width = (found.upper - found.lower)[:3]  # type: ignore[attr-defined]
            assert (np.abs(estimates - found.estimate[:3]) < 0.01 * width).all()  # type: ignore[attr-defined]
            times.append(seconds)
            own.append(paired(lambda data=data: ours_judge(data), lambda: None, units=pairs, rounds=1).ours)
        ratios = np.array(times) / np.array(own)
        low, high = np.quantile(ratios, [0.25, 0.75])
        yield (
            f"| {points} | {np.median(own) * 1e6:.3g} | {np.median(times) * 1e6:.3g} | {np.median(ratios):.0f} | "
            f"{low:.0f}-{high:.0f} | 100 | {'yes' if np.median(ratios) >= 100 else '**no**'} |"
        )


def processes(rounds: int) -> Iterator[str]:
    """Fresh processes, as a ratio to `import numpy` in the same round."""
    with tempfile.TemporaryDirectory() as folder:
        # of what was installed the bytecode is kept, wherever this runs
        kept = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
        config, data = Path(folder) / "c.json", Path(folder) / "d.csv"
        config.write_text(json.dumps(CONFIG), encoding="utf-8")
        data.write_text(_csv(), encoding="utf-8")
        numpy = [sys.executable, "-c", "import numpy"]
        judge = [sys.executable, "-m", "canary_judge", "judge", str(config), "--data", str(data)]
        todo = (
            ("`import canary_judge`", [sys.executable, "-c", "import canary_judge"], 0.3),
            ("`canary-judge judge` from CSV", judge, 4.0),
            ("`canary-judge --help`", [sys.executable, "-m", "canary_judge", "--help"], 0.7),
            ("`import pandas`, to compare", [sys.executable, "-c", "import pandas"], None),
        )
        yield "| process | ms | `import numpy` ms | ratio | quartiles | bar | met |"
        yield "|---|---|---|---|---|---|---|"
        for name, command, bar in todo:
            _run(numpy, kept)  # which write it
            _run(command, kept)
            ratio = paired(lambda: _run(numpy, kept), lambda command=command: _run(command, kept), rounds=rounds)
            low, high = ratio.spread
            met = "" if bar is None else "yes" if ratio.median <= bar else "**no**"
            yield (
                f"| {name} | {ratio.peer * 1e3:.0f} | {ratio.ours * 1e3:.0f} | {ratio.median:.2f} | "
                f"{low:.2f}-{high:.2f} | {'' if bar is None else f'<= {bar}'} | {met} |"
            )


def _run(command: list[str], kept: dict[str, str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=kept)
    assert done.returncode in (0, 2, 3, 4), done.stderr


def _csv() -> str:
    rng = np.random.default_rng(1)
    lines = ["timestamp,side,heap,requests,errors"]
    for side, requests in (("baseline", 9500), ("canary", 500)):
        for minute in range(60):
            heap, errors = rng.normal(100, 3), rng.binomial(requests, 0.005)
            lines.append(f"{1.7e9 + 60 * minute},{side},{heap},{requests},{errors}")
    return "\n".join(lines) + "\n"


MEMORY = """
import sys, tracemalloc
from benchmarks.rank_cases import Data, ours_judge, ours_mw, scipy_rows
work, pairs, points = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
call = {"judge": ours_judge, "MW": ours_mw, "scipy axis=1 (MW)": scipy_rows}[work]
call(Data.draw(2, 30, ties=False))
data = Data.draw(pairs, points, ties=False)
tracemalloc.start()
call(data)
print(tracemalloc.get_traced_memory()[1] / 2**20)
"""


def memory() -> Iterator[str]:
    """Peak of what is allocated while the data are at hand, in fresh processes."""
    yield "| work | pairs x points | data MiB | peak above the data MiB |"
    yield "|---|---|---|---|"
    for work, pairs, points in (
        ("MW", 100_000, 60),
        ("judge", 100_000, 60),
        ("scipy axis=1 (MW)", 100_000, 60),
        ("judge", 300, 1440),
        ("MW", 1, 1_000_000),
        ("judge", 1, 1_000_000),
        ("MW", 1, 10_000_000),
        ("judge", 1, 10_000_000),
    ):
        command = [sys.executable, "-c", MEMORY, work, str(pairs), str(points)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        yield f"| {work} | {pairs} x {points} | {pairs * points * 16 / 2**20:.0f} | {float(done.stdout):.0f} |"


def main(rounds: int = ROUNDS) -> None:
    """Print all tables and write the page."""
    lines = [f"{machine()}. {rounds} rounds a case.", ""]
    for title, table in (
        ("Rank kernels", kernels(rounds)),
        ("The whole judge against R", against_r(rounds)),
        ("Processes", processes(rounds)),
        ("Memory", memory()),
    ):
        lines += [f"## {title}", ""]
        print(f"## {title}")
        for line in table:
            print(line, flush=True)
            lines.append(line)
        lines.append("")
    head = PAGE.read_text(encoding="utf-8").split(MARK)[0] if PAGE.exists() else ""
    PAGE.write_text(head + MARK + "\n" + "\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
