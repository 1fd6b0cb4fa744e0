"""A real browser, without a window and without a network; tests that need one are skipped where there is none."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
# No host is resolved: what a page asks for, it does not get.
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


class Browser:
    """Chromium, started anew for each page."""

    def __init__(self, program, folder):
        self._program, self._folder, self._pages = program, folder, 0

    def _run(self, page, *more, width=1000):
        self._pages += 1
        path = self._folder / f"{self._pages}.html"
        path.write_text(page, encoding="utf-8")
        profile = f"--user-data-dir={self._folder / f'profile{self._pages}'}"
        command = [self._program, *_FLAGS, profile, f"--window-size={width},3000", *more, f"file://{path}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout

    def asked(self, page, script, *, width=1000, flags=()):
        """What a script finds in the page: the value of its last expression, as JSON."""
        asking = f"<script>const found=(()=>{{{script}}})();document.body.innerHTML='<pre id=told></pre>';"
        asking += "document.getElementById('told').textContent=JSON.stringify(found)</script>"
        told = self._run(page + asking, "--dump-dom", *flags, width=width)
        return json.loads(unescape(re.search(r'<pre id="told">(.*?)</pre>', told, re.DOTALL)[1]))


def found_browser(folder):
    """One whose files are in this folder; the test is skipped where there is none."""
    for name in _NAMES:
        if program := shutil.which(name):
            return Browser(program, folder)
    pytest.skip(f"no {_NAMES[0]} here; Debian's package chromium has it")
