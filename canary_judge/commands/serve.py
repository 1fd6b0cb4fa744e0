"""`canary-judge serve` and `runs`: the service for other controllers, and what it follows."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import socket
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from canary_judge.commands import exit_codes
from canary_judge.commands.options import colored, duration_of, width_out
from canary_judge.errors import ConfigError
from canary_judge.untrusted import printable

if TYPE_CHECKING:
    from canary_judge.service.store import Run, Store

__all__ = ["add_runs", "add_serve"]

_DATABASE = "sqlite:///canary-judge.db"
_LOCAL = ("127.0.0.1", "::1", "localhost")


def add_serve(parser: argparse.ArgumentParser) -> None:
    """`serve`."""
    parser.description = "Answer Argo Rollouts, Flagger, Spinnaker and scripts over HTTP."
    parser.epilog = "Ends with 0 on SIGTERM, when the looks in flight are finished; 1 where it cannot start."
    parser.add_argument("--config-dir", required=True, metavar="DIR", help="the configs that callers may name")
    parser.add_argument("--database", default=_DATABASE, metavar="URL", help=f"SQLite or PostgreSQL ({_DATABASE})")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen; elsewhere than 127.0.0.1 it takes tokens")
    parser.add_argument("--port", type=int, default=8080, metavar="N", help="where to listen (8080)")
    parser.add_argument("--token-file", metavar="FILE", help="who may call: TOKEN [look|read|all] [NAME], each")
    parser.add_argument("--public-url", metavar="URL", help="where people find it, for links (where it listens)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that look (one for each processor)")
    parser.add_argument(
        "--proxy", action="append", default=[], metavar="IP", help="a proxy whose X-Forwarded-* is believed"
    )
    parser.add_argument(
        "--retention", default="30d", metavar="DURATION", help="when runs are forgotten that nobody asks of (30d)"
    )
    parser.add_argument(
        "--archive", metavar="URL", help="put runs that have ended into this archive: a folder, or s3://bucket/x"
    )
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    parser.set_defaults(run=_serve)


def add_runs(parser: argparse.ArgumentParser) -> None:
    """`runs list|show|cancel`."""
    parser.description = "What a service follows, read from its database."
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="what")
    listed = commands.add_parser("list", help="the newest runs")
    listed.add_argument("--state", choices=["running", "passed", "failed", "undecided", "cancelled", "errored"])
    listed.add_argument("--limit", type=int, default=50, metavar="N")
    listed.set_defaults(run=_list)
    shown = commands.add_parser("show", help="the present judgement of a run")
    shown.add_argument("--color", choices=["auto", "always", "never"], default="auto")
    shown.set_defaults(run=_show)
    cancelled = commands.add_parser("cancel", help="end a run that is running")
    cancelled.set_defaults(run=_cancel)
    for command in (shown, cancelled):
        command.add_argument("id", metavar="RUN", help="its id or its key")
    for command in (listed, shown):
        command.add_argument("--format", choices=["text", "json"], default="text")
    for command in (listed, shown, cancelled):
        command.add_argument("--database", default=_DATABASE, metavar="URL", help=f"that of the service ({_DATABASE})")


def _serve(options: argparse.Namespace) -> int:
    try:
        import uvicorn

        from canary_judge.service.app import make_app
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed; pip install 'canary-judge[service]'") from error
    from canary_judge.service import Runs
    from canary_judge.service.access import read_tokens
    from canary_judge.service.telemetry import log_as_json

    tokens = [] if options.token_file is None else read_tokens(Path(options.token_file))
    _refuse(options, tokens=bool(tokens))
    retention = duration_of(options.retention, "--retention")
    assert retention is not None  # noqa: S101
    log_as_json(options.log_level)
    runs = Runs(
        options.config_dir,
        options.database,
        workers=(os.cpu_count() or 1) if options.workers is None else options.workers,
        url=_url_of(options),
    )
    if options.archive is not None:
        from canary_judge.service.archive import Archive

        runs.on_ended.append(Archive(runs.store, options.archive))
    app = make_app(runs, tokens=tokens, retention=retention.total_seconds())
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=options.host,
            port=options.port,
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=bool(options.proxy),
            forwarded_allow_ips=options.proxy or None,
            timeout_graceful_shutdown=30,
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again when it has finished
        signal.signal(number, lambda *_: None)
    try:
        server.run()
    except SystemExit:  # it has said why it cannot listen
        return exit_codes.ERROR
    code = exit_codes.PASS if server.started else exit_codes.ERROR
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        logging.shutdown()
        os._exit(code)  # a thread hangs at a source or a database, and would be waited for without end
    return code


def _refuse(options: argparse.Namespace, *, tokens: bool) -> None:
    """What could not be served, before anything is opened."""
    if not tokens and options.host not in _LOCAL:
        raise ConfigError(
            f"--host {options.host}: without a --token-file anybody could roll canaries back; give one, or listen on "
            "127.0.0.1"
        )
    if options.workers is not None and not 0 <= options.workers <= 256:
        raise ConfigError(f"--workers is {options.workers}; give 0 to 256")
    if not 0 <= options.port <= 65535:
        raise ConfigError(f"--port is {options.port}; give 0 to 65535")
    if options.public_url and not options.public_url.startswith(("http://", "https://")):
        raise ConfigError(f"--public-url is {options.public_url!r}; write it as https://judge.example.org")


def _url_of(options: argparse.Namespace) -> str:
    """Where people find it."""
    if options.public_url:
        return str(options.public_url)
    host = f"[{options.host}]" if ":" in options.host else options.host
    if options.host in ("0.0.0.0", "::"):  # noqa: S104
        host = socket.gethostname()
        logging.getLogger(__name__).warning("links name the host %s, unless --public-url is given", host)
    return f"http://{host}:{options.port}"


def _store(options: argparse.Namespace) -> Store:
    try:
        from canary_judge.service.store import Store
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed; pip install 'canary-judge[service]'") from error
    from canary_judge.service.database import address_of

    address = address_of(options.database)
    path = Path(address.removeprefix("sqlite:///"))
    if address.startswith("sqlite:///") and not path.exists():
        raise ConfigError(f"--database: there is no file {path}; name that of the service")
    return Store(address)


def _list(options: argparse.Namespace) -> int:
    with closing(_store(options)) as store:
        runs = store.listed(state=options.state, limit=max(options.limit, 1))
    if options.format == "json":
        print(json.dumps([_plain(run) for run in runs], indent=2))
        return exit_codes.PASS
    head = ["run", "config", "state", "verdict", "began", "key"]
    rows = [[run.id, run.config_name, run.state, run.verdict or "-", run.start[:19], run.key] for run in runs]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        cells = (printable(cell).ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    return exit_codes.PASS


def _found(store: Store, name: str) -> Run:
    run = store.get(name) or store.newest(name)
    if run is None:
        raise ConfigError(f"there is no run {printable(name)!r}; see `canary-judge runs list`")
    return run


def _plain(run: Run) -> dict[str, object]:
    names = ("id", "key", "attempt", "config_name", "config_hash", "baseline", "canary", "start", "state", "verdict")
    return {name: getattr(run, name) for name in (*names, "weight", "watched", "error")}


def _show(options: argparse.Namespace) -> int:
    from canary_judge.results import Judgement

    with closing(_store(options)) as store:
        run = _found(store, options.id)
    if options.format == "json":
        print(json.dumps({**_plain(run), "judgement": json.loads(run.judgement or "null")}, indent=2))
        return exit_codes.PASS
    print(f"run {run.id}, key {printable(run.key)}, attempt {run.attempt}: {run.state}")
    if run.error:
        print(printable(run.error))
    if run.judgement is None:
        print("no look yet")
        return exit_codes.PASS
    print(Judgement.from_json(run.judgement).explain(color=colored(options), width=width_out()))
    return exit_codes.PASS


def _cancel(options: argparse.Namespace) -> int:
    from canary_judge.service.store import CANCELLED, RUNNING

    with closing(_store(options)) as store:
        run = _found(store, options.id)
        while run.state == RUNNING and not store.change(run, state=CANCELLED, error="it was cancelled"):
            run = _found(store, run.id)  # a look was kept meanwhile
        state = _found(store, run.id).state
    print(state if state == CANCELLED else f"{state}: it has ended already, so there is nothing to cancel")
    return exit_codes.PASS
