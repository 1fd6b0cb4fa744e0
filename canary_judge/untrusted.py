"""Text from elsewhere (servers, labels, files), made fit for a terminal."""

from __future__ import annotations

import re

__all__ = ["printable"]

# Controls but tab and line feed, line and paragraph separators, marks of direction, halves of surrogate pairs.
_UNSHOWN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Text from elsewhere as it may be shown: what moves the cursor, hides or is no character is written as an escape.

    Line ends stay; who shows one line splits there.

    Examples:
        >>> printable("v2\x1b[2J\rPASS")
        'v2\\x1b[2J\\x0dPASS'
    """
    return _UNSHOWN.sub(
        lambda found: found[0].encode("unicode_escape", "surrogatepass").decode().replace("\\r", "\\x0d"), text
    )
