"""A judgement as text, JSON, DataFrame and HTML.

Text is for a terminal, HTML for a notebook; both say the verdict first, then why, then metric by metric.
"""

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
