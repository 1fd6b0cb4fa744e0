"""What a picture is made of, in pixels; SVG and matplotlib both draw it. And its marks: badges, bars, the warning."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from canary_judge.pictures.axis import FIRST, LAST, Place
from canary_judge.pictures.rows import State
from canary_judge.pictures.tokens import Tone

__all__ = ["Drawing", "Label", "Line", "Polygon", "Ring", "Shape", "Track", "badge", "bar", "rectangle", "warning"]

Points = tuple[tuple[float, float], ...]
_ARROW, _ARROW_WIDER, _OUTSIDE, _HALF = 9.0, 3.0, 22.0, 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A text at its baseline."""

    x: float
    y: float
    text: str
    size: float
    tone: Tone = "ink"
    bold: bool = False
    anchor: Literal["start", "middle", "end"] = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Straight pieces through points."""

    points: Points
    tone: Tone
    width: float
    dash: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Polygon:
    """An area, filled and with or without an edge."""

    points: Points
    fill: Tone
    edge: Tone | None = None
    width: float = 1.0
    dash: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """A circle."""

    x: float
    y: float
    radius: float
    fill: Tone
    edge: Tone | None = None
    width: float = 1.0


Shape = Label | Line | Polygon | Ring


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A whole picture.

    Attributes:
        width, height: In pixels.
        shapes: From the back to the front.
        title, description: The same in words, for who cannot see it.
    """

    width: float
    height: float
    shapes: tuple[Shape, ...]
    title: str
    description: str


def rectangle(x: float, y: float, width: float, height: float, fill: Tone) -> Polygon:
    """One without an edge."""
    return Polygon(points=((x, y), (x + width, y), (x + width, y + height), (x, y + height)), fill=fill)


def badge(x: float, y: float, radius: float, state: State) -> Iterable[Shape]:
    """Of an outcome, told by its shape: octagon with cross, disc with check, ring, half ring, dashed square."""
    scale = radius / 8

    def at(*offsets: tuple[float, float]) -> Points:
        return tuple((x + a * scale, y + b * scale) for a, b in offsets)

    thick = 2.2 * scale
    if state is State.BAD:
        k = 8 * (math.sqrt(2) - 1)
        corners = at((-k, -8), (k, -8), (8, -k), (8, k), (k, 8), (-k, 8), (-8, k), (-8, -k))
        yield Polygon(points=corners, fill="bad")
        yield Line(points=at((-3.2, -3.2), (3.2, 3.2)), tone="paper", width=thick)
        yield Line(points=at((-3.2, 3.2), (3.2, -3.2)), tone="paper", width=thick)
    elif state is State.GOOD:
        yield Ring(x=x, y=y, radius=radius, fill="good")
        yield Line(points=at((-3.8, 0.2), (-1, 3.1), (4, -3.2)), tone="paper", width=thick)
    elif state is State.WORSE:
        yield Ring(x=x, y=y, radius=radius - scale, fill="paper", edge="bad", width=2 * scale)
        arc = ((7 * math.sin(a), -7 * math.cos(a)) for a in (math.pi * step / 12 for step in range(13)))
        yield Polygon(points=at(*arc), fill="bad")
    elif state is State.OPEN:
        yield Ring(x=x, y=y, radius=radius - scale, fill="paper", edge="dim", width=2 * scale)
        if radius > 9:  # the verdict's
            for place in at((-3.75, 0), (0, 0), (3.75, 0)):
                yield Ring(x=place[0], y=place[1], radius=1.3 * scale, fill="dim")
    else:
        square = at((-7, -7), (7, -7), (7, 7), (-7, 7))
        yield Polygon(points=square, fill="paper", edge="ink", width=1.6 * scale, dash=(3 * scale, 2 * scale))
        yield Label(x=x, y=y + 3.8 * scale, text="?", size=10.5 * scale, bold=True, anchor="middle")


def warning(x: float, y: float, radius: float) -> Iterable[Shape]:
    """A triangle with an exclamation mark."""
    corners = ((x, y - radius), (x + 1.1 * radius, y + 0.9 * radius), (x - 1.1 * radius, y + 0.9 * radius))
    yield Polygon(points=corners, fill="bad")
    yield Line(points=((x, y - 0.4 * radius), (x, y + 0.25 * radius)), tone="paper", width=1.8)
    yield Line(points=((x, y + 0.48 * radius), (x, y + 0.7 * radius)), tone="paper", width=1.8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """Where the bars lie, in pixels."""

    left: float
    right: float

    def x(self, place: float) -> float:
        """Of a place on the axis within its ends."""
        return self.left + 4 + (self.right - self.left - 8) * (place - FIRST) / (LAST - FIRST)


def bar(track: Track, y: float, state: State, place: Place | None) -> Iterable[Shape]:
    """The deciding interval with its estimate; ends that are cut are arrows, and what is not known is not drawn."""
    if state is State.NONE or place is None:
        ends = ((track.left, y), (track.right, y))
        yield Line(points=ends, tone="dim", width=1.2, dash=(1.5, 5))
        return
    if place.unbounded:
        yield Line(points=((track.left + 9, y), (track.right - 9, y)), tone="dim", width=2, dash=(6, 4))
    else:
        yield _interval(track, y, state, place)
    if place.effect is not None:
        yield from _estimate(track, y, state, place)


def _interval(track: Track, y: float, state: State, place: Place) -> Polygon:
    start, end = (track.x(min(max(one, FIRST), LAST)) for one in (place.low, place.high))
    if place.low >= LAST:
        start = track.right - _OUTSIDE
    if place.high <= FIRST:
        end = track.left + _OUTSIDE
    cut_low, cut_high = place.low < FIRST, place.high > LAST
    a, b = start + (_ARROW if cut_low else 0), end - (_ARROW if cut_high else 0)
    b = max(b, a + 2)
    top, bottom = y - _HALF, y + _HALF
    points = [(a, top), (b, top)]
    if cut_high:
        points += [(b, top - _ARROW_WIDER), (max(end, b), y), (b, bottom + _ARROW_WIDER)]
    points += [(b, bottom), (a, bottom)]
    if cut_low:
        points += [(a, bottom + _ARROW_WIDER), (start, y), (a, top - _ARROW_WIDER)]
    fill, edge = _tones(state)
    return Polygon(points=tuple(points), fill=fill, edge=edge, width=1.6)


def _tones(state: State) -> tuple[Tone, Tone | None]:
    """Full only for what is shown, in its hue."""
    if state is State.BAD:
        return "bad", None
    if state is State.GOOD:
        return "good", None
    return "paper", "bad" if state is State.WORSE else "dim"


def _estimate(track: Track, y: float, state: State, place: Place) -> Iterable[Shape]:
    effect, edge = place.effect or 0.0, 10 * (LAST - FIRST) / (track.right - track.left)
    inside = FIRST + edge <= effect <= LAST - edge
    if state is State.OPEN and not inside and not place.low > LAST:
        # the estimate itself lies outside: a hollow chevron at the rim, its number stands at the right
        at, way = (track.left + 4, 1.0) if effect < 0 else (track.right - 4, -1.0)
        tip: Sequence[tuple[float, float]] = ((at + 12 * way, y - 6), (at + 5 * way, y), (at + 12 * way, y + 6))
        yield Line(points=tuple(tip), tone="dim", width=2.2)
    elif FIRST <= effect <= LAST:
        x = track.x(effect)
        if state is State.OPEN:
            yield Ring(x=x, y=y, radius=5, fill="paper", edge="dim", width=2.2)
        else:
            yield Ring(x=x, y=y, radius=6.2, fill="good" if state is State.GOOD else "bad", edge="paper", width=1.8)
