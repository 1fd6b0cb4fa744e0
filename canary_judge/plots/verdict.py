"""The 5-second picture on axes of matplotlib: the same marks at the same places as in the SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from canary_judge.pictures import drawn
from canary_judge.pictures.shapes import Label, Line, Ring
from canary_judge.plots.canvas import Mode, Style, canvas, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.patches import Rectangle

    from canary_judge.pictures.shapes import Shape
    from canary_judge.pictures.tokens import Tone
    from canary_judge.results import Judgement

__all__ = ["verdict"]

_PIXELS = 100.0  # an inch


def verdict(judgement: Judgement, *, width: int = 700, theme: Mode = "light", ax: Axes | None = None) -> Axes:
    """Draw the 5-second picture.

    Args:
        judgement: Of one look or of repeated ones.
        width: 700, or 360 for the narrow layout.
        theme: `light`, `dark` or `print`.
        ax: Axes that are filled by it, in its proportions; None makes a figure of `width` pixels at 100 dpi.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> from canary_judge import Window, judge
        >>> from canary_judge.testing import simulated_world
        >>> world = simulated_world(seed=1)
        >>> start = world.clock.now()
        >>> world.clock.seconds = 600.0
        >>> judgement = judge(world.config, world.source, Window(start, world.clock.now()))
        >>> ax = Figure(figsize=(7, 1.5)).add_subplot()
        >>> verdict(judgement, ax=ax).texts[0].get_text()
        'HOLD'
    """
    drawing = drawn(judgement, width=width)
    own = ax is None
    with canvas(ax, (drawing.width / _PIXELS, drawing.height / _PIXELS), theme) as made:
        if own:
            made.ax.set_position((0, 0, 1, 1))
        made.ax.set_axis_off()
        made.ax.set_xlim(0, drawing.width)
        made.ax.set_ylim(drawing.height, 0)
        made.ax.set_aspect("equal", anchor="NW")
        made.ax.add_patch(_rectangle(drawing.width, drawing.height, made.tones))
        figure = made.ax.get_figure()
        box = made.ax.get_position()
        points = 72 / _PIXELS
        if figure is not None:  # of one pixel of the drawing
            wide, high = figure.bbox.width / figure.dpi * box.width, figure.bbox.height / figure.dpi * box.height
            points = 72 * min(wide / drawing.width, high / drawing.height)
        for order, shape in enumerate(drawing.shapes):
            _draw(made.ax, shape, made.tones, points, 2 + order / len(drawing.shapes))
        return made.ax


def _rectangle(width: float, height: float, tones: Mapping[Tone, str]) -> Rectangle:
    from matplotlib.patches import Rectangle

    return Rectangle((0.5, 0.5), width - 1, height - 1, facecolor=tones["paper"], edgecolor=tones["edge"], lw=0.7)


def _draw(ax: Axes, shape: Shape, tones: Mapping[Tone, str], points: float, order: float) -> None:
    from matplotlib.patches import Circle
    from matplotlib.patches import Polygon as Area

    if isinstance(shape, Label):
        side = {"start": "left", "middle": "center", "end": "right"}[shape.anchor]
        weight = "bold" if shape.bold else "normal"
        size = shape.size * points
        text = say(shape.text.replace("\u00a0", " "))
        ax.text(
            shape.x, shape.y, text, fontsize=size, color=tones[shape.tone], fontweight=weight, ha=side, zorder=order
        )
        return
    dash = () if isinstance(shape, Ring) else shape.dash
    # as many widths of the line long, so that they shrink with it
    style: Any = (0, tuple(one / shape.width for one in dash)) if dash else "solid"
    if isinstance(shape, Line):
        x, y = zip(*shape.points, strict=True)
        look: Style = {"color": tones[shape.tone], "lw": shape.width * points, "ls": style, "solid_capstyle": "butt"}
        ax.plot(x, y, zorder=order, **look)
        return
    edge = "none" if shape.edge is None else tones[shape.edge]
    look = {"facecolor": tones[shape.fill], "edgecolor": edge, "lw": shape.width * points, "zorder": order}
    if isinstance(shape, Ring):
        ax.add_patch(Circle((shape.x, shape.y), shape.radius, **look))
    else:
        ax.add_patch(Area(shape.points, closed=True, linestyle=style, joinstyle="round", **look))
