"""`canary-judge calibrate`: what the baseline's past says of a config."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from canary_judge.commands import exit_codes
from canary_judge.commands.history import add_skip_corrupt, opened, tell_skipped
from canary_judge.commands.options import add_source, add_window, config_of, duration_of, sources_of, time_of, window_of
from canary_judge.errors import ConfigError, DataError
from canary_judge.files import put_file
from canary_judge.untrusted import printable

if TYPE_CHECKING:
    from canary_judge.config.model import JudgeConfig
    from canary_judge.history import Calibration
    from canary_judge.series import MetricSource, Window

__all__ = ["add_calibrate"]


def add_calibrate(parser: argparse.ArgumentParser) -> None:
    """`calibrate CONFIG`."""
    parser.description = (
        "Judge canaries that are no canaries, drawn from the baseline's past: whether they refute the declared rate, "
        "and what margins windows like these can show."
    )
    parser.epilog = (
        "Exit codes: 0 nothing is refuted and every metric can decide, 2 the declared rate is refuted, 4 too little "
        "history, or a metric cannot decide, 1 error."
    )
    add_source(parser)
    add_window(parser)
    parser.add_argument("--length", metavar="DURATION", required=True, help="how long a canary is judged, as 30m")
    parser.add_argument(
        "--weight", type=float, metavar="PERCENT", required=True, help="a canary's share of the traffic"
    )
    parser.add_argument("--instances", type=int, default=1, metavar="N", help="of a canary, for metrics with `by` (1)")
    parser.add_argument("--draws", type=int, default=20, metavar="N", help="of each window (20)")
    parser.add_argument(
        "--looks",
        default="one",
        metavar="DURATION",
        help="how often a canary is looked at until its end, as `watch` and `rollout` do (one look, at its end)",
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="START/END",
        help="a deploy, an incident or a past canary: windows that touch it are left out",
    )
    parser.add_argument(
        "--history", metavar="URL", help="an archive in place of a source: the baselines of its canaries"
    )
    add_skip_corrupt(parser)
    written = parser.add_mutually_exclusive_group()
    written.add_argument(
        "--write", metavar="FILE", help="write the config with what was found as comments; every other byte stays"
    )
    written.add_argument("--in-place", action="store_true", help="the same, into CONFIG itself")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.set_defaults(run=_calibrate)


# Less than this is meant as a share more often than as percent.
_SMALL_WEIGHT = 0.5


def _calibrate(options: argparse.Namespace) -> int:
    from canary_judge.history.calibrating import calibrate

    config = config_of(options)
    length = duration_of(options.length, "--length")
    assert length is not None  # noqa: S101
    more: dict[str, Any] = {
        "length": length,
        "weight": options.weight,
        "instances": options.instances,
        "draws": options.draws,
        "looks": options.looks,
    }
    target = _target(options)
    if 0 < options.weight < _SMALL_WEIGHT:
        percent, meant = f"{options.weight:g}", f"{100 * options.weight:g}"
        print(f"canary-judge: --weight {percent} is {percent} %; is {meant} % meant?", file=sys.stderr)
    if options.history is not None:
        given = [name for name in ("source", "data", "last", "start", "end") if getattr(options, name, None)]
        if given or options.without or options.align != "time":
            raise ConfigError("--history is an archive: give no source, no span, no --align and no --without beside it")
        history = opened(options.history, skip_corrupt=options.skip_corrupt)
        found = calibrate(config, history, **more)
        tell_skipped(history)
    else:
        if options.skip_corrupt:
            raise ConfigError("--skip-corrupt goes with --history; a source has no objects")
        sources = sources_of(options, config)
        span, without = _span(options, config, sources), [_spell(text) for text in options.without]
        found = calibrate(config, sources, span, without=without, **more)
    if target is not None and found.lines:  # first: whoever reads the output may be gone
        _write(Path(options.config), target, found)
    print(found.to_json(indent=2) if options.format == "json" else found.explain())
    if not found.lines:
        metric, why = next(iter(found.missing.items()))
        raise DataError(f"nothing can be drawn; {metric}: {why}")
    if found.refuted:
        return exit_codes.FAIL
    return exit_codes.PASS if found.decides and not found.too_little else exit_codes.INSUFFICIENT


def _target(options: argparse.Namespace) -> Path | None:
    """Where the comments go; refused before an hour of work, not after it."""
    config = Path(options.config)
    if not options.in_place and options.write is None:
        return None
    if config.suffix.lower() == ".json":
        raise ConfigError(f"{config}: JSON has no comments; give a config in YAML, or read --format json")
    target = config if options.in_place else Path(options.write)
    if target.suffix.lower() == ".json":
        raise ConfigError(f"--write {target}: JSON has no comments; name a file that ends in .yaml")
    if options.in_place and not os.access(target, os.W_OK):
        raise ConfigError(f"--in-place: {target} cannot be written; use --write FILE")
    if not options.in_place and target.exists():
        raise ConfigError(f"--write {target}: is there already; name a new file, or say --in-place")
    if not (target.resolve().parent.is_dir() and os.access(target.resolve().parent, os.W_OK)):
        raise ConfigError(f"--write {target}: its folder is not there, or cannot be written; name another file")
    return target


def _write(config: Path, target: Path, found: Calibration) -> None:
    """The comments where they can stand; the others are told, to be put there by hand."""
    from canary_judge.config.noting import noted

    text, left = noted(config.read_bytes().decode(), found.notes(), by="calibrate")
    put_file(target, text)
    for path, why in left.items():
        note = f"{'.'.join(path)}: {found.notes()[path]}"
        print(f"canary-judge: not written, because {why}: {printable(note)}", file=sys.stderr)


def _span(options: argparse.Namespace, config: JudgeConfig, sources: dict[str, MetricSource]) -> Window:
    """The past of the options; of a table all of it, whether or not it has a canary."""
    from canary_judge.sources import FrameSource

    tables = [source for source in sources.values() if isinstance(source, FrameSource)]
    if options.last is None and options.start is None and options.end is None and len(tables) == len(sources):
        return tables[0].span(config.interval)
    asked = window_of(options, config, sources)
    for table in tables:
        known = table.span(config.interval)
        missing = max(known.start - asked.start, asked.end - known.end)
        if missing >= (duration_of(options.length, "--length") or config.interval):
            raise ConfigError(
                f"the span, {asked.start:%Y-%m-%d %H:%M} to {asked.end:%Y-%m-%d %H:%M} UTC, is longer than the table, "
                f"{known.start:%Y-%m-%d %H:%M} to {known.end:%Y-%m-%d %H:%M} UTC; give --start and --end inside it"
            )
    return asked


def _spell(text: str) -> Window:
    from canary_judge.series import Window

    start, slash, end = text.partition("/")
    if not slash:
        raise ConfigError(f"--without {text!r}: write it as START/END, as in 2026-01-31T12:00Z/2026-01-31T13:00Z")
    try:
        return Window(time_of(start, "--without"), time_of(end, "--without"))
    except ValueError as error:
        raise DataError(f"--without {text!r}: {error}") from error
