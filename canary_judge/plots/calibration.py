"""How often a judge cries wolf on past data in which nothing happened: a line a way of replaying, never pooled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from canary_judge.pictures.lettering import fit, plain
from canary_judge.plots.canvas import Canvas, Mode, Style, all_of, canvas, say
from canary_judge.stats.trials import clopper_pearson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["DesignRate", "calibration"]

_LITTLE, _MUCH = 0.1, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignRate:
    """Replays of one design, named by what it redraws.

    Attributes:
        design: `requests`, `pods`, `day` ...
        alarms: Replays that raised an alarm.
        replays: All of them.
        effective: How many independent ones they are worth; None: all. Replays of one window share its luck.
        clusters: What shares luck, as "14 windows".
        blind_to: What it cannot see, as "pods, drift".
        fits: The user's routing does what this design does; others are shown beside it.
        withheld: Why no rate can be told; empty where one can.
    """

    design: str
    alarms: int
    replays: int
    effective: float | None = None
    clusters: str = ""
    blind_to: str = ""
    fits: bool = True
    withheld: str = ""

    def __post_init__(self) -> None:
        """Refuse counts that are none."""
        if not 0 <= self.alarms <= self.replays or self.replays < 1:
            raise ValueError(f"{self.design}: {self.alarms} alarms of {self.replays} replays do not add up")
        if self.effective is not None and not 0 < self.effective <= self.replays:
            raise ValueError(
                f"{self.design}: effective is {self.effective}; it is more than 0, and {self.replays} at most"
            )

    @property
    def interval(self) -> tuple[float, float]:
        """Of the rate, 95 %, on the effective number."""
        worth = self.replays if self.effective is None else self.effective
        return clopper_pearson(self.alarms * worth / self.replays, worth)

    def reading(self, declared: float) -> str:
        """What it says of the declared rate.

        Examples:
            >>> DesignRate(design="requests", alarms=0, replays=14).reading(0.01)
            'too little history'
        """
        low, high = self.interval
        if low > declared:
            return "more than declared"
        if high <= declared:
            return "within"
        return "too little history" if high > max(_LITTLE, _MUCH * declared) else "does not contradict"


def calibration(
    rates: Iterable[DesignRate], *, declared: float, metric: str = "", theme: Mode = "light", ax: Axes | None = None
) -> Axes:
    """Draw the rate of alarms on past data with its 95 % band, by design, against the declared rate.

    The promise comes from the method; what past data can do is refute it.

    Args:
        rates: One a design; the first one is named in the title.
        declared: `false_alarm_rate`, 0 to 1.
        metric: Of which metric they are, for the title.
        theme: `light`, `dark` or `print`.
        ax: Where to; None makes a figure of 8.2 inches, as high as it has rows.

    Raises:
        ValueError: There is no rate, or the declared one is no rate.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure(figsize=(8, 5)).add_subplot()
        >>> rate = DesignRate(design="requests", alarms=0, replays=280, effective=14.0)
        >>> calibration([rate], declared=0.01, ax=ax).texts[0].get_text()
        'requests: 0 of 280 replays raised an alarm: between 0 and 23 %'
    """
    rates = all_of(rates, DesignRate, "rates", "one for each design")
    if not 0 < declared < 1:
        raise ValueError(f"declared is {declared}; it is a rate between 0 and 1")
    with canvas(ax, (8.2, 1.75 + 0.5 * len(rates)), theme, sides=(1.75, 3.15, 0.55)) as made:
        low, high = rates[0].interval
        first, tones = rates[0], made.tones
        finding = f"{first.alarms} of {first.replays} replays raised an alarm: between {100 * low:.2g} and {_pct(high)}"
        if first.withheld:
            finding = f"no rate can be told: {plain(first.withheld)}"
        made.head(
            f"{say(metric)}, {first.design}: {finding}" if metric else f"{first.design}: {finding}",
            "past data in which nothing happened; band: 95 %; hollow: not how the canary is routed",
        )
        ends = [one.interval[1] for one in rates]
        longest = min(1.0, max(*ends, 2 * declared) * 1.05)
        made.ax.axvspan(100 * declared, 100 * longest, color=tones["beyond"], lw=0)
        made.ax.axvline(100 * declared, color=tones["bad"], lw=1.8)
        rows = list(range(len(rates)))[::-1]
        above: Style = {"va": "bottom", "ha": "left", "color": tones["bad"], "fontweight": "bold"}
        made.ax.text(100 * declared, len(rates) - 0.45, f" declared: {_pct(declared)}", **above)
        for y, one in zip(rows, rates, strict=True):
            _row(made, y, one, declared)
        made.ax.set_yticks(rows, [say(one.design) for one in rates])
        made.ax.tick_params(axis="y", length=0, labelcolor=tones["ink"])
        made.ax.spines["left"].set_visible(False)
        made.ax.set_ylim(-0.6, len(rates) - 0.15)
        made.ax.set_xlim(-2 * longest, 100 * longest)
        made.ax.set_xlabel("share of replays with an alarm, %", color=tones["dim"])
        return made.ax


def _pct(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"


def _row(made: Canvas, y: float, one: DesignRate, declared: float) -> None:
    low, high = one.interval
    ink = made.tones["ink" if one.fits else "dim"]
    beside: Style = {"xycoords": ("axes fraction", "data"), "annotation_clip": False, "color": ink}
    room = max(made.beside, 120.0)
    if one.withheld:
        counted = f"{one.alarms} of {one.replays}: no rate"
        made.ax.annotate(say(fit(counted, room, 10)), (1.02, y + 0.05), va="bottom", **beside)
        made.ax.annotate(say(fit(plain(one.withheld), room, 9)), (1.02, y - 0.02), va="top", fontsize=9, **beside)
        return
    made.ax.plot([100 * low, 100 * high], [y, y], color=ink, lw=6, alpha=0.35, solid_capstyle="butt", zorder=3)
    fill = ink if one.fits else made.tones["paper"]
    made.ax.plot([100 * one.alarms / one.replays], [y], "o", mfc=fill, mec=ink, ms=7, zorder=4, clip_on=False)
    worth = "" if one.effective is None else f", worth {one.effective:.0f}"
    blind = f"blind to {plain(one.blind_to)}" if one.blind_to else ""
    below = "; ".join(part for part in (plain(one.clusters), blind) if part)
    above = fit(f"{one.alarms} of {one.replays}{worth}: {one.reading(declared)}", room, 10)
    made.ax.annotate(say(above), (1.02, y + 0.05), va="bottom", **beside)
    made.ax.annotate(say(fit(below, room, 9)), (1.02, y - 0.02), va="top", fontsize=9, **beside)
