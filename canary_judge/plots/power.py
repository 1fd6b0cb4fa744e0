"""What a judge does with canaries of known harm: passed, rolled back, held."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from canary_judge.pictures.tokens import Tone
from canary_judge.plots.canvas import Mode, Style, all_of, canvas
from canary_judge.stats.trials import clopper_pearson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from canary_judge.arrays import Float

__all__ = ["PowerPoint", "power"]

_FOUND = 0.8  # four times in five


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerPoint:
    """Canaries of one true effect.

    Attributes:
        effect: Canary / baseline, more than 0.
        runs: How many there were.
        passed: How many of them passed.
        rolled_back: How many failed; the rest was held.
        planned: The planned share rolled back, 0 to 1, where there is a plan.
    """

    effect: float
    runs: int
    passed: int
    rolled_back: int
    planned: float | None = None

    def __post_init__(self) -> None:
        """Refuse counts that are none."""
        if not (self.effect > 0 and np.isfinite(self.effect)):
            raise ValueError(f"effect is {self.effect}; it is canary / baseline, more than 0")
        if min(self.passed, self.rolled_back) < 0 or self.passed + self.rolled_back > self.runs or self.runs < 1:
            told = f"{self.passed} passed and {self.rolled_back} rolled back of {self.runs}"
            raise ValueError(f"at {self.effect:g}x there are {told}; they add up to the runs at most")

    @property
    def held(self) -> int:
        """Neither passed nor rolled back."""
        return self.runs - self.passed - self.rolled_back


def power(
    points: Iterable[PowerPoint],
    *,
    margin: float,
    what: str = "canaries",
    theme: Mode = "light",
    ax: Axes | None = None,
) -> Axes:
    """Draw how many canaries of each true effect were passed, rolled back and held; bars are 95 % intervals.

    Args:
        points: One for each true effect, two or more.
        margin: What is tolerated, as canary / baseline.
        what: What was judged, for the second line.
        theme: `light`, `dark` or `print`.
        ax: Where to; None makes a figure of 7.2 x 4.2 inches.

    Raises:
        ValueError: There are less than two points, or the margin is no ratio.

    References:
        Clopper, C. J. & Pearson, E. S. (1934), doi:10.1093/biomet/26.4.404.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure(figsize=(8, 5)).add_subplot()
        >>> points = [
        ...     PowerPoint(effect=1.0, runs=200, passed=156, rolled_back=0),
        ...     PowerPoint(effect=2.5, runs=200, passed=0, rolled_back=187),
        ... ]
        >>> power(points, margin=1.5, ax=ax).texts[0].get_text()
        'Harm of 2.5x is found four times in five'
    """
    points = all_of(points, PowerPoint, "points", "one for each true effect")
    if len(points) < 2:
        raise ValueError(f"points has {len(points)}; a curve needs two or more")
    if not (margin > 0 and margin != 1 and np.isfinite(margin)):
        raise ValueError(f"margin is {margin}; it is canary / baseline, as 1.5")
    ranked = sorted(points, key=lambda one: one.effect)
    x = np.array([one.effect for one in ranked])
    with canvas(ax, (7.2, 4.2), theme, sides=(0.75, 1.15, 0.7)) as made:
        axes, tones = made.ax, made.tones
        made.head(_finding(ranked, margin), _promises(ranked, margin, what))
        axes.set_xscale("log")
        left, right = min(x[0], margin, 1) / 1.06, max(x[-1], margin, 1) * 1.03
        axes.axvspan(*((margin, right) if margin > 1 else (left, margin)), color=tones["beyond"], lw=0)
        axes.axvline(margin, color=tones["bad"], lw=1.8)
        axes.axvline(1, color=tones["line"], lw=1)
        styles: tuple[tuple[str, Tone, str], ...] = (("passed", "good", "o"), ("rolled back", "bad", "X"))
        for name, tone, mark in styles:
            counts = [one.passed if name == "passed" else one.rolled_back for one in ranked]
            colour = tones[tone]
            shares = np.array([count / one.runs for count, one in zip(counts, ranked, strict=True)])
            ends = np.array([clopper_pearson(count, one.runs) for count, one in zip(counts, ranked, strict=True)])
            axes.vlines(x, 100 * ends[:, 0], 100 * ends[:, 1], color=colour, lw=1.4, zorder=3)
            axes.plot(
                x, 100 * shares, "-", marker=mark, color=colour, lw=2, ms=7, mec=tones["paper"], zorder=4, clip_on=False
            )
            at = int(np.argmax(shares)) if name == "passed" else len(x) - 1
            beside = (8, 0) if name == "rolled back" else (4, 11)
            axes.annotate(
                name,
                (x[at], 100 * shares[at]),
                xytext=beside,
                textcoords="offset points",
                color=tones["small" if tone == "good" else "bad"],
                fontweight="bold",
                va="center",
                annotation_clip=False,
            )
        _held(axes, x, ranked, tones["dim"], tones["paper"])
        planned = [(one.effect, 100 * one.planned) for one in ranked if one.planned is not None]
        if planned:
            axes.plot(*zip(*planned, strict=True), color=tones["ink"], lw=1)
            axes.annotate(
                "planned",
                planned[-1],
                xytext=(8, -11),
                textcoords="offset points",
                color=tones["ink"],
                annotation_clip=False,
            )
        axes.set_xlim(left, right)
        axes.set_ylim(0, 113)
        axes.set_xticks(x, _ticks(x, margin, right / left))
        axes.minorticks_off()
        axes.set_yticks([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        below: Style = {"ha": "center", "va": "top", "transform": axes.get_xaxis_transform()}
        axes.text(margin, -0.1, "margin", color=tones["bad"], fontweight="bold", **below)
        axes.text(1, -0.1, "as the baseline", color=tones["dim"], **below)
        return axes


def _held(axes: Axes, x: Float, ranked: Sequence[PowerPoint], dim: str, paper: str) -> None:
    held = np.array([one.held / one.runs for one in ranked])
    axes.plot(x, 100 * held, color=dim, lw=1.3, ls=(0, (5, 3)))
    top = int(held.argmax())
    back = {"facecolor": paper, "edgecolor": "none", "pad": 1}
    place: Style = {
        "xytext": (-14, 2),
        "textcoords": "offset points",
        "ha": "right",
        "color": dim,
        "bbox": back,
        "zorder": 5,
    }
    axes.annotate("held: undecided", (x[top], 100 * held[top]), **place)


def _ticks(x: Float, margin: float, span: float) -> list[str]:
    """Baseline and margin always; others where they can be read beside them."""
    order = sorted(x, key=lambda value: (not np.isclose(value, (1.0, margin)).any(), value))
    told: list[float] = []
    for value in order:
        if all(abs(np.log(value / one)) > 0.075 * np.log(span) for one in told):
            told.append(float(value))
    return [f"{value:g}x" if value in told else "" for value in x]


def _finding(ranked: Sequence[PowerPoint], margin: float) -> str:
    beyond = [one for one in ranked if (one.effect > margin if margin > 1 else one.effect < margin)]
    if margin < 1:
        beyond.reverse()
    found = next((one for one in beyond if one.rolled_back >= _FOUND * one.runs), None)
    if found is None:
        return "No harm of these sizes is found four times in five"
    return f"Harm of {found.effect:g}x is found four times in five"


def _promises(ranked: Sequence[PowerPoint], margin: float, what: str) -> str:
    """The values at baseline and margin are what was promised."""
    said = f"{ranked[0].runs:,} {what} each, bars 95 %"
    parts = [f"{one.rolled_back:,} at 1x" for one in ranked if np.isclose(one.effect, 1)]
    at = [one for one in ranked if np.isclose(one.effect, margin)]
    parts += [f"{one.rolled_back:,} at the margin ({one.passed:,} passed)" for one in at]
    return said + (f"; rolled back: {', '.join(parts)}" if parts else "")
