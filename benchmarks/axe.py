"""The reports of all picture cases, asked by axe-core in Chromium: `python -m benchmarks.axe path/to/axe.min.js`.

axe-core is no dependency; the wheel `axe-playwright-python` has the file. Light and dark, 400 and 1400 px. It prints each
rule that a page breaks, with how many pages do, and what axe could not tell (the contrast of texts in a picture).
"""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.picture_cases import CASES, judged
from canary_judge.report.html import to_page

_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND")
_DARK = ("--force-dark-mode", "--blink-settings=preferredColorScheme=0")
_ESCAPED = "<\\/script>"
_ASK = """<script>axe.run(document).then(found => {
  const told = [found.violations, found.incomplete].map(some => some.map(one => [one.id, one.impact]));
  document.body.innerHTML = '<pre id=told></pre>';
  document.getElementById('told').textContent = JSON.stringify([...told, found.passes.length]);
})</script>"""


def asked(page: str, axe: str, width: int, *, dark: bool) -> tuple[list[list[str]], list[list[str]], int]:
    """What axe finds wrong, what it cannot tell, and how many rules hold."""
    # the page's own policy forbids all scripts
    page = re.sub(r"<meta http-equiv='Content-Security-Policy'[^>]*>", "", page)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "page.html"
        path.write_text(f"{page}<script>{axe.replace('</script>', _ESCAPED)}</script>{_ASK}", encoding="utf-8")
        command = ["chromium", *_FLAGS, f"--user-data-dir={folder}/profile", f"--window-size={width},3000"]
        command += ["--virtual-time-budget=30000", "--dump-dom", *(_DARK if dark else ())]
        done = subprocess.run([*command, f"file://{path}"], capture_output=True, text=True, timeout=120, check=True)
    told = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    if told is None:
        raise RuntimeError("axe gave no answer")
    wrong, unknown, held = json.loads(html.unescape(told[1]))
    return wrong, unknown, held


def main(path: Path) -> None:
    """The table."""
    axe, wrong, unknown, pages, held = path.read_text(encoding="utf-8"), Counter(), Counter(), 0, 0  # type: ignore[var-annotated]
    for name in CASES:
        page = to_page(judged(name))
        for width in (400, 1400):
            for dark in (False, True):
                broken, open_, kept = asked(page, axe, width, dark=dark)
                wrong.update(map(tuple, broken))
                unknown.update(map(tuple, open_))
                pages, held = pages + 1, held + kept
    print(
        f"{pages} pages, {held / pages:.0f} rules held on each; broken: {dict(wrong)}; not to be told: {dict(unknown)}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
