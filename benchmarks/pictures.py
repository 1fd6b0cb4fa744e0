"""The pictures of README and docs, drawn anew: `python -m benchmarks.pictures` writes them to docs/images.

They show simulated shops (benchmarks/picture_cases.py and plot_cases.py), so that everybody gets the same ones. The
plots need the extra `plot`, and the power and backtest plots some minutes of simulation.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import plot_cases
from benchmarks.picture_cases import CASES, NOON, judged, looks
from canary_judge import Window, plots
from canary_judge.judging.fetching import fetch
from canary_judge.pictures import verdict_svg
from canary_judge.samples import Samples, collect
from canary_judge.sources import FrameSource

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGES = Path(__file__).parents[1] / "docs" / "images"
# What README and docs show, each following the reader's light or dark page.
SHOWN = {
    "verdict": "fail",
    "verdict-hold": "hold",
    "verdict-pass": "pass",
    "verdict-split": "split",
    "verdict-orders": "fail decrease",
}


def samples_of(name: str) -> Samples:
    """What was judged at the last look of a case."""
    case, last = CASES[name], looks(name)[-1]
    source, window = FrameSource(case.shop.frame(60)), Window(NOON, last.end)
    config = case.config()
    return collect(config, window, fetch(config, source, list(config.queries()), window))


PLOTS: dict[str, Callable[[plots.Mode], Axes]] = {
    "plot-depth": lambda theme: judged("fail").plot(
        "errors", looks=looks("fail"), samples=samples_of("fail"), theme=theme
    ),
    "plot-evidence": lambda theme: plots.evidence(looks("forty"), theme=theme),
    "plot-planning": lambda theme: plots.planning(
        plot_cases.planned(), weight=5, length=timedelta(minutes=45), theme=theme
    ),
    "plot-power": lambda theme: plots.power(plot_cases.powered(), margin=1.5, what="simulated canaries", theme=theme),
    "plot-calibration": lambda theme: plots.calibration(plot_cases.replayed(), declared=0.01, theme=theme),
    "plot-rollback": lambda theme: plots.rollout(plot_cases.rollout_events(canary_errors=0.011, seed=7), theme=theme),
    "plot-rollout": lambda theme: plots.rollout(plot_cases.rollout_events(canary_errors=0.005, seed=3), theme=theme),
    "plot-backtest": lambda theme: plots.backtest(
        plot_cases.recorded(),
        promised=0.01,
        what="120 simulated canaries (healthy: as the baseline; bad: 2x to 4x errors)",
        theme=theme,
    ),
}


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=IMAGES)
    parser.add_argument("--theme", choices=["light", "dark", "print"], default="light", help="of the plots")
    parser.add_argument("--all", action="store_true", help="every case, at both widths and in every theme")
    parser.add_argument("--only", nargs="*", choices=[*PLOTS, "verdict"], help="some of them")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.only is None or "verdict" in options.only:
        for name, case in SHOWN.items():
            (options.folder / f"{name}.svg").write_text(verdict_svg(judged(case)) + "\n", encoding="utf-8")
    for name, draw in PLOTS.items():
        if options.only is None or name in options.only:
            _save(draw(options.theme), options.folder / f"{name}.png")
    if options.all:
        for case in CASES:
            for width in (700, 360):
                for theme in ("light", "dark", "print", "auto"):
                    name = f"{case.replace(' ', '-')}-{width}-{theme}.svg"
                    (options.folder / name).write_text(verdict_svg(judged(case), width=width, theme=theme))


def _save(ax: Axes, path: Path) -> None:
    """Without the version of the library in it, so that the same picture is the same file."""
    from matplotlib import pyplot as plt

    figure = ax.figure
    figure.savefig(path, dpi=105, metadata={"Software": None})
    plt.close("all")


if __name__ == "__main__":
    main()
