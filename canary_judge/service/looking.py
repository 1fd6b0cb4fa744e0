"""One look at a run, and what is asked once: this is done in the worker processes.

A look reads the log where another process has written it since, asks the sources, and keeps what it added in one
transaction with what it led to. Only what is kept is told.
"""

from __future__ import annotations

import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np

from canary_judge import kayenta, sources
from canary_judge.checked_lines import parse_line, written_line
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import CanaryJudgeError, ConfigError, DataError, QueryError, SourceError, SourceUnavailable
from canary_judge.judging import judge, judge_samples
from canary_judge.judging.fetching import read
from canary_judge.judging.silence import lost_side
from canary_judge.kayenta.pairs import PairSource, converted, pair_labels
from canary_judge.looks import Monitor
from canary_judge.looks.log import Folded, Increments
from canary_judge.looks.state import MonitorState
from canary_judge.readiness import preflight
from canary_judge.results import Action, Judgement, Side, Verdict
from canary_judge.rollout.policy import only_old
from canary_judge.samples import AnyData, CountData, GaugeData, RawData, UserData
from canary_judge.samples.levels import levels
from canary_judge.series import MetricSource, Window, parse_duration
from canary_judge.service.answers import is_past
from canary_judge.service.problems import StoreDown
from canary_judge.service.shown import one_line
from canary_judge.service.store import ERRORED, FAILED, PASSED, RUNNING, UNDECIDED, Run, Store

__all__ = ["THREADS", "Desk", "FindSources", "Order", "Told", "What", "in_short", "told_verdict"]

# From a config and the options of its sources to the sources.
FindSources = Callable[[JudgeConfig, Mapping[str, dict[str, Any]]], Mapping[str, MetricSource]]
_HELD = 1000
# Looks that one process has in hand at once; most of them wait for a source.
THREADS = 64
# What is no look at a run may take a quarter of them.
_OTHERS = 4
_LONGEST_REASON = 300
# The score of a pass that is held back.
_UNDECIDED = 50.0


class What(StrEnum):
    """How a look ended."""

    KEPT = "kept"
    LOST = "lost"  # another process was faster, or the run was cancelled
    UNAVAILABLE = "unavailable"  # a source or the database gave no answer
    BROKEN = "broken"  # it can never work


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A question to a worker, all of plain values.

    Attributes:
        config: As JSON, without sources.
        sources: Options of each source.
        baseline, canary: Labels of the sides.
        run: Which run is looked at; None where there is none.
        until: The moment of the look, or the end of a window.
        start: The start of a window.
        horizon: Planned length.
        weight: Percent of the traffic that the canary gets, where it is known.
        once: A window is judged at one planned look.
        body: What was sent, where that is judged.
        expires: When nobody waits any more, seconds since the epoch; None: it is done however late.
    """

    config: str
    sources: Mapping[str, dict[str, Any]]
    baseline: Mapping[str, str]
    canary: Mapping[str, str]
    until: datetime
    run: str | None = None
    start: datetime | None = None
    horizon: timedelta | None = None
    weight: float | None = None
    once: bool = False
    body: str = ""
    expires: float | None = None

    def judged(self) -> JudgeConfig:
        """The config with its sides."""
        config = JudgeConfig.from_mapping(json.loads(self.config), name="config")
        return config.with_sides(baseline=self.baseline, canary=self.canary)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a worker answers.

    Attributes:
        what: How it ended.
        text: Why, where it did not end well; the answer as JSON where no run was looked at.
        seconds: What it took.
        late: A watched run was looked at more than an interval after it could have been.
    """

    what: What
    text: str = ""
    seconds: float = 0.0
    late: bool = False


def _delay(options: Mapping[str, Any]) -> float:
    """Seconds by which a source says that its rows come late."""
    try:
        return parse_duration(str(options["delay"])).total_seconds()
    except (KeyError, ValueError):
        return 0.0


def _silent(judgement: Judgement) -> int:
    """The last intervals in which no metric had anything on either side: it is not the canary that is silent then."""
    found = [one.quality for one in judgement.metrics if one.quality is not None]
    return min((min(one.silent_baseline, one.silent_canary) for one in found), default=0)


def _lag(run: Run, config: JudgeConfig, state: MonitorState, until: datetime, *, came: bool) -> float:
    """Seconds by which the newest data were late when they came; an interval that was given up has not come."""
    if run.summary is not None and (run.summary["intervals"] == state.consumed or not came):
        return float(run.summary["lag"])
    return (until - state.watermark(config.interval)).total_seconds() if state.consumed else 0.0


def told_verdict(judgement: Judgement, state: MonitorState | None = None) -> tuple[Verdict, str]:
    """What a controller is told, and why a pass is held back from it.

    It raises the weight on a pass, and a rise also needs the newest data by themselves, and data at the weight that is
    in force.
    """
    if judgement.verdict is not Verdict.PASS:
        return judgement.verdict, ""
    if state is not None and state.acts and state.acts[-1] >= state.consumed - state.left_out:
        return Verdict.MARGINAL, "safe over the whole run, but nothing has been judged at this weight yet"
    old = only_old(judgement)
    return (Verdict.MARGINAL, f"safe over the whole run, but {old}") if old else (Verdict.PASS, "")


def in_short(judgement: Judgement, state: MonitorState | None = None) -> dict[str, Any]:
    """The fields of a summary that come from the judgement."""
    verdict, held = told_verdict(judgement, state)
    reason = held or "; ".join(judgement.reasons) or str(judgement)
    if state is not None and not state.consumed:
        reason = f"no interval has ended yet; the first one ends at {judgement.end:%H:%M:%S} UTC"
    reason = one_line(reason)
    if len(reason) > _LONGEST_REASON:
        reason = f"{reason[: _LONGEST_REASON - 4].rsplit(' ', 1)[0]} ..."
    return {
        "verdict": verdict.value,
        "action": Action.HOLD.value if held else judgement.action.value,
        "score": _UNDECIDED if held else judgement.score,
        "sufficient": judgement.sufficient,
        "reason": reason,
    }


@dataclass(slots=True)
class _Held:
    """What a worker knows of a run: its log is whole up to `sequence`."""

    config: JudgeConfig
    kept: Increments
    sequence: int = 0
    crc: int = 0
    state: MonitorState | None = None


@dataclass
class Desk:
    """Where looks are made; one in each worker process, used by its threads.

    Attributes:
        store: Where runs are kept.
        find_sources: From the options to the sources; tests put in their own.
    """

    store: Store
    find_sources: FindSources | None = None
    _held: OrderedDict[str, _Held] = field(default_factory=OrderedDict)
    _sources: dict[str, MetricSource] = field(default_factory=dict)
    _slots: dict[str, threading.BoundedSemaphore] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # --- a run ------------------------------------------------------------------------------------------------------

    def look(self, order: Order) -> Told:
        """Look at a run, and keep what that gave."""
        assert order.run is not None  # noqa: S101
        try:
            run = self.store.get(order.run)
            if run is None:
                return Told(what=What.LOST, text="the run is gone")
            return self._look(run, order)
        except (QueryError, ConfigError) as error:
            return self._broken(order, error)
        except (SourceError, StoreDown) as error:
            return Told(what=What.UNAVAILABLE, text=one_line(error))
        except DataError as error:
            return self._broken(order, error)

    def _look(self, run: Run, order: Order) -> Told:
        held = self._of(run, order)
        monitor = (
            Monitor(held.config, start=run.begun, horizon=run.length)
            if held.state is None
            else Monitor(held.config, state=held.state)
        )
        found = self._sources_of(held.config, order.sources)
        try:
            with self._turn(order.sources):
                judgement = monitor.look(found, order.until, weight=order.weight)
            return self._keep(run, held, monitor, judgement, order)
        except BaseException:
            self._forget(run.id)  # what it holds may be more than what is kept
            raise

    @contextmanager
    def _turn(self, options: Mapping[str, dict[str, Any]], share: int = 2) -> Iterator[None]:
        """Let only so many looks wait for one source, so that a slow one does not keep the others from theirs."""
        with ExitStack() as stack:
            for key in sorted(f"{share} {_key_of(name, given)}" for name, given in options.items()):
                with self._lock:
                    slots = self._slots.setdefault(key, threading.BoundedSemaphore(THREADS // share))
                if not slots.acquire(blocking=False):
                    raise SourceUnavailable(f"{THREADS // share} looks wait for this source already; it is slow")
                stack.callback(slots.release)
            yield

    def _keep(self, run: Run, held: _Held, monitor: Monitor, judgement: Judgement, order: Order) -> Told:
        state = monitor.evidence
        assert state is not None and judgement.look is not None  # noqa: S101, PT018
        new = held.state is None or state.consumed != held.state.consumed or state.weight != held.state.weight
        if not new and run.judgement is not None:  # nothing to take in: what was said stands, to the letter
            kept = self.store.change(run, looked=order.until.timestamp(), error="")
            return Told(what=What.KEPT if kept else What.LOST)
        lines, crc = self._lines(held, monitor.steps) if new else ([], held.crc)
        lost = lost_side(judgement)
        summary = in_short(judgement, state) | {
            "watermark": state.watermark(held.config.interval).timestamp(),
            "intervals": state.consumed,
            "lag": _lag(run, held.config, state, order.until, came=lost is None),
            "delay": max([0.0, *(_delay(options) for options in order.sources.values())]),
            "silent": _silent(judgement),
            "lost": None if lost is None else {"side": str(lost[0]), "intervals": lost[1]},
        }
        values = {
            "verdict": summary["verdict"],
            "summary": summary,
            "judgement": judgement.to_json(),
            "looked": order.until.timestamp(),
            "asked": order.until.timestamp(),
            "weight": state.weight,
            "seen": run.seen or _canary_seen(state),
            "ended": judgement.look.ended or judgement.verdict is Verdict.FAIL,
            "state": _next(run, summary, order.until.timestamp(), ended=judgement.look.ended),
            "error": "",
        }
        moment, reason = judgement.end.timestamp(), summary["reason"]
        if not self.store.keep(run, lines, moment=moment, reason=reason, **values):
            self._forget(run.id)
            return Told(what=What.LOST, text="another process was faster")
        if new:
            held.kept.took(state)
            held.kept.begun, held.sequence, held.crc, held.state = True, held.sequence + len(lines), crc, state
        return Told(what=What.KEPT)

    @staticmethod
    def _lines(held: _Held, steps: Sequence[MonitorState]) -> tuple[list[bytes], int]:
        lines, crc = [], held.crc
        for number, record in enumerate(held.kept.records(*steps), held.sequence + 1):
            line, crc = written_line({"n": number, **record}, crc)
            lines.append(line)
        return lines, crc

    def _of(self, run: Run, order: Order) -> _Held:
        with self._lock:
            held = self._held.get(run.id)
            if held is not None and held.sequence == run.sequence:
                self._held.move_to_end(run.id)
                return held
        held = self._read(run, order)
        with self._lock:
            self._held[run.id] = held
            while len(self._held) > _HELD:
                self._held.popitem(last=False)
        return held

    def _read(self, run: Run, order: Order) -> _Held:
        """From the log what is known of a run."""
        config = order.judged()
        folded, crc = Folded(config), 0
        lines = self.store.log(run.id) if run.sequence else []
        for number, line in enumerate(lines[: run.sequence], 1):
            record, crc = parse_line(line, crc)
            if record is None or record.get("n") != number:
                raise DataError(f"line {number} of the log of run {run.id} is damaged; begin another run")
            folded.take(record)
        if len(lines) < run.sequence:
            raise DataError(f"the log of run {run.id} has {len(lines)} of {run.sequence} lines; begin another run")
        held = _Held(config, Increments(config, begun=folded.head is not None), run.sequence, crc, folded.state())
        held.kept.took(held.state)
        return held

    def _forget(self, run: str) -> None:
        with self._lock:
            self._held.pop(run, None)

    def _broken(self, order: Order, error: CanaryJudgeError) -> Told:
        """It can never work: the run says so, unless it has worked before."""
        text = one_line(error)
        try:
            run = self.store.get(order.run or "")
            worked = run is not None and run.summary is not None and run.summary["intervals"] > 0
            if run is not None and run.state == RUNNING and not worked:
                self.store.change(run, state=ERRORED, error=text, looked=order.until.timestamp())
                return Told(what=What.BROKEN, text=text)
        except StoreDown as down:
            return Told(what=What.UNAVAILABLE, text=one_line(down))
        return Told(what=What.UNAVAILABLE, text=text)

    # --- without a run ----------------------------------------------------------------------------------------------

    def judge(self, order: Order) -> Told:
        """Judge a finished window at one planned look."""
        config, window = order.judged(), Window(order.start or order.until, order.until)
        with self._turn(order.sources, _OTHERS):
            judgement = judge(config, self._sources_of(config, order.sources), window)
        return Told(what=What.KEPT, text=judgement.to_json())

    def window(self, order: Order) -> Told:
        """Judge a window, at one planned look or as one of many from the same start; with what was compared."""
        config, window = order.judged(), Window(order.start or order.until, order.until)
        found = self._sources_of(config, order.sources)
        with self._turn(order.sources, _OTHERS):
            shown = _of_window(config, found, window, order)
        return Told(what=What.KEPT, text=json.dumps(shown))

    def pairs(self, order: Order) -> Told:
        """The same for the data of a remote judge's request."""
        request = kayenta.Request.from_mapping(data := json.loads(order.body))
        labels = pair_labels(request.pairs)
        more = {"name": "canary"} if not request.config.name else {}
        config, conversion = converted(data, request, labels, more)
        source = PairSource(request.pairs, labels, config.interval)
        shown = _of_window(config, source, source.window, order)
        return Told(what=What.KEPT, text=json.dumps({**shown, "labels": labels, "notes": conversion.notes}))

    def preflight(self, order: Order) -> Told:
        """Whether the queries can work at all."""
        config = order.judged()
        found = self._sources_of(config, order.sources)
        with self._turn(order.sources, _OTHERS):
            seen = preflight(config, found, until=order.until, horizon=order.horizon, weight=order.weight)
        return Told(what=What.KEPT, text=seen.to_json())

    def values(self, order: Order) -> Told:
        """The values of each query in order, as Kayenta's JSON: metric -> side -> values; for Kayenta's judge."""
        config, window = order.judged(), Window(order.start or order.until, order.until)
        queries = list(config.queries(start=window.start))
        shown: dict[str, dict[str, list[float | str]]] = {}
        found = self._sources_of(config, order.sources)
        for query in queries:
            with self._turn(order.sources, _OTHERS):
                (result,) = found["default"].fetch([query], window)
            if result.error is not None or not result.complete:
                kind = SourceUnavailable if result.temporary or result.error is None else QueryError
                raise kind(f"{query.metric}: {result.error or 'the source left something out'}")
            values = np.concatenate([one.values for one in result.series]) if result.series else np.empty(0)
            shown.setdefault(query.metric, {})[query.side.value] = [kayenta.as_json(one) for one in values.tolist()]
        return Told(what=What.KEPT, text=json.dumps(shown))

    def _sources_of(self, config: JudgeConfig, options: Mapping[str, dict[str, Any]]) -> Mapping[str, MetricSource]:
        if self.find_sources is not None:
            return self.find_sources(config, options)
        found = {}
        for name, given in options.items():
            key = _key_of(name, given)
            with self._lock:
                source = self._sources.get(key)
            if given.get("type") == "frame":  # a file that grows is read anew
                source = sources.from_config(given, name=name)
            elif source is None:
                source = sources.from_config(given, name=name)
                with self._lock:
                    source = self._sources.setdefault(key, source)
            found[name] = source
        sources.refuse_without_users(config, found)
        return found


def _key_of(name: str, options: Mapping[str, Any]) -> str:
    """By which a source is known again."""
    return f"{name} {json.dumps(options, sort_keys=True, default=str)}"


def _of_window(
    config: JudgeConfig, source: MetricSource | Mapping[str, MetricSource], window: Window, order: Order
) -> dict[str, Any]:
    """A judgement, and what was compared, interval by interval."""
    data: dict[str, Any]
    if order.once:
        samples = read(config, source, window)
        judgement = judge_samples(config, samples)
        data = {name: one.data for name, one in samples.metrics.items()}
    else:
        monitor = Monitor(config, start=window.start, horizon=order.horizon)
        judgement = monitor.look(source, window.end)
        assert monitor.evidence is not None  # noqa: S101
        data = {name: stream.data for name, stream in monitor.evidence.streams.items()}
    return {
        "judgement": json.loads(judgement.to_json()),
        "values": {name: _per_interval(one) for name, one in data.items() if one is not None},
    }


def _per_interval(data: AnyData) -> dict[str, list[float | None]]:
    """A level for each interval of both sides; none where there is nothing to tell, or users are counted."""
    return {
        str(side): [value if math.isfinite(value) else None for value in levels(data, side).tolist()] for side in Side
    }


def _next(run: Run, summary: Mapping[str, Any], now: float, *, ended: bool) -> str:
    """A run leaves `running` once; a planned end that was looked at much later passes nothing."""
    verdict = Verdict(summary["verdict"])
    if run.state != RUNNING:
        return run.state
    if verdict is Verdict.FAIL:
        return FAILED
    late = ended and is_past(now - summary["watermark"], interval=run.interval, delay=summary["delay"])
    if verdict is Verdict.MARGINAL or late:
        return UNDECIDED if ended else RUNNING
    return PASSED


def _canary_seen(state: MonitorState) -> bool:
    """Whether the canary had any requests (or values, where nothing counts requests)."""
    data = [stream.data for stream in state.streams.values() if stream.data is not None]
    counted = [one for one in data if isinstance(one, CountData | UserData)]
    for one in counted or data:
        if isinstance(one, CountData) and bool(np.any(one.counts.exposure_canary > 0)):
            return True
        if isinstance(one, UserData) and one.canary.whole.users > 0:
            return True
        if isinstance(one, GaugeData | RawData) and bool(np.any(np.isfinite(one.canary))):
            return True
    return False
