"""What all plots share: colours, type, titles, axes of their own or given; the only file that asks for matplotlib."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from canary_judge.pictures.lettering import fit, plain, width_of
from canary_judge.pictures.tokens import CANARY, TOKENS, Tone

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "Canvas",
    "Mode",
    "Style",
    "all_of",
    "canvas",
    "panels",
    "say",
    "spread",
    "time_ticks",
    "time_unit",
    "within",
]

T = TypeVar("T")
Mode = Literal["light", "dark", "print"]
Style = dict[str, Any]  # what artists take by name: matplotlib types no more of it
_RC: Mapping[Any, Any] = {
    "font.size": 10,
    "text.usetex": False,
    "svg.fonttype": "none",
    "axes.linewidth": 0.8,
}
# Of a figure of our own, in inches: left, right, below; above is the title.
_SIDES = 0.9, 0.25, 0.55
_HEAD = 0.62
_SHORTEST_NAME = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """Axes with their colours.

    Attributes:
        ax: Where to draw.
        tones: Colour of each token.
        blue: Of the canary, never that of a verdict.
        room: Points from the left edge of the title to the right edge of the figure.
        indent: Points from the axes' left edge to the title's, to the left.
        beside: Points right of the axes, for the names of lines.
    """

    ax: Axes
    tones: Mapping[Tone, str]
    blue: str
    room: float
    indent: float
    beside: float

    def head(self, finding: str, what: str) -> None:
        """The finding in bold, and under it what is drawn; in smaller type, then cut, at the edge of the figure."""
        for text, sizes, weight, above in ((finding, (13, 12, 11, 10), "bold", 24.0), (what, (10, 9), "normal", 8.0)):
            bold, told = weight == "bold", plain(text)
            size = next((one for one in sizes if width_of(told, one, bold=bold) <= self.room), sizes[-1])
            self.ax.annotate(
                say(fit(told, self.room, size, bold=bold)),
                (0, 1),
                xytext=(-self.indent, above),
                xycoords="axes fraction",
                textcoords="offset points",
                fontsize=size,
                fontweight=weight,
                color=self.tones["ink" if weight == "bold" else "dim"],
                annotation_clip=False,
            )

    def name(self, text: str, *, inside: float = 0.0, bold: bool = False) -> str:
        """The name of a line as it fits beside the axes; `inside` points of them are free for it, too."""
        return say(fit(plain(text), max(self.beside + inside, _SHORTEST_NAME), 10, bold=bold, name=True))

    def dressed(self, ax: Axes) -> Axes:
        """These axes in our colours, without frame and grid."""
        ax.set_facecolor(self.tones["paper"])
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            ax.spines[side].set_color(self.tones["line"])
        ax.tick_params(colors=self.tones["dim"], which="both", color=self.tones["line"], labelsize=10)
        return ax


@contextmanager
def canvas(
    ax: Axes | None, size: tuple[float, float], theme: Mode, *, sides: tuple[float, float, float] = _SIDES
) -> Iterator[Canvas]:
    """Axes to draw on, in type and colours of ours while they are drawn.

    Args:
        ax: The caller's; None makes a figure of this size with pyplot, so that a notebook shows it.
        size: In inches, for a figure of our own.
        theme: `light`, `dark` or `print`.
        sides: Inches left and right of the axes and below them, in a figure of our own.

    Raises:
        ImportError: There is no matplotlib; the message says what to install.
        ValueError: The theme is none.
    """
    if theme not in TOKENS:
        raise ValueError(f"theme is {theme!r}; it must be one of {', '.join(TOKENS)}")
    try:
        from matplotlib import rc_context, rcParams
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'canary_judge[plot]'") from error
    tones = TOKENS[theme]
    # the widths of texts are those of DejaVu Sans; the caller's fonts have the letters that it lacks
    with rc_context({**_RC, "font.family": ["DejaVu Sans", *rcParams["font.family"]]}):
        indent = 0.0
        if ax is None:
            from matplotlib import pyplot as plt

            left, right, below = sides
            width, height = size
            figure = plt.figure(figsize=size, facecolor=tones["paper"])
            # a flat figure has no room for a head; who draws one takes the whole of it
            room = max(1 - (left + right) / width, 0.01), max(1 - (below + _HEAD) / height, 0.01)
            ax = figure.add_axes((left / width, below / height, *room))
            indent = 72 * (left - 0.1)
        whole = ax.get_figure()
        wide = size[0] if whole is None else whole.bbox.width / whole.dpi
        box = ax.get_position()
        across = 0.98 * (72 * wide * (1 - box.x0) + indent - 6)  # widths are those of another rendering
        beside = 72 * wide * (1 - box.x1) - 14
        made = Canvas(ax=ax, tones=tones, blue=CANARY[theme], room=across, indent=indent, beside=beside)
        made.dressed(ax)
        yield made


def all_of(given: Iterable[T], kind: type[T], name: str, remedy: str) -> tuple[T, ...]:
    """What is to be drawn, of a generator, too; ValueError where it is nothing, or something else.

    Examples:
        >>> all_of((number for number in (1, 2)), int, "numbers", "whole ones")
        (1, 2)
        >>> all_of([1, "2"], int, "numbers", "whole ones")
        Traceback (most recent call last):
        ...
        ValueError: numbers has str among it; give whole ones
    """
    try:
        found = tuple(given)
    except (TypeError, LookupError):  # of a judgement metrics are asked by name
        raise ValueError(f"{name} is a {type(given).__name__}; give {remedy}") from None
    if not found:
        raise ValueError(f"{name} is empty; give {remedy}")
    if (odd := next((one for one in found if not isinstance(one, kind)), None)) is not None:
        raise ValueError(f"{name} has {type(odd).__name__} among it; give {remedy}")
    return found


def panels(made: Canvas, boxes: Sequence[tuple[float, float, float, float]]) -> list[Axes]:
    """Axes within the axes, whose own frame is taken away; boxes are left, bottom, width and height as shares."""
    made.ax.set_axis_off()
    return [made.dressed(made.ax.inset_axes(box)) for box in boxes]


def say(text: str) -> str:
    r"""A text that matplotlib takes as it is: no dollar begins a formula.

    Examples:
        >>> say("$cost")
        '\\$cost'
    """
    return plain(text).replace("$", r"\$")


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Places of labels, at least so far apart and as near as may be to where their lines end.

    Examples:
        >>> spread([1.0, 1.0, 5.0], 1.0)
        [0.5, 1.5, 5.0]
    """
    order = sorted(range(len(places)), key=lambda k: (places[k], k))
    moved = list(places)
    for _ in range(200):
        still = True
        for a, b in pairwise(order):
            lacking = gap - (moved[b] - moved[a])
            if lacking > 1e-9:
                moved[a] -= lacking / 2
                moved[b] += lacking / 2
                still = False
        if still:
            break
    return moved


def within(places: Sequence[float], low: float, high: float, *, room: float = 0.0) -> list[float]:
    """The same places, as far apart, moved between both ends, and as far from them; the upper one before the lower.

    Examples:
        >>> within([0.0, 1.0], 0.5, 4.0), within([3.0, 5.0], 0.0, 4.0)
        ([0.5, 1.5], [2.0, 4.0])
    """
    if not places:
        return []
    up = max(low + room - min(places), 0.0) - max(max(places) - high + room, 0.0)
    return [place + up for place in places]


def time_unit(seconds: float) -> tuple[float, str]:
    """The unit of a time axis that is so long, in seconds and by name."""
    for size, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 3 * size:
            return size, name
    return 1.0, "seconds"


def time_ticks(ax: Axes, longest: float, *, most: int = 10) -> None:
    """Whole numbers, at most so many of them."""
    step = next(
        (one for one in (1, 2, 5, 10, 15, 30, 60, 100, 200, 500, 1000) if longest / one <= most), longest / most or 1.0
    )
    ax.set_xticks(np.arange(0, longest + step / 2, step))
