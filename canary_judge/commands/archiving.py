"""What `watch` and `rollout` leave in an archive of past canaries; a failing archive changes no verdict."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from canary_judge.errors import CanaryJudgeError
from canary_judge.untrusted import printable

if TYPE_CHECKING:
    from canary_judge.config.model import JudgeConfig
    from canary_judge.results import Judgement

__all__ = ["archive_log", "kept_for_the_archive"]


@contextmanager
def kept_for_the_archive(
    options: argparse.Namespace, config: JudgeConfig
) -> Iterator[tuple[Path | None, Callable[[Judgement], None]]]:
    """Where a watch keeps its evidence, and what it calls with its last judgement.

    Raises:
        CanaryJudgeError: The archive cannot be opened: told before anything is watched.
    """
    path = None if options.state is None else Path(options.state)
    if options.archive is None:
        yield path, lambda _: None
        return
    from canary_judge.history import History

    History.lasting(options.archive)
    with tempfile.TemporaryDirectory(prefix="canary-judge-") as folder:
        kept = path or Path(folder) / "looks"

        def finished(judgement: Judgement) -> None:
            ended = judgement.look is not None and judgement.look.ended
            decided = judgement.verdict in ("pass", "fail")
            by = "the planned end" if ended else "this judge" if decided else "unknown"
            why = judgement.reasons[0] if judgement.reasons else ""
            archive_log(options.archive, config, kept, judgement, ended_by=by, ended_why=why)

        yield kept, finished


def archive_log(url: str, config: JudgeConfig, log: Path, judgement: Judgement | None, **more: Any) -> None:
    """Archive the canary of a log; what goes wrong is told, and changes nothing else."""
    from canary_judge.history import History, of_log

    text = None if judgement is None else judgement.to_json()
    try:
        History(url).append_same(of_log(config, log, judgement=text, **more))
    except Exception as error:  # noqa: BLE001  (the verdict stands, whatever an archive says)
        said = str(error) if isinstance(error, CanaryJudgeError) else f"{type(error).__name__}: {error}"
        print(f"canary-judge: the canary is not archived: {printable(said)}", file=sys.stderr)
