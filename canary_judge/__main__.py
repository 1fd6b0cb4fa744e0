# PYTHON_ARGCOMPLETE_OK
"""The command line: judge, watch, rollout, router, control, plan, check, serve, archive, backtest, and others.

Exit codes of `judge` and `watch`: 0 pass, 2 fail, 3 marginal, 4 marginal for want of evidence, 1 error. Of `rollout`:
0 promoted, 2 rolled back or frozen, 3 stopped or interrupted, 5 superseded, 1 error.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import NoReturn

from canary_judge._version import __version__
from canary_judge.commands import exit_codes
from canary_judge.errors import CanaryJudgeError
from canary_judge.untrusted import printable

__all__ = ["main"]

# A full disk, a quota, a limit on the size of files, a device that fails.
_NOT_WRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
# Of each command what it does, and what adds its options: imported when they are asked for.
_COMMANDS = {
    "judge": ("judge a finished window", "judging.add_judge"),
    "watch": ("look at a running canary until it is decided", "watch.add_watch"),
    "report": ("write a judgement as one HTML file, with its picture", "report.add_report"),
    "rollout": ("drive a canary through its stages, and back to 0 at once", "rollout.add_rollout"),
    "router": ("read, set or take back a weight by hand", "routers.add_router"),
    "control": ("approve, pause, resume, abort or stop a running rollout", "rollout.add_control"),
    "state": ("what the evidence of a watch or a rollout holds", "state.add_state"),
    "plan": ("how long a canary takes at which weight", "configs.add_plan"),
    "check": ("validate a config and show its queries", "configs.add_check"),
    "presets": ("list the presets, or show one", "configs.add_presets"),
    "schema": ("print the JSON Schema of a config", "configs.add_schema"),
    "serve": ("answer other controllers over HTTP", "serve.add_serve"),
    "runs": ("what a service follows", "serve.add_runs"),
    "archive": ("archive a past canary", "history.add_archive"),
    "history": ("look into an archive of past canaries", "history.add_history"),
    "backtest": ("what a config would have said of past canaries", "history.add_backtest"),
    "calibrate": ("what the baseline's past says of a config", "calibrate.add_calibrate"),
    "kayenta": ("Kayenta's judge, its configs, and both judges side by side", "kayenta.add_commands"),
    "demo": ("judge bundled real recordings, without any server", "judging.add_demo"),
}


class _Parser(argparse.ArgumentParser):
    """Usage errors exit with 1: 2 means that the canary failed."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(exit_codes.ERROR, f"{self.prog}: error: {message}{self._meant(message)}\n")

    def _meant(self, message: str) -> str:
        """A hint at the nearest command, choice or option."""
        from canary_judge.config.reading import nearest  # `--help` needs no pydantic

        if found := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            return nearest(found[1], [word.strip(" '") for word in found[2].split(",")])
        if found := re.search(r"unrecognized arguments: (--[\w-]+)", message):
            options = [text for action in _parser().of_all() for text in action.option_strings]
            if found[1] in options:
                return "; it is an option of another command"
            return nearest(found[1], options)
        return ""

    def of_all(self) -> Iterator[argparse.Action]:
        """Its own actions and those of its commands: an unknown option is told by the outermost parser."""
        for action in self._actions:
            yield action
            choices = action.choices if isinstance(action.choices, dict) else {}
            for parser in choices.values():  # each command has a parser of this class
                yield from parser.of_all()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; nothing but a bug ends in a traceback."""
    # a shell may have closed them (`>&-`): what is written there goes nowhere, and the exit code tells the verdict
    sys.stdout, sys.stderr = (
        os.fdopen(os.open(os.devnull, os.O_WRONLY), "w") if one is None else one for one in (sys.stdout, sys.stderr)
    )
    own = arguments is None and isinstance(sys.stdout, io.TextIOWrapper)  # no stream of somebody who calls this
    if own and isinstance(sys.stdout.buffer, io.RawIOBase):
        # unbuffered (PYTHONUNBUFFERED), what a full disk takes no more is dropped without an error
        whole = io.BufferedWriter(sys.stdout.buffer)
        sys.stdout = io.TextIOWrapper(whole, encoding=sys.stdout.encoding, line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a letter that the terminal lacks must not cost the exit code
            stream.reconfigure(errors="backslashreplace")
    if "_ARGCOMPLETE" in os.environ:  # the shell asks what could come next
        import argcomplete

        argcomplete.autocomplete(_parser())
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        parser = _parser(next((one for one in given if one in _COMMANDS), ""))
        if not given:
            parser.print_help()
            return exit_codes.ERROR
        options = parser.parse_args(given)
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)
    except CanaryJudgeError as error:
        print(f"canary-judge: error: {printable(str(error))}", file=sys.stderr)
    except BrokenPipeError:
        # the reader of our output has gone; do not complain at shutdown either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in _NOT_WRITTEN:
            return _bug(error)
        print(f"canary-judge: error: the output cannot be written: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("canary-judge: interrupted", file=sys.stderr)
    except Exception as error:  # noqa: BLE001
        return _bug(error)
    return exit_codes.ERROR


def _bug(error: Exception) -> int:
    """What nobody foresaw, without its traceback unless that is asked for."""
    if os.environ.get("CANARY_JUDGE_TRACEBACK"):
        raise error
    print(
        f"canary-judge: internal error: {type(error).__name__}: {printable(str(error))}\n"
        "This is a bug. Run again with CANARY_JUDGE_TRACEBACK=1 and report what it prints.",
        file=sys.stderr,
    )
    return exit_codes.ERROR


def _parser(only: str | None = None) -> _Parser:
    """The parser of all commands, with the options of one alone where that is known."""
    parser = _Parser(prog="canary-judge", description="A statistical canary judge.")
    parser.add_argument("--version", action="version", version=f"canary-judge {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser, dest="command")
    for name, (about, add) in _COMMANDS.items():
        command = commands.add_parser(name, help=about)
        if only is None or name == only:
            module, function = add.split(".")
            getattr(import_module(f"canary_judge.commands.{module}"), function)(command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
