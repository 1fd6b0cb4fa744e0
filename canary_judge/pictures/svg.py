"""A drawing as SVG that stands alone in any page: its own class, its own colours, no script, nothing from elsewhere."""

from __future__ import annotations

import hashlib
from html import escape

from canary_judge.pictures.axis import place_of
from canary_judge.pictures.rows import state_of
from canary_judge.pictures.shapes import Drawing, Label, Line, Ring, Shape, Track, bar, rectangle
from canary_judge.pictures.tokens import TOKENS, Theme, Tone
from canary_judge.pictures.verdict import WIDE, drawn
from canary_judge.results import Judgement, MetricResult

__all__ = ["bar_svg", "colours", "verdict_svg"]

_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"
_LETTER: dict[Tone, str] = {
    "paper": "p",
    "ink": "i",
    "dim": "d",
    "good": "g",
    "bad": "b",
    "beyond": "y",
    "line": "l",
    "track": "t",
    "edge": "e",
    "verdict": "v",
    "small": "s",
}


def verdict_svg(judgement: Judgement, *, width: int = WIDE, theme: Theme = "auto") -> str:
    """The 5-second picture as one SVG element.

    Args:
        judgement: Of one look or of repeated ones.
        width: In pixels; the wide layout from 560 on, made for 700, and the narrow one below, made for 360.
        theme: `auto` follows the browser and the page around it (`data-theme`, JupyterLab, VS Code); prints in grey.

    Examples:
        >>> from canary_judge import Window, judge
        >>> from canary_judge.testing import simulated_world
        >>> world = simulated_world(seed=1)
        >>> start = world.clock.now()
        >>> world.clock.seconds = 600.0
        >>> picture = verdict_svg(judge(world.config, world.source, Window(start, world.clock.now())), width=360)
        >>> picture[:4], ">HOLD<" in picture
        ('<svg', True)
    """
    return _svg(drawn(judgement, width=width), theme)


def bar_svg(metric: MetricResult) -> str:
    """One metric's bar alone, 248 x 22 pixels, on the same axis as in the picture."""
    place = place_of(metric, false_alarm_rate=metric.harm_level, false_pass_rate=None)
    track = Track(left=0, right=248)
    margin, baseline = track.x(1), track.x(0)
    shapes: list[Shape] = [
        rectangle(margin, 0, track.right - margin, 22, "beyond"),
        Line(points=((baseline, 0), (baseline, 22)), tone="line", width=1),
        Line(points=((margin, 0), (margin, 22)), tone="bad", width=2),
        *bar(track, 11, state_of(metric), place),
    ]
    about = "deciding interval of the effect, against baseline and margin"
    drawing = Drawing(width=248, height=22, shapes=tuple(shapes), title=about, description="")
    return _svg(drawing, "auto")


def colours(selector: str, theme: Theme) -> str:
    """The custom properties of the tokens for all that this selector matches.

    Examples:
        >>> colours(".cj1", "print")[:38]
        '.cj1{--cj-paper:#ffffff;--cj-ink:#0000'
    """

    def properties(name: str) -> str:
        return ";".join(f"--cj-{tone}:{colour}" for tone, colour in TOKENS[name].items())

    css = f"{selector}{{{properties('light' if theme == 'auto' else theme)}}}"
    if theme != "auto":
        return css
    light = ("[data-theme=light]", "[data-jp-theme-light=true]", ".vscode-light")
    dark = ("[data-theme=dark]", "[data-jp-theme-light=false]", ".vscode-dark")
    css += f"@media(prefers-color-scheme:dark){{{selector}{{{properties('dark')}}}}}"
    for pages, name in ((dark, "dark"), (light, "light")):
        css += f"{','.join(f'{page} {selector}' for page in pages)}{{{properties(name)}}}"
    # three times the class outweighs what the page around it asks for
    return css + f"@media print{{{selector * 3}{{{properties('print')}}}}}"


def _svg(drawing: Drawing, theme: Theme) -> str:
    body = "".join(_element(shape) for shape in drawing.shapes)
    # of what is drawn, and not of last digits, which differ between processors
    told = f"{body}{drawing.title}{drawing.description}{drawing.width}{theme}"
    key = "cj" + hashlib.sha256(told.encode()).hexdigest()[:8]
    css = colours(f".{key}", theme)
    for tone, letter in _LETTER.items():
        css += f".{key} .cj-f{letter}{{fill:var(--cj-{tone})}}" if f"cj-f{letter}" in body or tone == "paper" else ""
        css += f".{key} .cj-s{letter}{{stroke:var(--cj-{tone})}}" if f"cj-s{letter}" in body or tone == "edge" else ""
    width, height = f"{drawing.width:g}", f"{drawing.height:g}"
    back = (
        f"<rect x='.5' y='.5' width='{drawing.width - 1:g}' height='{drawing.height - 1:g}' rx='6' "
        "class='cj-fp cj-se'/>"
    )
    describes = f" {key}-d" if drawing.description else ""
    described = f"<desc id='{key}-d'>{escape(drawing.description)}</desc>" if drawing.description else ""
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' class='{key}' viewBox='0 0 {width} {height}' width='{width}' "
        f"height='{height}' role='img' aria-labelledby='{key}-t{describes}' font-family=\"{_FONT}\" "
        f"style='max-width:100%;height:auto'><title id='{key}-t'>{escape(drawing.title)}</title>{described}"
        f"<style>{css}</style>{back}{body}</svg>"
    )


def _n(value: float) -> str:
    """A coordinate."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def _element(shape: Shape) -> str:
    if isinstance(shape, Label):
        anchor = "" if shape.anchor == "start" else f" text-anchor='{shape.anchor}'"
        bold = " font-weight='700'" if shape.bold else ""
        at = f"x='{_n(shape.x)}' y='{_n(shape.y)}' font-size='{shape.size:g}'"
        return f"<text {at} class='cj-f{_LETTER[shape.tone]}'{bold}{anchor}>{escape(shape.text)}</text>"
    if isinstance(shape, Line):
        way = "L".join(f"{_n(x)} {_n(y)}" for x, y in shape.points)
        stroke = f"stroke-width='{_n(shape.width)}'{_dash(shape.dash)}"
        return f"<path d='M{way}' fill='none' class='cj-s{_LETTER[shape.tone]}' {stroke}/>"
    tones = f"cj-f{_LETTER[shape.fill]}"
    stroke = ""
    if shape.edge is not None:
        tones += f" cj-s{_LETTER[shape.edge]}"
        stroke = f" stroke-width='{_n(shape.width)}'"
    if isinstance(shape, Ring):
        at = f"cx='{_n(shape.x)}' cy='{_n(shape.y)}' r='{_n(shape.radius)}'"
        return f"<circle {at} class='{tones}'{stroke}/>"
    points = " ".join(f"{_n(x)},{_n(y)}" for x, y in shape.points)
    joined = " stroke-linejoin='round'" if stroke else ""
    return f"<polygon points='{points}' class='{tones}'{stroke}{joined}{_dash(shape.dash)}/>"


def _dash(dash: tuple[float, ...]) -> str:
    return f" stroke-dasharray='{' '.join(_n(one) for one in dash)}'" if dash else ""
