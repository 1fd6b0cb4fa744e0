"""Kayenta's remote judge: it fetches the metrics, we judge them.

References:
    spinnaker/kayenta: RemoteJudge, RemoteJudgeRequest, RemoteJudgeService.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from canary_judge.errors import DataError
from canary_judge.kayenta import Request, Thresholds
from canary_judge.kayenta.documents import MetricSetPair
from canary_judge.kayenta.pairs import both_of
from canary_judge.results import Judgement
from canary_judge.service.bands import band_of, judge_result, settings_of
from canary_judge.service.looking import Order
from canary_judge.service.runs import Runs
from canary_judge.service.shown import shown

__all__ = ["BUDGET", "judge_pairs"]

# Kayenta's judge task dies after two minutes, its client reads for 90 seconds.
BUDGET = 80.0
_MOST_PAIRS = 1000


def judge_pairs(runs: Runs, body: object, *, budget: float = BUDGET) -> dict[str, Any]:
    """Judge metric set pairs, as `POST /judge` does.

    Pairs with the same start that grow are looks at one run, so the stated rate holds over all of them, unless
    `judge.judgeConfigurations.canary_judge` says `looks: once`.

    Args:
        runs: Whose workers judge.
        body: {canaryConfig, scoreThresholds, metricSetPairList}, as it was parsed.
        budget: Seconds.

    Raises:
        DataError: It is no such request, or its thresholds leave no room.
        SourceUnavailable: There was no answer in time.
    """
    if not isinstance(body, Mapping):
        raise DataError(
            f"the request is {shown(body)}; it must be {{canaryConfig, scoreThresholds, metricSetPairList}}"
        )
    band = band_of(_thresholds(body))
    whole = {**body, "scoreThresholds": {"pass": band.pass_, "marginal": band.marginal}}
    request = Request.from_mapping(whole)
    if len(request.pairs) > _MOST_PAIRS:
        raise DataError(f"metricSetPairList has {len(request.pairs)} pairs; at most {_MOST_PAIRS} are judged at once")
    for pair in request.pairs:
        _refuse_other_times(pair)
    once, horizon = settings_of(body.get("canaryConfig"))
    order = Order(
        config="",
        sources={},
        baseline={},
        canary={},
        until=runs.now(),
        once=once,
        horizon=horizon,
        body=json.dumps(whole),
    )
    found = json.loads(runs.told("pairs", order, budget).text)
    names = {label: (pair.name, pair.id, pair.tags) for label, pair in zip(found["labels"], request.pairs, strict=True)}
    judgement = Judgement.from_json(json.dumps(found["judgement"]))
    # a metric without a pair has no id
    known: dict[str, tuple[str, str, Mapping[str, str]]] = {one.name: (one.name, "", {}) for one in judgement.metrics}
    return judge_result(judgement, band, found["values"], names={**known, **names}, note="; ".join(found["notes"]))


def _refuse_other_times(pair: MetricSetPair) -> None:
    """Control and experiment must have one step and a time in common, else what differs between two days is judged.

    A store may begin a side with its first value, so that their starts need not be alike.
    """
    begun, steps = (both_of(pair, key) for key in ("startTimeMillis", "stepMillis"))
    if steps is None:
        return
    if steps[0] != steps[1]:
        raise DataError(
            f"metric {shown(pair.name)}: the step of its control is {steps[0]:g} ms, and of its experiment "
            f"{steps[1]:g} ms; take both with one step"
        )
    if begun is not None and abs(begun[0] - begun[1]) >= max(pair.baseline.size, pair.canary.size, 1) * steps[0]:
        raise DataError(
            f"metric {shown(pair.name)}: its control and its experiment have no time in common (they begin "
            f"{abs(begun[0] - begun[1]) / 60_000:.0f} minutes apart), so that what differs between the two times would "
            "be judged; leave controlOffsetInMinutes out"
        )


def _thresholds(body: Mapping[str, Any]) -> Thresholds | None:
    """Those of the request, else those of the config; None where neither has any."""
    config = body.get("canaryConfig")
    classifier = config.get("classifier") if isinstance(config, Mapping) else None
    both = (body.get("scoreThresholds"), classifier.get("scoreThresholds") if isinstance(classifier, Mapping) else None)
    for given in both:
        if isinstance(given, Mapping) and given.get("pass") is not None and given.get("marginal") is not None:
            return Thresholds.from_mapping(given)
    return None
