"""The documentation site: `poe docs` builds it from these pages into build/docs, without a network."""

import inspect
import os
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from pydantic import BaseModel
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

from canary_judge import __version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # for site_pages, which stands beside this file

import site_pages  # noqa: E402

os.environ |= {"COLUMNS": "100", "NO_COLOR": "1"}  # the same `--help` whoever builds, wherever

project = "canary_judge"
author = "the canary_judge authors"
copyright = "the canary_judge authors, Apache-2.0"  # noqa: A001
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["examples/NOTICE.md"]
nitpicky = True
# No intersphinx: it would have to fetch. What stands in signatures and is not ours leads nowhere.
nitpick_ignore_regex = [
    (r"py:.*", r"(collections|concurrent|contextlib|datetime|enum|pathlib|threading|typing)\..*"),
    (r"py:.*", r"(matplotlib|numpy|pandas|pydantic|requests|sqlalchemy|np|pd)\..*"),
    # the same, imported for the type checker only
    (r"py:class", r"datetime|timedelta|NDArray|Path|Axes"),
]

myst_heading_anchors = 4

# Docstrings are read on the screen as often as on the site: one backtick is enough for code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # the signature has the types
napoleon_use_rtype = False
python_maximum_signature_line_length = 100
add_module_names = False

html_theme = "pydata_sphinx_theme"
html_title = "canary_judge"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options: dict[str, Any] = {
    "github_url": site_pages.REPOSITORY,
    "navbar_align": "left",
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}


def _read(_: Sphinx, page: str, text: list[str]) -> None:
    text[0] = site_pages.page(page, text[0])


def _signature(
    _: Sphinx,
    what: str,  # noqa: ARG001
    name: str,  # noqa: ARG001
    thing: object,
    options: object,  # noqa: ARG001
    signature: str | None,
    returns: str | None,
) -> tuple[str, str | None] | None:
    """Arrays by their short name. Models are made from a mapping, and docs/config.md has their fields."""
    if inspect.isclass(thing) and issubclass(thing, BaseModel):
        return "", None
    if signature is None:  # a value has none
        return None
    return site_pages.plain_signature(signature), returns and site_pages.plain_signature(returns)


def _docstring(_: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:  # noqa: ARG001
    """Keep what stands before a colon or a comma from being read as a type.

    Of a property napoleon takes all before the first colon of the first line for its type, unless that line is empty
    (to a reader); of fields that share a line Sphinx takes the first for the type of the second.
    """
    if what in {"attribute", "property"}:
        lines.insert(0, "\\ ")
    lines[:] = [re.sub(r"^( +\w+)((?:, \w+)+):", lambda found: found[0].replace(", ", ","), line) for line in lines]


def _private(_: Sphinx, env: object, node: pending_xref, shown: nodes.TextElement) -> nodes.TextElement | None:  # noqa: ARG001
    """A type that exists and is not public leads nowhere; one that does not exist is still a warning."""
    return shown if site_pages.is_ours(node["reftarget"]) else None


def setup(app: Sphinx) -> None:
    """Let pages and docstrings be made ready before they are parsed."""
    app.connect("source-read", _read)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _docstring, priority=400)  # before napoleon
    app.connect("missing-reference", _private)
