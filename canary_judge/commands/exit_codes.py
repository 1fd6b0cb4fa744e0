"""The exit codes that scripts rely on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from canary_judge.results import Judgement

__all__ = ["ERROR", "FAIL", "INSUFFICIENT", "LEFTOVERS", "MARGINAL", "PASS", "STOPPED", "SUPERSEDED", "broken", "tell"]

PASS, ERROR, FAIL, MARGINAL, INSUFFICIENT = 0, 1, 2, 3, 4
# A rollout that neither ended at 100 % nor at 0; a rollback that left something leading to the canary.
STOPPED = LEFTOVERS = MARGINAL
# Another revision is rolled out than the one that was judged.
SUPERSEDED = 5


def broken(judgement: Judgement) -> list[str]:
    """Queries that cannot work, and why; none where the canary has failed without them."""
    from canary_judge.results import Outcome, Role, Verdict  # `--help` needs none of it

    if judgement.verdict is Verdict.FAIL:
        return []
    metrics = [one for one in judgement.metrics if one.outcome is Outcome.ERROR and one.role is not Role.WATCH]
    return [f"{one.name}: {one.reason}" for one in metrics]


def tell(judgement: Judgement) -> int:
    """0 pass, 2 fail, 3 marginal, 4 marginal for want of evidence; 1 where a query cannot work.

    The queries that cannot work are named on standard error.
    """
    from canary_judge.results import Verdict  # `--help` needs none of it

    if found := broken(judgement):
        for text in found:
            print(f"canary-judge: error: {text}", file=sys.stderr)
        return ERROR
    if judgement.verdict is Verdict.MARGINAL and not judgement.sufficient:
        return INSUFFICIENT
    return {Verdict.PASS: PASS, Verdict.FAIL: FAIL, Verdict.MARGINAL: MARGINAL}[judgement.verdict]
