"""What judges made of past canaries: false alarms, detections, time until them. Counts and intervals, no bare rate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from canary_judge.pictures.lettering import fit_apart, plain
from canary_judge.plots.canvas import Mode, Style, all_of, canvas, panels, say, time_ticks
from canary_judge.stats.trials import clopper_pearson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from canary_judge.plots.canvas import Canvas

__all__ = ["JudgeRecord", "backtest"]

# Of a panel in percent, what a letter takes.
_OF_A_LETTER = 5.4
# Points for a judge's name, and from the panels down to what stands under their axes.
_NAME, _UNDER = 148.0, 30.0
# Of a class, what others may have ended where one number still tells.
_MOST_CUT = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRecord:
    """What one judge made of the same past canaries.

    A canary that somebody ended before this judge decided is neither found nor missed: it is cut, and the rates are
    bounds.

    Attributes:
        judge: Its name.
        healthy: Canaries labelled healthy.
        alarms: How many of them it failed.
        bad: Canaries labelled bad.
        found: How many of them it failed.
        minutes: Of each one found, minutes until then; any order.
        cut_healthy, cut_bad: Ended by somebody else before it decided.
        canaries: Which ones, as a hash or a name: records of other canaries are not compared in silence.
        effective_healthy, effective_bad: How many independent ones they are worth; None: all.
    """

    judge: str
    healthy: int
    alarms: int
    bad: int
    found: int
    minutes: tuple[float, ...] = ()
    cut_healthy: int = 0
    cut_bad: int = 0
    canaries: str = ""
    effective_healthy: float | None = None
    effective_bad: float | None = None

    def __post_init__(self) -> None:
        """Refuse counts that do not add up."""
        for some, cut, every, name in (
            (self.alarms, self.cut_healthy, self.healthy, "healthy"),
            (self.found, self.cut_bad, self.bad, "bad"),
        ):
            if min(some, cut, every) < 0 or some + cut > every:
                raise ValueError(f"{self.judge}: {some} failed and {cut} cut of {every} {name} canaries do not add up")
        if len(self.minutes) > self.found or not np.isfinite(self.minutes).all():
            raise ValueError(f"{self.judge}: minutes has {len(self.minutes)} entries for {self.found} found canaries; "
                             "each must be a finite number")  # fmt: skip


def backtest(
    records: Iterable[JudgeRecord],
    *,
    promised: float | None = None,
    unlabelled: int = 0,
    what: str = "past canaries",
    theme: Mode = "light",
    ax: Axes | None = None,
) -> Axes:
    """Draw what several judges made of the same past canaries, the first one named in the title.

    Args:
        records: One a judge.
        promised: The false-alarm rate that was promised, 0 to 1.
        unlabelled: Canaries without a label, which are counted and not drawn.
        what: What the canaries are, for the second line.
        theme: `light`, `dark` or `print`.
        ax: Axes that the panels are put into; None makes a figure of 8.2 inches, as high as it has rows.

    Raises:
        ValueError: There is no record.

    References:
        Clopper, C. J. & Pearson, E. S. (1934), doi:10.1093/biomet/26.4.404.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure(figsize=(8, 5)).add_subplot()
        >>> record = JudgeRecord(judge="Monitor", healthy=60, alarms=0, bad=60, found=2, minutes=(5.0, 12.0))
        >>> backtest([record], promised=0.01, ax=ax).texts[0].get_text()
        'Monitor: 0 of 60 false alarms, 2 of 60 bad found'
    """
    records = all_of(records, JudgeRecord, "records", "one for each judge")
    if promised is not None and not 0 < promised < 1:
        raise ValueError(f"promised is {promised:g}; give a rate between 0 and 1, as 0.01 for 1 %")
    below = 0.75 if unlabelled else 0.45
    with canvas(ax, (8.2, 1.0 + below + max(0.42 * len(records), 1.0)), theme, sides=(2.2, 1.3, below)) as made:
        first = records[0]
        finding = (
            f"{first.judge}: {_bounds(first.alarms, first.cut_healthy, first.healthy)} false alarms, "
            f"{_bounds(first.found, first.cut_bad, first.bad)} bad found"
        )
        if not (first.healthy or first.bad):
            finding = f"{first.judge}: no canary has a label" if unlabelled else "no canary could be judged"
        made.head(finding, f"{what}; thick: 95 % interval{_cut_words(records)}{_same_words(records)}")
        boxes = [(0.0, 0.0, 0.28, 0.78), (0.36, 0.0, 0.27, 0.78), (0.7, 0.0, 0.3, 0.78)]
        alarms, found, time = panels(made, boxes)
        rows = list(range(len(records)))[::-1]
        for y, record in zip(rows, records, strict=True):
            _rate(made, alarms, y, record.alarms, record.cut_healthy, record.healthy, record.effective_healthy)
            _rate(made, found, y, record.found, record.cut_bad, record.bad, record.effective_bad)
            _times(made, time, y, record)
        longest = max((one for record in records for one in record.minutes), default=1.0)
        time.set_xlim(0, longest * 1.05)
        time_ticks(time, longest, most=4)
        if promised is not None:
            alarms.axvline(100 * promised, color=made.tones["bad"], lw=1.4)
            above: Style = {"va": "bottom", "fontsize": 9.5, "color": made.tones["bad"]}
            alarms.text(100 * promised + 2, len(records) - 0.5, f"promised: {100 * promised:g} %", **above)
        titles = ("false alarms (healthy)", "detections (bad)", "minutes to detection, median")
        for axes, title in zip((alarms, found, time), titles, strict=True):
            axes.set_title(title, fontsize=10, loc="left", color=made.tones["ink"], pad=14)
            axes.set_ylim(-0.5, len(records) - 0.4)
            axes.spines["left"].set_visible(False)
            axes.set_yticks([])
            for y in rows:
                axes.axhline(y, color=made.tones["track"], lw=0.8, zorder=0)
        for axes in (alarms, found):
            axes.set_xlim(-3, 104)
            axes.set_xticks([0, 50, 100], ["0", "50", "100 %"])
        named = [say(name) for name in fit_apart([plain(one.judge) for one in records], _NAME, 10)]
        alarms.set_yticks(rows, named)
        alarms.tick_params(axis="y", length=0, labelcolor=made.tones["ink"])
        if unlabelled:
            said = f"{unlabelled:,} canaries more have no label and are in none of these counts"
            made.ax.annotate(
                said,
                (0, 0),
                xytext=(0, -_UNDER),
                xycoords="axes fraction",
                textcoords="offset points",
                va="top",
                color=made.tones["ink"],
                annotation_clip=False,
            )
        return made.ax


def _bounds(some: int, cut: int, every: int) -> str:
    """How many of all; where many were ended by others, between which numbers."""
    return f"{some} to {some + cut} of {every}" if cut > _MOST_CUT * every else f"{some} of {every}"


def _cut_words(records: Sequence[JudgeRecord]) -> str:
    return "; striped: ended by others first" if any(one.cut_bad or one.cut_healthy for one in records) else ""


def _same_words(records: Sequence[JudgeRecord]) -> str:
    keys = {(one.canaries, one.healthy, one.bad) for one in records}
    return "; NOT the same canaries in every row" if len(keys) > 1 else ""


def _rate(made: Canvas, ax: Axes, y: float, count: int, cut: int, every: int, effective: float | None) -> None:
    """What was counted with its interval; between count and count + cut it is not known."""
    if not every:
        ax.text(0, y, "none", va="center", fontsize=9.5, color=made.tones["ink"])
        return
    scale = 1.0 if effective is None else min(effective / every, 1.0)
    low = 100 * clopper_pearson(count * scale, every * scale)[0]
    high = 100 * clopper_pearson((count + cut) * scale, every * scale)[1]
    at, upper = 100 * count / every, 100 * (count + cut) / every
    ink = made.tones["ink"]
    ax.plot([low, high], [y, y], color=ink, lw=5, alpha=0.35, solid_capstyle="butt")
    if cut:
        ax.plot([at, upper], [y, y], color=ink, lw=2, ls=(0, (1, 1)), solid_capstyle="butt")
        ax.plot([upper], [y], "o", mfc=made.tones["paper"], mec=ink, ms=6)
    ax.plot([at], [y], "o", color=ink, ms=7)
    text = f"{count} of {every}" + (f", {cut} cut" if cut else "")
    needed = _OF_A_LETTER * len(text)
    if 100 - high > needed:
        place: Style = {"x": high + 3, "y": y, "va": "center", "ha": "left"}
    elif low > needed:
        place = {"x": low - 3, "y": y, "va": "center", "ha": "right"}
    else:  # beside it, it would lie on the next panel
        place = {"x": 0, "y": y + 0.13, "va": "bottom", "ha": "left"}
    under: Style = {"facecolor": made.tones["paper"], "edgecolor": "none", "pad": 0.6}
    ax.text(s=text, fontsize=9.5, color=ink, bbox=under, zorder=4, **place)


def _times(made: Canvas, ax: Axes, y: float, record: JudgeRecord) -> None:
    """Every case a dot; beside them the missed, without which a median flatters."""
    minutes = np.sort(np.asarray(record.minutes, dtype=float))
    if minutes.size:
        apart = y + 0.14 * ((np.arange(minutes.size) * 7) % 5 - 2) / 2  # that dots of like times are seen
        ax.plot(minutes, apart, ".", color=made.tones["dim"], ms=4, mec="none")
        ax.plot([float(np.median(minutes))] * 2, [y - 0.26, y + 0.26], color=made.tones["ink"], lw=2.4)
    missed = record.bad - record.found - record.cut_bad
    told = f"{missed} missed" if missed else "none missed" if record.bad else "none labelled bad"
    ax.annotate(
        told + (f",\n{record.cut_bad} cut" if record.cut_bad else ""),
        (1.02, y),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=9.5,
        color=made.tones["bad" if missed else "dim"],
        annotation_clip=False,
    )
