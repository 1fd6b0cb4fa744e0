"""The documentation site: built without a network, it loads nothing from outside, and its links lead somewhere."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import canary_judge
from canary_judge.config.model import json_schema
from canary_judge.rollout import RolloutPlan
from tests.site_links import Page, problems
from tests.snippets import ROOT

GOOD = """
<html><head><link rel="stylesheet" href="_static/a.css?v=1"><link rel="canonical" href="https://example.org/x">
<script src="_static/a.js"></script></head>
<body id="top"><a href="https://example.org">out</a><a href="other.html#there">in</a><a href="#">up</a>
<img src="data:image/png;base64,AA//,https://"></body></html>
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "a.css").write_text(
        "@font-face {src: url(a.woff2)} i {background: url('data:image/svg+xml,x')}"
    )
    (tmp_path / "_static" / "a.woff2").write_bytes(b"font")
    (tmp_path / "_static" / "a.js").write_text("/* https://example.org/licence */ fetch('searchindex.js')")
    (tmp_path / "_static" / "searchindex.js").write_text("")
    (tmp_path / "index.html").write_text(GOOD)
    (tmp_path / "other.html").write_text("<h2 id='there'>There</h2>")
    return tmp_path


def test_a_good_site_has_no_problems(folder):
    assert problems(folder) == []


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("index.html", "<script src='https://cdn.example.org/a.js'></script>", "loads https://cdn.example.org/a.js"),
        ("index.html", "<script src='//cdn.example.org/a.js'></script>", "loads //cdn.example.org/a.js"),
        ("index.html", "<link rel='preconnect' href='https://fonts.example.org'>", "loads https://fonts.example.org"),
        ("index.html", "<link rel='stylesheet' href='http://example.org/a.css'>", "loads http://example.org/a.css"),
        ("index.html", "<img src='https://badge.example.org/a.svg'>", "loads https://badge.example.org/a.svg"),
        ("index.html", "<img srcset='https://a.example.org/2x.png 2x'>", "loads https://a.example.org/2x.png"),
        ("index.html", "<p style='background: url(https://example.org/a.png)'>", "loads https://example.org/a.png"),
        ("index.html", "<style>@import 'https://example.org/a.css';</style>", "loads https://example.org/a.css"),
        ("index.html", "<script>fetch('https://example.org/count')</script>", "loads https://example.org/count"),
        ("_static/a.css", "i {src: url('https://example.org/f.woff2')}", "loads https://example.org/f.woff2"),
        ("_static/a.css", "i {src: url(gone.woff2)}", "gone.woff2 leads nowhere"),
        ("_static/a.js", "s.src = 'https://example.org/a.js'", "loads https://example.org/a.js"),
        ("index.html", "<a href='gone.html'>x</a>", "gone.html leads nowhere"),
        ("index.html", "<a href='other.html#elsewhere'>x</a>", "other.html#elsewhere leads nowhere"),
        ("index.html", "<a href='#elsewhere'>x</a>", "#elsewhere leads nowhere"),
        ("index.html", "<img src='gone.png'>", "gone.png leads nowhere"),
    ],
)
def test_each_problem_is_found(folder, file, text, told):
    (folder / file).write_text(text)
    assert problems(folder) == [f"{file}: {told}"]


def test_an_empty_site_is_a_problem(tmp_path):
    assert problems(tmp_path) == [f"{tmp_path}: no page"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The one that `poe docs` has just built (CANARY_JUDGE_SITE), or one built now."""
    if built := os.environ.get("CANARY_JUDGE_SITE"):
        return Path(built).resolve()
    for module in ("sphinx", "myst_parser", "pydata_sphinx_theme"):
        pytest.importorskip(module, reason="pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = ["-m", "sphinx", "-W", "-n", "--keep-going", "-q", "-b", "html", str(ROOT / "docs"), str(folder)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_loads_nothing_from_outside_and_its_links_lead_somewhere(site):
    assert problems(site) == []


def test_every_page_is_in_the_site(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    pages -= {Path("examples/NOTICE")}
    assert {path for path in pages if not (site / f"{path}.html").is_file()} == set()


def test_every_public_name_is_in_the_reference(site):
    text = (ROOT / "docs" / "api-modules.md").read_text()
    modules = [importlib.import_module(name) for name in re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)]
    assert len(modules) > 10
    front = {id(getattr(canary_judge, name)) for name in canary_judge.__all__}
    named = {
        f"{module.__name__}.{name}"
        for module in modules
        for name in module.__all__
        if id(getattr(module, name)) not in front
    }
    named |= {f"canary_judge.{name}" for name in set(canary_judge.__all__) - {"__version__"}}
    assert named - places(site / "api.html") - places(site / "api-modules.html") == set()


def places(path):
    page = Page()
    page.feed(path.read_text())
    return page.places


@pytest.fixture(scope="module")
def pages():
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_field_of_a_config_has_its_row_and_says_what_it_is(pages):
    text = pages.config_reference()
    schema, plan = json_schema(), RolloutPlan.model_json_schema()
    for one in (schema, plan, *schema["$defs"].values(), *plan["$defs"].values()):
        for name in one.get("properties", {}).keys() - {"kind"}:
            rows = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
            assert rows, name
            assert all(row.split(" | ")[-1].strip(" |") for row in rows), rows


def test_bounds_and_defaults_are_those_of_the_schema(pages):
    rows = pages.config_reference().splitlines()
    assert "| `power` | number, above 0.5, below 1 | `0.8` | Wanted power of the planned sample size. |" in rows
    assert any(row.startswith("| `patience` | duration, as `15s`, `6h` | `5m` |") for row in rows)
    assert any(row.startswith("| `interval` | duration, as `15s`, `6h` | required |") for row in rows)
    assert any(row.startswith("| `stages` | list of [Stage](#stage) | `[5, 25, 50, 75, 100]` |") for row in rows)


def test_every_command_has_its_section(pages):
    text = pages.command_reference()
    for command in ("judge", "watch", "rollout", "router set", "kayenta compare", "state show", "runs list"):
        assert f"# canary-judge {command}\n\n```text\nusage: canary-judge {command} " in text


@pytest.mark.parametrize(
    ("page", "written", "shown"),
    [
        ("guide", "[x](looks.md#planning)", "[x](looks.md#planning)"),
        ("guide", "[x](images/verdict.png)", "[x](images/verdict.png)"),
        ("guide", "[x](https://example.org/a)", "[x](https://example.org/a)"),
        ("guide", "[x](../CONTRIBUTING.md)", "[x](REPOSITORY/blob/main/CONTRIBUTING.md)"),
        ("guide", "[x](../README.md#more)", "[x](REPOSITORY/blob/main/README.md#more)"),
        ("http", "[x](../tests/data/http)", "[x](REPOSITORY/tree/main/tests/data/http)"),
        ("integrations/ci", "[x](../examples/Dockerfile)", "[x](REPOSITORY/blob/main/docs/examples/Dockerfile)"),
        ("integrations/ci", "[x](../service.md)", "[x](../service.md)"),
        ("guide", "```python\nd[1](../README.md)\n```\n", "```python\nd[1](../README.md)\n```\n"),
    ],
)
def test_links_that_leave_the_pages_lead_to_the_repository(pages, page, written, shown):
    assert pages.page(page, written) == shown.replace("REPOSITORY", pages.REPOSITORY)


def test_a_list_of_pages_is_a_table_of_contents(pages):
    text = pages.page(
        "howto", "- [A](guide.md): see also [b](looks.md)\n- [C](integrations/ci.md)\n- [D](https://example.org)\n"
    )
    assert text.endswith("```{toctree}\n:hidden:\n\nguide\nintegrations/ci\n```\n")
