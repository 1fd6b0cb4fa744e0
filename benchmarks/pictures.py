"""The pictures of README and docs, drawn anew: `python -m benchmarks.pictures` writes them to docs/images.

They show simulated shops (benchmarks/picture_cases.py), so that everybody gets the same ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.picture_cases import CASES, judged
from canary_judge.pictures import verdict_svg

IMAGES = Path(__file__).parents[1] / "docs" / "images"
# What README and docs show, each following the reader's light or dark page.
SHOWN = {"verdict": "fail", "verdict-hold": "hold", "verdict-pass": "pass"}


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=IMAGES)
    parser.add_argument("--all", action="store_true", help="every case, at both widths and in every theme")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, case in SHOWN.items():
        (options.folder / f"{name}.svg").write_text(verdict_svg(judged(case)) + "\n", encoding="utf-8")
    if options.all:
        for case in CASES:
            for width in (700, 360):
                for theme in ("light", "dark", "print", "auto"):
                    name = f"{case.replace(' ', '-')}-{width}-{theme}.svg"
                    (options.folder / name).write_text(verdict_svg(judged(case), width=width, theme=theme))


if __name__ == "__main__":
    main()
