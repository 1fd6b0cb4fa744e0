"""What a caller is told of a run, and by which key it is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from canary_judge.results import Judgement
from canary_judge.service.store import Run

__all__ = ["Answer", "key_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a caller is told of a run.

    Attributes:
        run: As the database has it now.
        stale: The judgement is not of a look at this moment: the look goes on, or gave no answer.
        blind: Nothing is known of the present: no look ended well for three intervals, or none ever can.
        why: Why it is stale or blind; empty where it is neither.
        url: The run's page.
    """

    run: Run
    stale: bool
    blind: bool
    why: str
    url: str

    @property
    def judgement(self) -> Judgement | None:
        """The present judgement; None before the first look."""
        return None if self.run.judgement is None else Judgement.from_json(self.run.judgement)

    @property
    def verdict(self) -> str:
        """pass, marginal or fail; marginal where nothing is known of the present."""
        return "marginal" if self.blind or self.run.verdict is None else self.run.verdict

    def summary(self) -> dict[str, Any]:
        """verdict, action, score, sufficient, reason, state, stale, url."""
        known = self.run.summary
        if self.blind or known is None:
            reason = self.why or self.run.error or "no look yet"
            shown: dict[str, Any] = {"verdict": "marginal", "action": "hold", "score": 50.0, "sufficient": False}
        else:
            shown = {name: known[name] for name in ("verdict", "action", "score", "sufficient")}
            reason = f"{known['reason']} ({self.why})" if self.why else known["reason"]
        return {**shown, "reason": reason, "state": self.run.state, "stale": self.stale, "url": self.url}


def key_of(config: str, *, baseline: Mapping[str, str], canary: Mapping[str, str]) -> str:
    """The key of a run whose caller names none: of the config's name and both versions.

    Examples:
        >>> key_of("shop", baseline={"version": "1"}, canary={"version": "2"})[:9]
        'shop-2c28'
    """
    text = json.dumps([config, sorted(baseline.items()), sorted(canary.items())])
    return f"{config[:100]}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"
