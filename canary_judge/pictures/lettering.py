"""How wide a text is, and what is left of one that is too wide; nothing here asks a browser or a font."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from canary_judge.untrusted import printable

__all__ = ["first_fitting", "fit", "fit_apart", "fit_name", "plain", "width_of", "wrap"]

# Advance widths of DejaVu Sans, the widest of the usual system fonts, in 1/100 em, ASCII 32 to 126: what fits in it
# overflows in no other.
_REGULAR = bytes.fromhex(
    "20292e5440604e1c282832542025202240404040404040404040222254545436644545464e463a4e4c1e1e4238574b4f3d4f4640"
    "3e4a4563453e452822285432323e4037403e2440401c1c3a1c62403e40402a3528403c523c3c3540224054"
)
_BOLD = bytes.fromhex(
    "232e35544665581f2e2e3554262a26254646464646464646464628285454543b644e4d4a544545535426264e406454564a564e49"
    "45524e6f4e49492e252e54323244483c48442c4848232343236948454848323c3048425d41423b48254854"
)
_OTHER, _WIDE = 84, 105
# No characters of XML, whatever they are elsewhere.
_NO_XML = re.compile("[\ufffe\uffff]")


def plain(text: str) -> str:
    r"""A text from elsewhere as one line that any browser and any parser of XML takes.

    Examples:
        >>> plain("slow\n requests\x00")
        'slow requests\\x00'
    """
    return " ".join(_NO_XML.sub("\ufffd", printable(text)).split())


def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """Width in pixels at this font size.

    Examples:
        >>> round(width_of("PASS", 24, bold=True), 1)
        71.5
    """
    table = _BOLD if bold else _REGULAR
    hundredths = sum(table[ord(one) - 32] if " " <= one <= "~" else _width_of_other(one) for one in text)
    return hundredths * size / 100


def _width_of_other(character: str) -> int:
    return _WIDE if unicodedata.east_asian_width(character) in {"W", "F"} else _OTHER


def fit(text: str, room: float, size: float, *, bold: bool = False, name: bool = False) -> str:
    """The text, cut where it is wider than the room: a sentence at its end, a name in its first third.

    Examples:
        >>> fit("endpoint /api/v1/search", 110, 13, bold=True, name=True)
        'endp…/search'
    """
    if width_of(text, size, bold=bold) <= room:
        return text
    low, high = 0, len(text)  # so many characters fit, so many do not
    while high - low > 1:
        middle = (low + high) // 2
        if width_of(_cut(text, middle, name=name), size, bold=bold) <= room:
            low = middle
        else:
            high = middle
    return _cut(text, low, name=name)


def _cut(text: str, keep: int, *, name: bool) -> str:
    """Names differ at their ends."""
    tail = 2 * keep // 3 if name else 0
    return text[: keep - tail].rstrip() + "\u2026" + (text[-tail:].lstrip() if tail else "")


def fit_name(text: str, room: float, size: float) -> tuple[str, float]:
    """A long name in smaller type, then cut; with its size."""
    for smaller in (size, size - 1, size - 2):
        if width_of(text, smaller, bold=True) <= room:
            return text, smaller
    return fit(text, room, size - 1, bold=True, name=True), size - 1


def fit_apart(texts: Sequence[str], room: float, size: float) -> list[str]:
    """Names, cut where the most of them stay different: in the middle, at their ends, or at what all begin with."""
    same = next((at for at, letters in enumerate(zip(*texts, strict=False)) if len(set(letters)) > 1), 0)
    middle = [fit(text, room, size, name=True) for text in texts]
    ends = [fit(text, room, size) for text in texts]
    begun = [
        fit(f"\u2026{text[same:]}" if fitted != text else text, room, size)
        for text, fitted in zip(texts, ends, strict=True)
    ]
    return max((middle, ends, begun), key=lambda shown: len(set(shown)))


def first_fitting(texts: Sequence[str], room: float, size: float, *, bold: bool = False) -> str:
    """The first that fits; else the last one, cut."""
    for text in texts:
        if width_of(text, size, bold=bold) <= room:
            return text
    return fit(texts[-1], room, size, bold=bold)


def wrap(text: str, room: float, size: float, most: int) -> list[str]:
    """At most so many lines, never broken between a number and its unit; what does not fit is cut in the last one."""
    lines, line = [], ""
    for word in re.sub(r"(\d) (?=%|pp\b|s\b|ms\b|min\b|h\b|days\b)", "\\1\u00a0", text).split(" "):
        longer = f"{line} {word}".strip()
        if line and width_of(longer, size) > room:
            lines.append(line)
            line = word
        else:
            line = longer
    lines.append(line)
    kept = lines[: most - 1]
    return [fit(one, room, size) for one in (*kept, " ".join(lines[most - 1 :])) if one]
