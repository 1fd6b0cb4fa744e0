"""A Prometheus that knows one metric: `canary_judge_score`, for controllers that read a number and compare it.

100 is pass, 50 undecided, 0 fail. Asking is a look, as with every other adapter.

References:
    Prometheus HTTP API: /api/v1/query and /api/v1/query_range, answers and errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import Any

from canary_judge.errors import CanaryJudgeError, DataError
from canary_judge.series import format_duration, percent_from
from canary_judge.service.answers import Answer, is_over
from canary_judge.service.given import bounded, number_of
from canary_judge.service.problems import Busy, StoreDown, UnknownRun
from canary_judge.service.runs import Runs
from canary_judge.service.shown import shown

__all__ = ["BUDGET", "PromFacade"]

# Flagger gives up after 5 seconds.
BUDGET = 4.0
_NAME = "canary_judge_score"
_SCORES = {"pass": "100", "marginal": "50", "fail": "0"}
_SELECTOR = re.compile(rf"\s*{_NAME}\s*(?:\{{(.*)\}})?\s*", re.DOTALL)
_MATCHER = re.compile(r'\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\')\s*(,|$)')
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "'": "'"}
# Nobody asked for so many intervals: what asks now is another rollout, for the labels do not tell its revision.
_SILENT = 10
_SIDES = ("baseline", "canary")
# What a question may change without asking of another run; and all labels that are read.
_OF_A_QUESTION = ("window", "interval", "weight")
_ALIKE = 0.8
_KNOWN, _OWN = ("config", "horizon", "key", "namespace", "target", *_OF_A_QUESTION), ("baseline_", "canary_")

Reply = tuple[int, dict[str, Any]]


class _Blind(CanaryJudgeError):
    """Nothing is known of the present."""


class PromFacade:
    """Answers of `/prom/api/v1/query` and `/query_range`: exactly one series, or an error.

    A selector names the config with `config` (or `target`, where a config has its name), and both versions with
    `canary_LABEL` and `baseline_LABEL`; `namespace` and `target` are labels of both, and the baseline's target is
    TARGET-primary as Flagger has it. `weight` is the present one, in percent: a pass then needs data at it. `key` asks
    for a run that others follow, without a look.
    """

    def __init__(self, runs: Runs, budget: float = BUDGET) -> None:
        self._runs, self._budget = runs, budget

    def query(self, query: str | None, *, ranged: bool = False, owner: str = "") -> Reply:
        """The status and the body."""
        try:
            labels, value = self._value(query or "", owner)
        except (_Blind, StoreDown, Busy, UnknownRun) as error:
            return 503, _error("unavailable", str(error))
        except CanaryJudgeError as error:
            return 400, _error("bad_data", str(error))
        point = [self._runs.now().timestamp(), value]
        kind, points = ("matrix", {"values": [point]}) if ranged else ("vector", {"value": point})
        return 200, {"status": "success", "data": {"resultType": kind, "result": [{"metric": labels, **points}]}}

    def _value(self, query: str, owner: str) -> tuple[dict[str, str], str]:
        if "".join(query.split()) == "vector(1)":  # Flagger asks whether somebody is there
            return {}, "1"
        asked = _labels(query)
        answer = self._answer(asked, owner)
        if answer.blind:  # a regression that is kept is not
            raise _Blind(answer.why)
        return {"__name__": _NAME, **asked}, _SCORES[answer.verdict]

    def _answer(self, asked: Mapping[str, str], owner: str) -> Answer:
        if "key" in asked:
            found = self._runs.find(asked["key"])
            if found is None:
                raise DataError(f"there is no run of key {shown(asked['key'])}")
            if is_over(found.run, now=self._runs.now().timestamp(), anew=False):
                raise _Blind(
                    f"the run of key {shown(asked['key'])} is over: it began at {found.run.start}; begin another"
                )
            return found
        config = asked.get("config") or asked.get("target")
        if not config:
            raise DataError(f'name a config: {_NAME}{{config="checkout"}}; there are {self._runs.configs.names()}')
        judged = self._runs.configs.get(config)
        labels = {side: _of_side(asked, side) for side in _SIDES}
        place = "/".join(f"{name}={asked[name]}" for name in sorted(asked) if name not in _OF_A_QUESTION)
        key = bounded(f"prom/{config}/{place}")
        known = self._runs.store.newest(key)
        longest = _SILENT * judged.interval.total_seconds()
        silence = 0.0 if known is None else self._runs.now().timestamp() - known.asked
        silent = silence > longest
        unheard = known is not None and known.asked - known.created < judged.interval.total_seconds()
        if known is None or silent:
            known = self._runs.open(
                config,
                baseline=labels["baseline"],
                canary=labels["canary"],
                horizon=asked.get("horizon"),
                key=key,
                restart=silent,
                owner=owner,
            )
        if silent and unheard:
            raise _Blind(
                f"the last question was {format_duration(timedelta(seconds=round(silence)))} ago, and began a run that "
                f"nobody asked about again: ask at least every {format_duration(timedelta(seconds=longest))}, or "
                "nothing is ever judged"
            )
        text = asked.get("weight")
        weight = None if text is None else percent_from(number_of(text, "weight"), "weight")
        return self._runs.look_at(known, weight=weight, budget=self._budget)


def _labels(query: str) -> dict[str, str]:
    """The labels of a selector; DataError where it is anything else."""
    found = _SELECTOR.fullmatch(query)
    if found is None:
        raise DataError(f'{shown(query)} is not answered here: ask {_NAME}{{config="checkout"}}, or vector(1)')
    inside, labels, place = (found[1] or "").strip(), {}, 0
    while place < len(inside):
        matcher = _MATCHER.match(inside, place)
        if matcher is None or matcher[2] != "=":
            raise DataError(f'{shown(inside[place:])}: labels are named with =, as in config="checkout"')
        text = matcher[3][1:-1]
        labels[matcher[1]] = re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), text)
        place = matcher.end()
    for name in labels:
        if name not in _KNOWN and not name.startswith(_OWN) and (meant := _meant(name)) and meant not in labels:
            raise DataError(f"label {shown(name)} is read by nobody; did you mean {meant!r}?")
    return {name: text for name, text in labels.items() if text}


def _meant(name: str) -> str | None:
    """The label that is read whose name, or whose beginning, is nearly this one."""
    side, _, rest = name.partition("_")
    like = get_close_matches(name, _KNOWN, 1, _ALIKE)
    if like and like[0][0] == name[0]:
        return like[0]
    sides = get_close_matches(side, _SIDES, 1, _ALIKE) if rest else []
    return f"{sides[0]}_{rest}" if sides else None


def _of_side(asked: Mapping[str, str], side: str) -> dict[str, str]:
    common = {name: asked[name] for name in ("namespace", "target") if name in asked}
    if side == "baseline" and "target" in common:
        common["target"] += "-primary"
    prefix = f"{side}_"
    own = {name.removeprefix(prefix): text for name, text in asked.items() if name.startswith(prefix)}
    return {**common, **own}


def _error(kind: str, text: str) -> dict[str, Any]:
    return {"status": "error", "errorType": kind, "error": text}
