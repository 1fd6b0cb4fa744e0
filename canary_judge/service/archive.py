"""Runs that have ended, put into an archive of past canaries."""

from __future__ import annotations

import json
import logging

from canary_judge.checked_lines import Line, parse_line
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import CanaryJudgeError, DataError
from canary_judge.history import History
from canary_judge.history.archiving import of_lines
from canary_judge.history.canary import PastCanary
from canary_judge.results import Judgement, Verdict
from canary_judge.service.shown import one_line
from canary_judge.service.store import Run, Store

__all__ = ["Archive", "past_canary"]

_LOG = logging.getLogger(__name__)


class Archive:
    """A hook of `Runs.on_ended`: what goes wrong is logged, and answers no caller otherwise.

    Args:
        store: Of the service.
        url: Of the archive.

    Raises:
        DataError: The archive cannot be opened.
    """

    def __init__(self, store: Store, url: str) -> None:
        self._store = store
        self._history = History.lasting(url)

    def __call__(self, run: Run) -> None:
        """Archive a run."""
        try:
            self._history.append_same(past_canary(run, self._store.log(run.id)))
        except Exception as error:  # noqa: BLE001  (answers go on, whatever an archive says)
            said = error if isinstance(error, CanaryJudgeError) else f"{type(error).__name__}: {error}"
            _LOG.error("run %s is not archived: %s", run.id, one_line(said))
        else:
            _LOG.info("run %s is archived", run.id)


def past_canary(run: Run, log: list[bytes]) -> PastCanary:
    """A run as a past canary.

    Args:
        run: It.
        log: The lines of its log.

    Raises:
        DataError: A line is damaged, or there was no look.
    """
    lines: list[Line] = []
    crc = 0
    for number, line in enumerate(log, 1):
        record, crc = parse_line(line, crc)
        if record is None:
            raise DataError(f"line {number} of the log of run {run.id} is damaged")
        lines.append(record)
    config = JudgeConfig.from_mapping(json.loads(run.config)).with_sides(baseline=run.baseline, canary=run.canary)
    judgement = None if run.judgement is None else Judgement.from_json(run.judgement)
    ended = judgement is not None and judgement.look is not None and judgement.look.ended
    failed = judgement is not None and judgement.verdict is Verdict.FAIL
    return of_lines(
        config,
        lines,
        judgement=run.judgement,
        did=run.state,
        ended_by="the planned end" if ended else "this judge" if failed else "unknown",
        ended_why="" if judgement is None or not judgement.reasons else judgement.reasons[0],
    )
