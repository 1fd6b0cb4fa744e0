"""The Python of README and docs under the type checker: `python -m tests.snippets` runs mypy --strict on every page."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    """The fenced blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def outputs(page):
    """What Python blocks of a page are said to print: the block, and the `text output` right below it."""
    lines = r"((?:(?!```)[^\n]*\n)*)"
    return dict(re.findall(rf"^```python\n{lines}```\n\n```text output\n{lines}```", page.read_text(), re.MULTILINE))


def main():
    """One module a page, its blocks one after the other, as they are run in tests/test_docs.py."""
    with tempfile.TemporaryDirectory() as folder:
        modules = []
        for page in PAGES:
            if texts := blocks(page, "python"):
                modules.append(Path(folder) / f"{page.stem.lower().replace('-', '_')}_page.py")
                modules[-1].write_text("\n\n".join(texts))
        command = ["-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), *map(str, modules)]
        done = subprocess.run([sys.executable, *command], cwd=ROOT, check=False)
    print(f"{len(modules)} pages")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
