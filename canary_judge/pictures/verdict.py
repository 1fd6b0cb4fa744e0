"""The layout of the 5-second picture, to the pixel: 700 px wide for reports, 360 px for phones and side panels."""

from __future__ import annotations

from dataclasses import dataclass, field

from canary_judge.pictures import words
from canary_judge.pictures.axis import Place
from canary_judge.pictures.lettering import first_fitting, fit, fit_name, plain, width_of, wrap
from canary_judge.pictures.numbers import bound_text, effect_text, level_text
from canary_judge.pictures.rows import MOST, Folding, State, placed, select, state_of
from canary_judge.pictures.shapes import Drawing, Label, Line, Shape, Track, badge, bar, rectangle, warning
from canary_judge.pictures.tokens import Tone
from canary_judge.results import Judgement, MetricResult, Outcome, Role

__all__ = ["NARROW", "WIDE", "drawn"]

WIDE, NARROW = 700, 360
_VALUES = 446
_HEAD_TONE: dict[str, Tone] = {"PASS": "verdict", "FAIL": "bad", "HOLD": "ink"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One metric, in the words of the picture."""

    metric: MetricResult
    state: State
    place: Place | None
    effect: str
    interval: str
    second: tuple[str, ...]
    lacks: bool
    under: str

    @classmethod
    def of(cls, judgement: Judgement, metric: MetricResult) -> _Row:
        place, state = placed(judgement, metric), state_of(metric)
        second, lacks = words.second_line(judgement, metric, place)
        effect, interval = effect_text(metric)
        if not effect:
            effect = words.outcome_word(metric) if state is State.NONE else "not compared yet"
            if metric.limit is not None and state is not State.NONE:
                effect = level_text(metric.limit.canary, metric)
        bound = bound_text(metric)
        said = [] if metric.role is Role.GATE else [metric.role.value]
        if bound:
            said.append(bound if bound.startswith("limit") else f"tolerates {bound}")
        return cls(
            metric=metric,
            state=state,
            place=place,
            effect=effect,
            interval=interval,
            second=tuple(second),
            lacks=lacks,
            under=", ".join(said),
        )

    @property
    def name(self) -> str:
        return plain(self.metric.name) or "unnamed"


def drawn(judgement: Judgement, *, width: int = WIDE) -> Drawing:
    """The picture of a judgement.

    Args:
        judgement: Of one look or of repeated ones.
        width: 700 or 360 pixels; from 560 on the wide layout is taken.
    """
    return _Layout(judgement, width).drawing()


@dataclass(slots=True)
class _Layout:
    """Puts the parts below each other; `y` is how far it has come."""

    judgement: Judgement
    width: int
    shapes: list[Shape] = field(default_factory=list)
    y: float = 0.0
    narrow: bool = False
    pad: float = 16.0
    folding: Folding = field(init=False)

    def __post_init__(self) -> None:
        self.narrow = self.width < 560
        self.pad = 14 if self.narrow else 16
        self.folding = select(self.judgement)

    def drawing(self) -> Drawing:
        rows = [_Row.of(self.judgement, metric) for metric in self.folding.shown]
        self._headline()
        self._rows(rows)
        self._folded()
        self._strip()
        height = self.y + 13
        word = words.head_of(self.judgement)[0]
        said = f"{word}, {words.action_of(self.judgement, self.folding)}: {words.why(self.judgement, self.folding)}"
        everyone = [(one, placed(self.judgement, one)) for one in (*self.folding.shown, *self.folding.folded)]
        return Drawing(
            width=self.width,
            height=height,
            shapes=tuple(self.shapes),
            title=f"{said}. {words.sides(self.judgement)}, {words.when(self.judgement)}.",
            description=words.described(self.judgement, everyone) or "No metric decides.",
        )

    def _text(self, x: float, y: float, text: str, size: float, tone: Tone = "ink", *, bold: bool = False) -> None:
        self.shapes.append(Label(x=x, y=y, text=text, size=size, tone=tone, bold=bold))

    def _right(self, x: float, y: float, text: str, size: float, tone: Tone = "ink", *, bold: bool = False) -> None:
        self.shapes.append(Label(x=x, y=y, text=text, size=size, tone=tone, bold=bold, anchor="end"))

    def _rule(self, y: float, tone: Tone) -> None:
        self.shapes.append(Line(points=((self.pad, y), (self.width - self.pad, y)), tone=tone, width=1))

    # --- the headline ---

    def _headline(self) -> None:
        word, state = words.head_of(self.judgement)
        action = words.action_of(self.judgement, self.folding)
        x, size = self.pad + 38, 20 if self.narrow else 24
        self.shapes += badge(self.pad + 14, 27 if self.narrow else 29, 13 if self.narrow else 15, state)
        self._text(x, 30, word, size, _HEAD_TONE[word], bold=True)
        after = x + width_of(word, size, bold=True) + 8
        room = self.width - self.pad - after
        why = words.why(self.judgement, self.folding)
        if self.narrow:
            smaller = next((one for one in (15, 14, 13, 12) if width_of(action, one) <= room), 11)
            self._text(after, 30, action, smaller)
            self.y = 52.0
            for line in wrap(why, self.width - 2 * self.pad, 13, 3):
                self._text(self.pad, self.y, line, 13)
                self.y += 17
            self.y += 4
            return
        self._text(after, 30, action, 18)
        room -= width_of(action, 18) + 14
        self._right(self.width - self.pad, 20, fit(words.sides(self.judgement), room, 11), 11, "dim")
        self._right(self.width - self.pad, 34, fit(words.when(self.judgement), room, 11), 11, "dim")
        self._text(x, 52, fit(why, self.width - self.pad - x, 14), 14)
        self.y = 64.0

    # --- the rows ---

    def _rows(self, rows: list[_Row]) -> None:
        if not rows:  # an axis without rows would be read as one with nothing on it
            self.y += 8
            return
        dense = not self.narrow and len(rows) > MOST
        height = 22 if dense else 54 if self.narrow else 34
        track = Track(left=self.pad, right=self.width - self.pad) if self.narrow else Track(left=184, right=432)
        top = self.y + 22
        bottom = top + height * len(rows)
        for number in range(1, len(rows)):
            self._rule(top + number * height, "track")
        bands = [(top + number * height + 22, top + number * height + 40) for number in range(len(rows))]
        self._axis(track, top, bands if self.narrow else [(top, bottom)])
        for number, row in enumerate(rows):
            start = top + number * height
            if self.narrow:
                self._narrow_row(row, start, track)
            elif dense:
                self._dense_row(row, start + height / 2, track)
            else:
                self._wide_row(row, start + height / 2, track)
        self.y = bottom

    def _axis(self, track: Track, top: float, bands: list[tuple[float, float]]) -> None:
        """Where baseline and margin are, and what left and right mean; full-height lines would strike through text."""
        margin, baseline = track.x(1), track.x(0)
        for start, end in bands:
            self.shapes.append(rectangle(margin, start, track.right - margin, end - start, "beyond"))
            self.shapes.append(Line(points=((baseline, start), (baseline, end)), tone="line", width=1))
            self.shapes.append(Line(points=((margin, start), (margin, end)), tone="bad", width=2))
        above = top - 6
        self.shapes.append(Label(x=baseline, y=above, text="baseline", size=11, tone="dim", anchor="middle"))
        self.shapes.append(Label(x=margin + 1, y=above, text="margin", size=11, tone="bad", bold=True, anchor="middle"))
        self._right(track.right, above, "worse \u2192", 11, "dim")
        if self.narrow:
            self._text(track.left, above, "\u2190 better", 11, "dim")
        else:
            self._right(baseline - 30, above, "\u2190 better", 11, "dim")

    def _wide_row(self, row: _Row, middle: float, track: Track) -> None:
        self.shapes += badge(self.pad + 8, middle, 8, row.state)
        x, room = self.pad + 24, track.left - self.pad - 32
        name, size = fit_name(row.name, room, 13)
        self._text(x, middle - 2 if row.under else middle + 4, name, size, bold=True)
        if row.under:
            self._text(x, middle + 11, fit(row.under, room, 10.5), 10.5, "dim")
        self.shapes += bar(track, middle, row.state, row.place)
        room = self.width - self.pad - _VALUES
        if row.state is State.NONE or (row.metric.comparison is None and row.lacks):
            lines = wrap(f"{row.effect}: {row.second[0]}", room, 11.5, 2)
            for number, line in enumerate(lines):
                self._text(_VALUES, middle + (4 if len(lines) == 1 else -2 + 14 * number), line, 11.5)
            return
        self._text(_VALUES, middle - 2, fit(row.effect, room, 13, bold=True), 13, bold=True)
        self._brackets(row, _VALUES + width_of(row.effect, 13, bold=True) + 7, middle - 2, 12)
        self._text(_VALUES, middle + 12, first_fitting(row.second, room, 11.5), 11.5, "ink" if row.lacks else "dim")

    def _brackets(self, row: _Row, x: float, y: float, size: float) -> None:
        """The interval, where there is room for all of it: half a number would be another one."""
        text = f"({row.interval})" if row.interval else ""
        for smaller in (size, size - 1, size - 2):
            if text and width_of(text, smaller) <= self.width - self.pad - x:
                self._text(x, y, text, smaller, "dim")
                return

    def _dense_row(self, row: _Row, middle: float, track: Track) -> None:
        self.shapes += badge(self.pad + 8, middle, 7, row.state)
        bold = row.metric.role is Role.GATE
        room = track.left - self.pad - 32
        self._text(self.pad + 24, middle + 4, fit(row.name, room, 12, bold=bold, name=True), 12, bold=bold)
        self.shapes += bar(track, middle, row.state, row.place)
        effect = fit(row.effect, self.width - self.pad - _VALUES, 12, bold=True)
        self._text(_VALUES, middle + 4, effect, 12, bold=True)
        x = _VALUES + width_of(effect, 12, bold=True) + 8
        # the outcome contradicts the bar: then the words that say why are worth more than the numbers
        explained = row.metric.outcome is Outcome.REGRESSED and not (row.place is not None and row.place.shows_harm)
        if row.lacks or explained:
            said = first_fitting(row.second, self.width - self.pad - x, 11)
            self._text(x, middle + 4, said, 11, "ink" if row.lacks else "dim")
        else:
            self._brackets(row, x, middle + 4, 11)

    def _narrow_row(self, row: _Row, top: float, track: Track) -> None:
        inner = self.width - 2 * self.pad
        self.shapes += badge(self.pad + 8, top + 14, 7.5, row.state)
        effect = fit(row.effect, inner * 0.6, 13, bold=True)
        room = inner - 30 - width_of(effect, 13, bold=True)
        self._text(self.pad + 22, top + 18, fit(row.name, room, 13, bold=True, name=True), 13, bold=True)
        self._right(self.width - self.pad, top + 18, effect, 13, bold=True)
        self.shapes += bar(track, top + 31, row.state, row.place)
        interval = "" if row.state is State.NONE else row.interval
        told = row.second if row.lacks or row.second[0].startswith(("shown at", "any harm")) else (row.under,)
        room = inner - (8 + width_of(interval, 11) if interval else 0)
        if row.metric.outcome is Outcome.REGRESSED and words.limit_decided(self.judgement, row.metric):
            told = row.second
        self._text(self.pad, top + 49, first_fitting(told, room, 11), 11, "ink" if row.lacks else "dim")
        if interval:
            self._right(self.width - self.pad, top + 49, interval, 11, "dim")

    # --- below ---

    def _folded(self) -> None:
        unsafe, rest = self.folding.unsafe, len(self.folding.folded) - len(self.folding.unsafe)
        x = self.pad + (0 if self.narrow else 24)
        room = self.width - self.pad - x
        if unsafe:
            names = ", ".join(plain(one.name) for one in unsafe)
            gates = all(one.role is Role.GATE and state_of(one) is State.OPEN for one in unsafe)
            what = "gates undecided" if gates else "not safe"
            self._fold_line(fit(f"and {len(unsafe)} more {what}: {names}", room, 12, bold=True), x, bold=True)
        if rest:
            self._fold_line(fit(words.folded_text(self.folding), room, 12), x, bold=False)

    def _fold_line(self, text: str, x: float, *, bold: bool) -> None:
        self._rule(self.y, "track")
        self._text(x, self.y + 16, text, 12, "ink" if bold else "dim", bold=bold)
        self.y += 24

    def _strip(self) -> None:
        """Time and traffic."""
        self._rule(self.y, "line")
        self.y += 20
        said, share = words.progress(self.judgement)
        x = self.pad
        if share is not None:
            room = 90 if self.narrow else 110
            self.shapes.append(rectangle(self.pad, self.y - 9, room, 8, "track"))
            if share > 0:
                self.shapes.append(rectangle(self.pad, self.y - 9, room * share, 8, "dim"))
            x += room + 8
        self._text(x, self.y, said, 12)
        text, broken = words.traffic(self.judgement)
        tone: Tone = "bad" if broken else "dim" if self.judgement.traffic is None else "ink"
        if self.narrow:
            self.y += 18
            if broken:
                self.shapes += warning(self.pad + 8, self.y - 4, 7.5)
            self._text(self.pad + (20 if broken else 0), self.y, text, 12, tone, bold=broken)
            return
        end = self.width - self.pad
        if broken:
            self.shapes += warning(end - width_of(text, 12, bold=True) - 12, self.y - 4, 7.5)
        self._right(end, self.y, text, 12, tone, bold=broken)
