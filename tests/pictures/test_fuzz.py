"""Mutated judgements: each is drawn, is XML, lies inside, and hides nothing that blocks a pass."""

import json
import math
import random
import re
import xml.dom.minidom
from dataclasses import replace

import pytest

from benchmarks.picture_cases import CASES, judged
from canary_judge import Judgement
from canary_judge.pictures import drawn, verdict_svg
from canary_judge.pictures.rows import State, healthy, select, state_of
from canary_judge.results import Outcome, Role
from tests.pictures.drawings import findings, texts

NUMBERS = [None, 0, 1e-12, 0.3, 0.999, 1.0, 1.2, 3, 1e6, 1e30, -0.4, -1e9]
P_VALUES = [None, 0, 1, 0.03, 0.2, 1e-300]
NAMES = ["<b>&'\"", "名前", "x" * 90, "a b", "", "\x00\x1b]0;x\x07", "W" * 30, "🐤 canary"]


def mutated(rng):
    """A judgement of a case in which much is otherwise: also what the library would never say."""
    plain = json.loads(judged(rng.choice(list(CASES))).to_json())
    for metric in plain["metrics"]:
        _mutate(metric, rng)
    plain["verdict"] = rng.choice(["pass", "fail", "marginal"])
    plain["action"] = rng.choice(["advance", "roll_back", "hold"])
    if rng.random() < 0.1:
        plain["metrics"] = []
    for key in ("traffic", "look", "false_pass_rate"):
        if rng.random() < 0.2:
            plain[key] = None
    if plain["traffic"] and rng.random() < 0.3:
        plain["traffic"]["observed"] = rng.choice([None, 0, 1, 1e-9])
    if plain["look"] and rng.random() < 0.3:
        plain["look"]["horizon_seconds"] = rng.choice([None, 0, 1, 45, 1e7])
    if rng.random() < 0.2:
        plain["name"] = rng.choice(NAMES)
        plain["canary"] = {"v": rng.choice(NAMES)}
    found = Judgement.from_json(json.dumps(plain))
    if rng.random() < 0.2:  # what no file can hold, but Python can
        found = replace(found, metrics=tuple(_without_numbers(one, rng) for one in found.metrics))
    return found


def _without_numbers(metric, rng):
    def none():
        return rng.choice([math.nan, math.inf, -math.inf])

    changes = {"p_within": none(), "p_beyond": none()}
    if rng.random() < 0.5:
        changes["deciding"] = (none(), none())
    if metric.comparison is not None:
        fields = ("effect", "margin", "baseline", "canary", "p_harm", "p_beyond_margin", "p_within_margin")
        broken = {name: none() for name in fields if rng.random() < 0.5}
        changes["comparison"] = replace(metric.comparison, interval=(none(), none()), n_canary=none(), **broken)
    if metric.limit is not None:
        changes["limit"] = replace(metric.limit, limit=none(), canary=none())
    if metric.shortfall is not None:
        changes["shortfall"] = replace(metric.shortfall, seconds=none(), weight_percent=none())
    return replace(metric, **changes)


def _mutate(metric, rng):
    changes = {
        "outcome": (0.5, [one.value for one in Outcome]),
        "name": (0.2, NAMES),
        "unit": (0.1, ["", "MB", "requests per second"]),
        "share": (0.1, [True, False]),
        "harm": (0.2, ["increase", "decrease", "either"]),
        "role": (0.2, [one.value for one in Role]),
        "margin": (0.1, [None, "10%"]),
        "deciding": (0.2, [None, [None, None]]),
        "decided_at": (0.1, [None, "2026-01-01T12:01:00Z"]),
        "limit": (0.1, [None]),
    }
    for key, (often, values) in changes.items():
        if rng.random() < often:
            metric[key] = rng.choice(values)
    for key in ("p_within", "p_beyond"):
        if rng.random() < 0.3:
            metric[key] = rng.choice(P_VALUES)
    if metric["shortfall"] is not None and rng.random() < 0.3:
        metric["shortfall"] |= {
            "seconds": rng.choice([None, 0, 1, 1e9]),
            "weight_percent": rng.choice([None, 0.01, 99]),
        }
    if rng.random() < 0.1:
        metric["comparison"] = None
    if (comparison := metric["comparison"]) is not None and rng.random() < 0.4:
        _compare_anew(metric, comparison, rng)


def _compare_anew(metric, comparison, rng):
    low, high = rng.choice(NUMBERS), rng.choice(NUMBERS)
    comparison["interval"] = sorted((low, high)) if None not in (low, high) else [low, high]
    comparison["effect"] = rng.choice(NUMBERS)
    comparison["scale"] = rng.choice(["ratio", "difference"])
    comparison["margin"] = rng.choice([None, 1.5, 0.9, 1.0, 0.02, 20, 0, -3])
    comparison["baseline"] = rng.choice(NUMBERS)
    for key in ("p_beyond_margin", "p_within_margin"):
        comparison[key] = rng.choice(P_VALUES)
    if rng.random() < 0.5:
        low, high = rng.choice(NUMBERS), rng.choice(NUMBERS)
        metric["deciding"] = [low, high]


def _own_words(judgement, drawing):
    """Texts of the picture itself: no names and no reasons, which may be cut and say anything."""
    given = [*(one.reason for one in judgement.metrics), *judgement.reasons]
    return [text for text in texts(drawing) if not any(text.strip("…")[-12:] in one for one in given)]


def checked(judgement):
    """All that holds of any picture."""
    for width in (700, 360):
        drawing = drawn(judgement, width=width)
        assert findings(drawing) == []
        assert not re.search(r"\bnan\b|\binf\b|\d[eE][+-]\d", " ".join(_own_words(judgement, drawing)))
        xml.dom.minidom.parseString(verdict_svg(judgement, width=width))
        word = texts(drawing)[0]
        assert (word == "PASS") is healthy(judgement)
        assert (word == "FAIL") is (judgement.verdict == "fail")
    folding = select(judgement)
    hidden = [one for one in folding.folded if not any(one is two for two in folding.unsafe)]
    for metric in hidden:
        assert metric.outcome not in {Outcome.REGRESSED, Outcome.DEGRADED}
        assert metric.role is not Role.GATE or state_of(metric) is State.GOOD
    deciding = [one for one in judgement.metrics if one.role.decides]
    assert len(folding.shown) + len(folding.folded) >= len(deciding)
    assert judgement.to_html(whole_page=True).count("<svg") == 2


def run(number, seed):
    rng = random.Random(seed)
    for count in range(number):
        judgement = mutated(rng)
        try:
            checked(judgement)
        except Exception as error:
            error.add_note(f"mutation {count} of seed {seed}")
            raise


def test_a_hundred_mutated_judgements_are_drawn():
    run(100, seed=16)


@pytest.mark.slow
def test_three_thousand_mutated_judgements_are_drawn():
    run(3000, seed=3)
