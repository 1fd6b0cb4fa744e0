"""`canary-judge archive`, `history` and `backtest`: past canaries, and what judges would have said of them."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from canary_judge.commands import exit_codes
from canary_judge.commands.options import add_sides, config_of, duration_of, time_of
from canary_judge.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

    from canary_judge.history import Backtest, History, PastJudge, Span
    from canary_judge.history.replaying import Looks

__all__ = ["add_archive", "add_backtest", "add_history", "add_skip_corrupt", "opened", "tell_skipped"]

_ENDED_BY = ("this judge", "another judge", "a person", "the planned end", "unknown")
_LABELS = ("healthy", "bad", "unknown")


def add_archive(parser: argparse.ArgumentParser) -> None:
    """`archive CONFIG --state FILE | --data FILE --to URL`."""
    parser.description = "Archive a past canary: what its run consumed, look by look. Needs the extra `history`."
    parser.add_argument("config", metavar="CONFIG", help="the config of its run")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--state", metavar="FILE", help="the log of `watch --state`, or the evidence beside a journal")
    what.add_argument("--data", metavar="FILE", help="a .csv, .csv.gz or .parquet table; its looks are made up")
    parser.add_argument("--to", metavar="URL", required=True, help="the archive: a folder, or a URL as s3://bucket/x")
    parser.add_argument("--every", metavar="DURATION", help="of a table, the time between looks (default: interval)")
    parser.add_argument("--horizon", metavar="DURATION", help="of a table, the planned length of the canary")
    parser.add_argument("--ended-by", choices=_ENDED_BY, default="unknown", help="who ended it")
    parser.add_argument("--why", metavar="TEXT", default="", help="why it was ended")
    parser.add_argument("--did", metavar="TEXT", default="", help="what the controller did, as promoted")
    parser.add_argument("--deployment", metavar="NAME", default="", help="the baseline's deployment or set of pods")
    parser.add_argument(
        "--span",
        metavar="WHAT,START,END",
        action="append",
        default=[],
        help="deploy or incident and its times, of which no baseline is drawn; may be given several times",
    )
    _add_label(parser)
    add_sides(parser)
    parser.set_defaults(run=_archive)


def _add_label(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--label", choices=_LABELS, help="what it was found to have been")
    parser.add_argument("--by", metavar="WHO", default="", help="who says so, or what shows it; a rollback is no truth")
    parser.add_argument("--note", metavar="TEXT", default="")


def _span(text: str) -> Span:
    """`deploy,2026-01-01T12:00Z,2026-01-01T12:10Z`."""
    from canary_judge.history import Span
    from canary_judge.series import moment_from

    what, *times = [part.strip() for part in text.split(",")]
    if len(times) != 2 or what not in ("deploy", "incident"):
        raise ConfigError(f"--span: {text!r} is no deploy,START,END or incident,START,END")
    start, end = (moment_from(one, "--span") for one in times)
    if end <= start:
        raise ConfigError(f"--span: {text!r} ends before it begins")
    return Span(what=what, start=start, end=end)


def _archive(options: argparse.Namespace) -> int:
    from canary_judge.history import History, Label, of_log, record
    from canary_judge.history.archiving import refuse_several
    from canary_judge.series import format_duration
    from canary_judge.sources import FrameSource

    config, history = config_of(options), History.lasting(options.to)
    more: dict[str, Any] = {
        "ended_by": options.ended_by,
        "ended_why": options.why,
        "did": options.did,
        "deployment": options.deployment,
        "spans": tuple(_span(text) for text in options.span),
    }
    if options.label is None and (options.by or options.note):
        raise ConfigError("--by and --note go with --label; give it, too")
    if options.label is not None:
        more["label"] = Label(kind=options.label, by=options.by, note=options.note)
    if options.state is not None:
        if options.every is not None or options.horizon is not None:
            raise ConfigError("--every and --horizon go with --data; a log has those of its run")
        canary = of_log(config, Path(options.state), **more)
    else:
        source = FrameSource(Path(options.data))
        every = duration_of(options.every, "--every")
        horizon = duration_of(options.horizon, "--horizon")
        refuse_several(source, config.interval)
        window = source.window(config.interval)
        canary = record(config, source, window, every=every, horizon=horizon, **more)
        planned = window.end if horizon is None else canary.start + horizon
        if window.end - planned >= config.interval:
            text = f"{format_duration(window.end - planned)} of the table lie behind the planned end, and are left out"
            print(f"canary-judge: --horizon: {text}", file=sys.stderr)
        if horizon is not None and not canary.ran_out:
            early = f"ends {format_duration(planned - canary.end)} before the planned end"
            text = f"the canary {early if planned > canary.end else 'was ended'}, so that no judge passes it"
            print(f'canary-judge: --horizon: {text}; `--ended-by "the planned end"` says otherwise', file=sys.stderr)
    if options.state is None and options.horizon is None and options.ended_by != "the planned end":
        text = (
            "without --horizon its planned end is not known: in a backtest a judge that has not decided before its end "
            "is undecided, and no pass at that end is counted"
        )
        print(f"canary-judge: {text}", file=sys.stderr)
    known = history.holds(canary)
    print(history.append_same(canary))
    if known:
        print("canary-judge: it takes the place of what was archived of this canary before", file=sys.stderr)
    return 0


def add_history(parser: argparse.ArgumentParser) -> None:
    """`history list|label|compact|drop|query URL`."""
    parser.description = "Look into an archive of past canaries, and keep it. Needs the extra `history`."
    what = parser.add_subparsers(required=True, metavar="COMMAND", dest="history_command")
    listed = what.add_parser("list", help="its canaries, one in a line")
    listed.set_defaults(run=_list)
    label = what.add_parser("label", help="say what canaries were found to have been")
    label.add_argument("--id", metavar="ID", help="one canary; goes with --label")
    _add_label(label)
    label.add_argument("--csv", metavar="FILE", help="many: columns id, label, by and, if you like, note")
    label.set_defaults(run=_label)
    compact = what.add_parser("compact", help="put the canaries of a day into one object")
    compact.add_argument("--day", metavar="DATE", required=True, help="of their start, in UTC, as 2026-01-31")
    compact.set_defaults(run=_compact)
    drop = what.add_parser("drop", help="remove the canaries that ended before a day")
    drop.add_argument("--before", metavar="DATE", required=True)
    drop.set_defaults(run=_drop)
    query = what.add_parser("query", help="ask in SQL: canaries, looks, consumed")
    query.add_argument("sql", metavar="SQL")
    query.set_defaults(run=_query)
    for one in (listed, label, compact, drop, query):
        one.add_argument("--history", metavar="URL", required=True, help="the archive: a folder, or a URL")
    for one in (listed, label, drop, query):
        add_skip_corrupt(one)


def add_skip_corrupt(parser: argparse.ArgumentParser) -> None:
    """For who reads an archive."""
    parser.add_argument(
        "--skip-corrupt", action="store_true", help="leave out objects that cannot be read, and name them"
    )


def _list(options: argparse.Namespace) -> int:
    from canary_judge.untrusted import printable

    asked = "SELECT id, start, name, label, verdict, ended_by FROM canaries ORDER BY start, id"
    history = opened(options.history, skip_corrupt=options.skip_corrupt)
    for row in history.query(asked).astype(object).to_dict("records"):
        verdict = row["verdict"] if isinstance(row["verdict"], str) else "not judged"
        said = [f"{row['start']:%Y-%m-%d %H:%M} UTC", row["name"], row["label"], verdict, f"ended by {row['ended_by']}"]
        print(f"{row['id']}  {printable('  '.join(map(str, said)))}")
    tell_skipped(history)
    return 0


def _label(options: argparse.Namespace) -> int:
    from canary_judge.history import Label

    one = options.id is not None or options.label is not None
    if one == (options.csv is not None) or (one and (options.id is None or options.label is None)):
        raise ConfigError("give --id with --label for one canary, or --csv FILE for many")
    if options.csv is not None and (options.by or options.note):
        raise ConfigError("--by and --note go with --id; with --csv they are columns of the file")
    history = opened(options.history, skip_corrupt=options.skip_corrupt)
    if options.csv is not None:
        print(f"{history.label_all(Path(options.csv))} labelled")
    else:
        history.label_all([(options.id, Label(kind=options.label, by=options.by, note=options.note))])
    tell_skipped(history)
    return 0


def _compact(options: argparse.Namespace) -> int:

    print(f"{opened(options.history).compact(options.day)} objects fewer")
    return 0


def _drop(options: argparse.Namespace) -> int:
    try:
        future = datetime.fromisoformat(options.before).date() > datetime.now(UTC).date()
    except ValueError:
        future = False  # what is no date, the archive tells
    if future:
        raise ConfigError(f"--before {options.before}: is in the future, and would remove all; a typing error?")
    history = opened(options.history, skip_corrupt=options.skip_corrupt)
    print(f"{history.drop(before=options.before)} canaries removed")
    tell_skipped(history)
    return 0


def _query(options: argparse.Namespace) -> int:

    from canary_judge.untrusted import printable

    history = opened(options.history, skip_corrupt=options.skip_corrupt)
    answer = history.query(options.sql).to_csv(index=False)
    print(printable(answer), end="")
    tell_skipped(history)
    return 0


def opened(url: str, *, skip_corrupt: bool = False) -> History:
    """An archive that holds something."""
    from canary_judge.history import History

    history = History(url, skip_corrupt=skip_corrupt)
    if not len(history):
        tell_skipped(history)
        raise DataError(f"{url}: there is no archive, or no canary in it")
    return history


def tell_skipped(history: History) -> None:
    """What could not be read, on the standard error."""
    from canary_judge.untrusted import printable

    for text in history.skipped:
        print(f"canary-judge: left out: {printable(text)}", file=sys.stderr)


# --- backtest --------------------------------------------------------------------------------------------------------


def add_backtest(parser: argparse.ArgumentParser) -> None:
    """`backtest CONFIG --history URL`."""
    parser.description = "What a config would have said of past canaries, look by look. Needs the extra `history`."
    parser.epilog = (
        "Exit codes: 0 done; with --against 2 where the first is shown to be worse, 4 where they differ on too few "
        "canaries to tell; 1 error."
    )
    parser.add_argument("config", metavar="CONFIG", help="the config to try")
    parser.add_argument("--history", metavar="URL", required=True, help="the archive: a folder, or a URL")
    parser.add_argument("--against", metavar="CONFIG", help="another config, on the same canaries")
    parser.add_argument("--kayenta", action="store_true", help="Kayenta's judge beside it")
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="METRIC<=VALUE",
        help="a fixed limit beside it, as Argo Rollouts and Flagger check one; several make one rule",
    )
    parser.add_argument(
        "--failures",
        type=int,
        default=0,
        metavar="N",
        help="failed checks that the limits bear, as Argo's failureLimit; Flagger's threshold less one (default: 0)",
    )
    parser.add_argument(
        "--looks", choices=("recorded", "one"), default="recorded", help="as the run, or one at the end"
    )
    parser.add_argument("--every", metavar="DURATION", help="time between looks, and between checks of a limit")
    parser.add_argument("--since", metavar="TIME", help="only canaries that began then or later")
    parser.add_argument("--until", metavar="TIME", help="only canaries that began before")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--resume", metavar="FILE", help="keep what is done here, and go on from it")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    add_skip_corrupt(parser)
    add_sides(parser)
    parser.set_defaults(run=_backtest)


def _backtest(options: argparse.Namespace) -> int:
    from canary_judge.history import backtest

    history = opened(options.history, skip_corrupt=options.skip_corrupt)
    found = backtest(
        list(_judges(options)),
        history,
        _executor(options.workers),
        since=None if options.since is None else _utc(time_of(options.since, "--since")),
        until=None if options.until is None else _utc(time_of(options.until, "--until")),
        resume=options.resume,
        progress=_progress if sys.stderr.isatty() else None,
    )
    print(found.to_json(indent=2) if options.format == "json" else found.explain())
    tell_skipped(history)
    if not found.cases:
        raise DataError(f"no canary could be judged, the first because {found.skipped[0].reason}")
    return exit_codes.PASS if options.against is None else _worse(found)


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _executor(workers: int) -> Executor | None:
    if workers < 1:
        raise ConfigError(f"--workers is {workers}; give 1 or more")
    if workers == 1:
        return None
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def _judges(options: argparse.Namespace) -> Iterator[PastJudge]:
    from canary_judge.config.model import JudgeConfig
    from canary_judge.history import KayentaJudge, LimitRule, OurJudge

    every = duration_of(options.every, "--every")
    if options.looks == "one" and every is not None and not options.limit and not options.kayenta:
        raise ConfigError("--every goes with more than one look; leave --looks one out")
    looks: Looks = "one" if options.looks == "one" else every or "recorded"
    yield OurJudge(config=config_of(options), name=Path(options.config).name, looks=looks)
    if options.against is not None:
        if Path(options.against).resolve() == Path(options.config).resolve():
            raise ConfigError(f"--against {options.against}: is the same file; name another one")
        name = Path(options.against).name
        name = name if name != Path(options.config).name else options.against
        yield OurJudge(config=JudgeConfig.load(options.against), name=name, looks=looks)
    if options.kayenta:
        yield KayentaJudge(every=every)
    if options.limit:
        limits = tuple(_limit(text) for text in options.limit)
        often = "each interval" if every is None else f"every {options.every}"
        name = f"{', '.join(options.limit)} checked {often}, {options.failures} failures"
        yield LimitRule(limits=limits, failures=options.failures, every=every, name=name)
    elif options.failures:
        raise ConfigError("--failures goes with --limit")


def _limit(text: str) -> Any:
    from canary_judge.history import Limit

    for sign, side in (("<=", "most"), (">=", "least")):
        metric, found, value = text.rpartition(sign)
        if found and metric:
            try:
                share = value.strip().endswith("%")
                bound = float(value.strip().removesuffix("%")) / (100 if share else 1)
                return Limit(metric.strip(), **{side: bound})
            except ValueError:
                break
    raise ConfigError(f"--limit {text!r}: write it as METRIC<=NUMBER or METRIC>=NUMBER, as in 'errors<=1%'")


def _progress(done: int, total: int) -> None:
    end = "\r\x1b[K" if done == total else ""
    print(f"\r{done}/{total} canaries{end}", end="", file=sys.stderr, flush=True)


def _worse(found: Backtest) -> int:
    """2 where the first config is shown to be worse than the second, 4 where they differ on too few to tell."""
    from canary_judge.history.told import compared, is_worse

    if is_worse(found):
        return exit_codes.FAIL
    pairs = [compared(found, 0, 1, label) for label in ("healthy", "bad")]
    if all(pair.p is None for pair in pairs):
        if not any(pair.total for pair in pairs):
            raise DataError("no canary has a label, so nothing is worse or better: `canary-judge history label`")
        return exit_codes.INSUFFICIENT
    return exit_codes.PASS
