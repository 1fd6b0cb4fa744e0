"""`canary-judge report`: a judgement as one HTML file, for whoever has no terminal."""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from canary_judge.errors import DataError

if TYPE_CHECKING:
    from canary_judge.results import Judgement

__all__ = ["add_report"]

_REMEDY = "write it with `canary-judge judge CONFIG --format json`"


def add_report(parser: argparse.ArgumentParser) -> None:
    """`report JUDGEMENT`."""
    parser.description = (
        "Write a judgement as one HTML file: a picture, the reasons, every metric. No script, no request."
    )
    parser.epilog = "Exit codes: 0 written, 1 error; the verdict is in the file, not in the exit code."
    parser.add_argument("judgement", metavar="JUDGEMENT", help="JSON of `judge --format json` (- = stdin)")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to; without it to standard output")
    parser.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    from canary_judge.files import put_file

    page = _read(options.judgement).to_html(whole_page=True)
    if options.output in (None, "-"):
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # as the page says of itself, whatever the terminal speaks
        sys.stdout.write(page + "\n")
        return 0
    if options.judgement != "-" and Path(options.output).resolve() == Path(options.judgement).resolve():
        raise DataError(f"--output {options.output}: is the judgement itself; name another file")
    try:
        put_file(Path(options.output), page + "\n")
    except OSError as error:
        raise DataError(f"{options.output}: the report cannot be written: {error.strerror or error}") from error
    return 0


def _read(name: str) -> Judgement:
    """The judgement of a file, or of what a service and `runs show` wrap around it.

    Raises:
        DataError: It cannot be read, or is none: what is wrong, where, and the remedy.
    """
    from pydantic import ValidationError

    from canary_judge.results import Judgement

    where = "standard input" if name == "-" else name
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{where}: cannot be read: {error.strerror or error}; give a file, or - for stdin") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: is no text in UTF-8 ({error.reason} at byte {error.start}); {_REMEDY}") from error
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise DataError(f"{where}: is nested too deeply for a judgement; {_REMEDY}") from error
    except ValueError as error:
        what = "is empty" if not text.strip() else f"is no JSON: {error}"
        raise DataError(f"{where}: {what}; {_REMEDY}") from error
    if isinstance(found, dict) and isinstance(found.get("judgement"), dict):
        found = found["judgement"]
    if not isinstance(found, dict):
        raise DataError(f"{where}: is no judgement but a JSON {type(found).__name__}; {_REMEDY}")
    try:
        return Judgement.from_json(json.dumps(found))
    except ValidationError as error:
        first, more = error.errors(include_url=False)[0], error.error_count() - 1
        place = ".".join(str(one) for one in first["loc"]) or "judgement"
        others = f" (and {more} more)" if more else ""
        raise DataError(f"{where}: is no judgement: {place}: {first['msg']}{others}; {_REMEDY}") from error
    except ValueError as error:
        raise DataError(f"{where}: is no judgement: {error}; {_REMEDY}") from error
