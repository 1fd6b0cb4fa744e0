"""A judgement as text, JSON, DataFrame and HTML.

Text is for a terminal, HTML for a notebook; both say the verdict first, then why, then metric by metric. Each is
imported when it is first used: a terminal needs no pictures.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from canary_judge.report.html import config_to_html, metric_to_html, to_html, to_page
    from canary_judge.report.plain import from_json, to_frame, to_json
    from canary_judge.report.text import in_short, to_board, to_text
    from canary_judge.wording import short

__all__ = [
    "config_to_html",
    "from_json",
    "in_short",
    "metric_to_html",
    "short",
    "to_board",
    "to_frame",
    "to_html",
    "to_json",
    "to_page",
    "to_text",
]

_HOME = {
    "config_to_html": "report.html",
    "from_json": "report.plain",
    "in_short": "report.text",
    "metric_to_html": "report.html",
    "short": "wording",
    "to_board": "report.text",
    "to_frame": "report.plain",
    "to_html": "report.html",
    "to_json": "report.plain",
    "to_page": "report.html",
    "to_text": "report.text",
}

_MODULES = ("ci", "html", "plain", "rows", "text")


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"canary_judge.report.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'canary_judge.report' has no attribute {name!r}")
    return getattr(import_module(f"canary_judge.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
