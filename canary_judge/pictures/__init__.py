"""The picture of a judgement that is read in five seconds, as SVG: no script, no font, no library, no request.

A bar is the deciding interval of a metric, held against its margin: wholly right of it harm is shown, wholly left of it
harm is ruled out, across it the metric is undecided.
"""

from canary_judge.pictures.svg import bar_svg, colours, verdict_svg
from canary_judge.pictures.tokens import Theme
from canary_judge.pictures.verdict import drawn

__all__ = ["Theme", "bar_svg", "colours", "drawn", "verdict_svg"]
