"""The colours of all pictures, by what they are for; contrast and luminance as in docs/pictures.md."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

__all__ = ["CANARY", "TOKENS", "Theme", "Tone"]

Theme = Literal["auto", "light", "dark", "print"]
# `verdict` is the word PASS, `small` a small word in the tone of `good`; the others are what their names say.
Tone = Literal[
    "paper", "ink", "dim", "good", "bad", "beyond", "line", "track", "edge", "verdict", "small"
]  # fmt: skip

TOKENS: Mapping[str, Mapping[Tone, str]] = MappingProxyType(
    {
        "light": {
            "paper": "#ffffff",
            "ink": "#1c2127",
            "dim": "#57606a",
            "good": "#008f80",
            "bad": "#9a2f00",
            "beyond": "#f8e7de",
            "line": "#8c959f",
            "track": "#e4e8ec",
            "edge": "#d0d7de",
            "verdict": "#008f80",
            "small": "#00766a",
        },
        "dark": {
            "paper": "#0f1419",
            "ink": "#e6edf3",
            "dim": "#9aa7b4",
            "good": "#22a884",
            "bad": "#ffb085",
            "beyond": "#33221a",
            "line": "#6e7781",
            "track": "#2a3138",
            "edge": "#30363d",
            "verdict": "#22a884",
            "small": "#22a884",
        },
        "print": {
            "paper": "#ffffff",
            "ink": "#000000",
            "dim": "#444444",
            "good": "#777777",
            "bad": "#000000",
            "beyond": "#e6e6e6",
            "line": "#777777",
            "track": "#e0e0e0",
            "edge": "#999999",
            "verdict": "#000000",
            "small": "#000000",
        },
    }
)
# Of the canary's own line in plots: never the colour of a verdict.
CANARY: Mapping[str, str] = MappingProxyType({"light": "#0072b2", "dark": "#56b4e9", "print": "#000000"})
