"""The command line of Kayenta's judge: judge, compare, convert."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from canary_judge.commands.exit_codes import ERROR, FAIL, MARGINAL, PASS
from canary_judge.errors import DataError

if TYPE_CHECKING:
    import argparse

__all__ = ["add_commands"]


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add `kayenta judge`, `compare` and `convert` to the parser of `kayenta`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=type(parser))

    judge = commands.add_parser(
        "judge",
        help="judge as NetflixACAJudge-v1.0 does",
        description="Read a remote judge's request {canaryConfig, scoreThresholds, metricSetPairList}, print Kayenta's "
        'result object, or {"error": ...} where Kayenta would raise.',
        epilog="Exit codes: 0 Pass, 2 Fail, 3 Marginal, 1 error; with --lines always 0: every line has its own answer.",
    )
    _request_argument(judge)
    judge.add_argument("--lines", action="store_true", help="one request per line, one answer per line")
    judge.set_defaults(run=_judge)

    compare = commands.add_parser(
        "compare",
        help="judge with both judges, and say why they differ",
        description="Read a remote judge's request and judge it with Kayenta's judge and with the calibrated one.",
        epilog="Exit code 0 whenever both were asked, whatever they said.",
    )
    _request_argument(compare)
    compare.add_argument("--format", choices=["text", "json"], default="text")
    compare.set_defaults(run=_compare)

    convert = commands.add_parser(
        "convert",
        help="carry a canary config over to this judge",
        description="Print a Kayenta canary config as a config of this judge, with what could not be carried over.",
    )
    convert.add_argument("config", metavar="FILE", nargs="?", default="-", help="canary config as JSON (- = stdin)")
    convert.add_argument("--interval", default="1m", metavar="DURATION", help="length of one interval (default 1m)")
    convert.add_argument("--format", choices=["yaml", "json"], default="yaml", help="json has {config, notes}")
    convert.set_defaults(run=_convert)


def _request_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("request", metavar="FILE", nargs="?", default="-", help="the request as JSON (- = stdin)")


def _judge(options: argparse.Namespace) -> int:
    from canary_judge import kayenta

    def answer(text: str) -> tuple[dict[str, Any], int]:
        try:
            if any("\udc80" <= letter <= "\udcff" for letter in text):
                raise DataError(f"{options.request}: is not UTF-8")
            request = kayenta.Request.from_mapping(kayenta.parse_json(text, options.request))
            result = kayenta.judge(request.config, request.pairs, request.thresholds)
        except DataError as error:
            return {"error": str(error)}, ERROR
        return result.to_mapping(), {"Pass": PASS, "Marginal": MARGINAL, "Fail": FAIL}[result.classification]

    if options.lines:
        with _opened(options.request, errors="surrogateescape") as file:
            for line in _lines(options.request, file):
                if line.strip():
                    print(kayenta.to_json(answer(line)[0]), flush=True)
        return 0
    found, code = answer(_text(options.request))
    print(kayenta.to_json(found, indent=2))
    return code


def _compare(options: argparse.Namespace) -> int:
    from canary_judge import kayenta

    found = kayenta.compare(kayenta.parse_json(_text(options.request), options.request))
    print(found.explain() if options.format == "text" else kayenta.to_json(found.to_mapping(), indent=2))
    return 0


def _convert(options: argparse.Namespace) -> int:
    from canary_judge import kayenta

    found = kayenta.to_config(kayenta.parse_json(_text(options.config), options.config), interval=options.interval)
    if options.format == "json":
        print(kayenta.to_json({"config": found.data, "notes": found.notes}, indent=2))
    else:
        print(found.to_yaml(), end="")
    return 0


@contextmanager
def _opened(name: str, *, errors: str = "strict") -> Iterator[TextIO]:
    """Text; with `surrogateescape` what is no UTF-8 costs its own line alone."""
    if name == "-":
        if sys.stdin is None:
            raise DataError("-: standard input is closed; name a file")
        yield sys.stdin
        return
    with ExitStack() as closing:
        try:
            file = closing.enter_context(Path(name).open(encoding="utf-8-sig", errors=errors))
        except OSError as error:
            raise DataError(f"{name}: cannot be read: {error}") from error
        yield file


def _lines(name: str, file: TextIO) -> Iterator[str]:
    """Its lines; an error while they are answered is none of reading."""
    try:
        yield from file
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{name}: cannot be read: {error}") from error


def _text(name: str) -> str:
    with _opened(name) as file:
        return "".join(_lines(name, file))
