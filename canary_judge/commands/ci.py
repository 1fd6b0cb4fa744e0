"""What `judge` and `watch` leave behind for CI: files, outputs, annotations, exit codes."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from canary_judge.commands import exit_codes
from canary_judge.commands.options import duration_of
from canary_judge.errors import CanaryJudgeError, ConfigError, DataError

if TYPE_CHECKING:
    from datetime import timedelta

    from canary_judge.report.ci import Told
    from canary_judge.results import Judgement

__all__ = ["add_ci", "checked_ci", "exit_code", "reported", "wait_for"]

_GITHUB = ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
_FILES = ("junit", "gitlab_dotenv", "gitlab_annotations")


def add_ci(parser: argparse.ArgumentParser, *, wait: str) -> None:
    """The options."""
    group = parser.add_argument_group("CI and jobs")
    group.add_argument("--junit", metavar="FILE", help="write a JUnit report: a case for the verdict and each metric")
    group.add_argument("--github", action="store_true", help="write outputs, summary and annotations of GitHub Actions")
    group.add_argument("--gitlab-dotenv", metavar="FILE", help="write CANARY_VERDICT=... for artifacts:reports:dotenv")
    group.add_argument("--gitlab-annotations", metavar="FILE", help="write the verdict as a link on the job's page")
    group.add_argument("--result-dir", metavar="DIR", help="write a file for each result, as Tekton's /tekton/results")
    group.add_argument(
        "--inconclusive-exit", type=int, metavar="N", help="exit with N in place of 3 and 4 (0: go on, 1: stop)"
    )
    group.add_argument("--wait", metavar="DURATION", help=wait)


def checked_ci(options: argparse.Namespace) -> None:
    """Refuse what could not be written in the end, before anything is asked or waited for."""
    code = options.inconclusive_exit
    if code is not None and not 0 <= code <= 255:
        raise ConfigError(f"--inconclusive-exit is {code}; give 0 to 255")
    if options.github and (unset := [name for name in _GITHUB if not os.environ.get(name)]):
        raise ConfigError(f"--github: {unset[0]} is not set, as it is in a step of GitHub Actions; leave --github out")
    for option in _FILES:
        name = getattr(options, option)
        if name is not None and (not Path(name).parent.is_dir() or Path(name).is_dir()):
            raise ConfigError(f"--{option.replace('_', '-')} {name}: is no file in a folder that is there")
    if options.result_dir is not None and not Path(options.result_dir).is_dir():
        raise ConfigError(f"--result-dir {options.result_dir}: is no folder that is there")
    duration_of(options.wait, "--wait")


def wait_for(length: timedelta, longer: timedelta) -> tuple[datetime, datetime]:
    """Wait so long, and a little longer, for the last values come late; the window that has passed meanwhile."""
    begun = datetime.now(UTC)
    until = time.monotonic() + (length + longer).total_seconds()
    while (rest := until - time.monotonic()) > 0:
        time.sleep(min(rest, 60.0))
    return begun, begun + length


@contextlib.contextmanager
def reported(options: argparse.Namespace) -> Iterator[list[Judgement]]:
    """Write what was asked for: of the judgement that is put into the list, or of the error that ends it."""
    found: list[Judgement] = []
    name = Path(options.config).stem
    try:
        yield found
    except CanaryJudgeError as error:
        with contextlib.suppress(CanaryJudgeError):  # the first error is the one to tell
            _write(options, str(error), name)
        raise
    if found:  # a query that cannot work is an error, as in the exit code, whatever the other metrics say
        broken = "; ".join(exit_codes.broken(found[-1]))
        _write(options, broken or found[-1], found[-1].name)


def exit_code(options: argparse.Namespace, judgement: Judgement) -> int:
    """That of the verdict, or the one that was asked for where nothing is decided."""
    code = exit_codes.tell(judgement)
    undecided = code in (exit_codes.MARGINAL, exit_codes.INSUFFICIENT)
    return options.inconclusive_exit if undecided and options.inconclusive_exit is not None else code


def _write(options: argparse.Namespace, told: Told, name: str) -> None:
    if not options.github and all(getattr(options, option) is None for option in (*_FILES, "result_dir")):
        return
    from canary_judge.files import put_file
    from canary_judge.report import ci

    try:
        if options.junit is not None:
            put_file(Path(options.junit), ci.junit(told, name=name))
        if options.gitlab_dotenv is not None:
            put_file(Path(options.gitlab_dotenv), ci.dotenv(told))
        if options.gitlab_annotations is not None:
            url = os.environ.get("CI_JOB_URL", "https://docs.gitlab.com/ci/yaml/artifacts_reports/")
            put_file(Path(options.gitlab_annotations), ci.gitlab_annotations(told, name=name, url=url))
        if options.result_dir is not None:
            for key, value in ci.fields(told).items():
                put_file(Path(options.result_dir) / key, value)
        if options.github:
            _append("GITHUB_OUTPUT", ci.github_output(told, delimiter=f"canary-{secrets.token_hex(16)}"))
            _append("GITHUB_STEP_SUMMARY", ci.github_summary(told, name=name))
    except OSError as error:
        raise DataError(f"the report cannot be written: {error}") from error
    if options.github:
        # a judgement as JSON has standard output for itself; GitHub reads both
        out = sys.stderr if options.format == "json" else sys.stdout
        for command in ci.github_annotations(told, name=name):
            print(command, file=out)


def _append(variable: str, text: str) -> None:
    with Path(os.environ[variable]).open("a", encoding="utf-8") as file:
        file.write(text)
