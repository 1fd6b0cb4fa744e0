"""What is wrong with a built site: `python -m tests.site_links build/docs` lists it, and ends with 1 if there is anything.

A page may lead anywhere, but it loads nothing from outside: a reader behind a firewall sees the same as any other, and
nobody learns that he reads it. Links inside lead to a page, and to a place on it, that exist.
"""

import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADING = {"src", "data", "poster", "background"}
LEADING = {"canonical", "next", "prev", "index", "search", "author", "license", "alternate"}  # `rel`s that load nothing
IN_STYLES = re.compile(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""")
IN_SCRIPTS = re.compile(
    r"""(?:fetch|import|importScripts|Worker|\.open)\(\s*(?:["']\w+["'],\s*)?["'`]((?:\w+:)?//[^"'`]*)"""
    r"""|\.(?:src|href)\s*=\s*["'`]((?:\w+:)?//[^"'`]*)"""
)


@dataclass
class Page(HTMLParser):
    """The places of a page, where it leads, and what it loads."""

    places: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)

    def __post_init__(self):
        super().__init__()
        self.inside = ""

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        given = {name: value or "" for name, value in attrs}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        if tag in {"a", "area"} and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and not LEADING & set(given.get("rel", "").split()):
            self.loads.append(given.get("href", ""))
        self.loads += [given[name] for name in LOADING & set(given)]
        self.loads += [part.split()[0] for part in given.get("srcset", "").split(",") if part.strip()]
        self.loads += found(IN_STYLES, given.get("style", ""))

    def handle_data(self, data):
        if self.inside in {"style", "script"}:
            self.loads += found(IN_STYLES if self.inside == "style" else IN_SCRIPTS, data)

    def handle_endtag(self, tag):
        self.inside = ""


def found(pattern, text):
    return [next(filter(None, groups)) for groups in pattern.findall(text)]


def from_outside(address):
    return bool(re.match(r"//|(?!data:)\w+:", address))


def problems(folder):
    """One line for each: the file, and what is wrong."""
    pages = {}
    for path in sorted(set(folder.rglob("*.html")) - set(folder.glob("_static/**/*"))):  # templates of the theme
        pages[path] = Page()
        pages[path].feed(path.read_text(encoding="utf-8"))
    lines = [] if pages else [f"{folder}: no page"]
    for path, page in pages.items():
        at = path.relative_to(folder)
        lines += [f"{at}: loads {address}" for address in page.loads if from_outside(address)]
        local = [link for link in [*page.links, *page.loads] if not from_outside(link) and not link.startswith("data:")]
        lines += [f"{at}: {link} leads nowhere" for link in local if not leads(link, path, pages)]
    for pattern, kind in ((IN_STYLES, "*.css"), (IN_SCRIPTS, "*.js")):
        for path in sorted(folder.rglob(kind)):
            at, addresses = path.relative_to(folder), found(pattern, path.read_text(encoding="utf-8"))
            lines += [f"{at}: loads {address}" for address in addresses if from_outside(address)]
            local = [address for address in addresses if not address.startswith("data:") and not from_outside(address)]
            lines += [f"{at}: {address} leads nowhere" for address in local if not leads(address, path, pages)]
    return lines


def leads(link, path, pages):
    parts = urlsplit(link)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target not in pages:
        return target.is_file()
    return not parts.fragment or unquote(parts.fragment) in pages[target].places


def main():
    folder = Path(sys.argv[1]).resolve()
    lines = problems(folder)
    print(*lines, f"{len(lines)} problems in {folder}", sep="\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
