"""What a person reads: text, HTML, DataFrame, JSON."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from canary_judge import Judgement, compare
from canary_judge.report import to_board
from canary_judge.results import LookInfo, Outcome, Role

TIMES = pd.date_range("2026-01-01", periods=60, freq="1min", tz="UTC")


@pytest.fixture(scope="module")
def judgement():
    rng = np.random.default_rng(0)
    frames = [
        pd.DataFrame(
            {
                "timestamp": TIMES,
                "heap": rng.normal(100 * f, 4, 60),
                "errors": rng.poisson(e, 60),
                "requests": 1000.0,
                "zero": 0.0,
            }
        )
        for f, e in ((1, 10), (1.5, 10))
    ]
    metrics = [
        {"name": "heap <b>", "kind": "gauge", "query": "heap", "harm": "increase", "margin": "10%", "unit": "MB"},
        {
            "name": "errors",
            "kind": "ratio",
            "events": "errors",
            "total": "requests",
            "harm": "increase",
            "margin": "1.5x",
        },
        {
            "name": "new",
            "kind": "ratio",
            "events": "zero",
            "total": "requests",
            "harm": "increase",
            "margin": "1.5x",
            "role": "guard",
        },
        {
            "name": "gone",
            "kind": "gauge",
            "query": "nothing",
            "harm": "increase",
            "margin": "10%",
            "role": "score",
            "group": "other",
        },
    ]
    return compare(baseline=frames[0], canary=frames[1], metrics=metrics)


def test_text_says_verdict_reason_table_and_what_is_missing(judgement):
    text = judgement.explain()
    assert text.splitlines()[0].startswith("FAIL  score ")
    assert "roll back" in text.splitlines()[0]
    assert "harm beyond the margin is shown" in text
    assert "Still missing:" in text
    assert "Groups:" in text
    assert max(len(line) for line in text.splitlines() if line.startswith(("metric", "heap"))) < 140


def test_what_holds_a_gate_is_told_beside_a_failure(judgement):
    held = replace(
        judgement.metrics[0],
        name="held",
        role=Role.GATE,
        outcome=Outcome.INSUFFICIENT,
        reason="cannot be found safe: one user makes 9% of the canary: a bot?",
        shortfall=None,
    )
    whole = replace(judgement, metrics=(*judgement.metrics, held))
    line = f"held: {held.reason}"
    assert whole.explain(width=200).split("Still missing:")[1].count(line) == 1
    assert "one user makes 9%" in whole._repr_html_()
    assert line not in judgement.explain(width=200)
    told = replace(whole, reasons=(*whole.reasons, line))  # not twice
    assert told.explain(width=200).count(line) == 1


def test_html_is_escaped_and_has_a_picture_and_a_row_per_metric(judgement):
    page = judgement._repr_html_()
    assert "heap &lt;b&gt;" in page
    assert "heap <b>" not in page
    assert page.count("<svg") == 2  # for wide and for narrow pages
    assert page.count("<th scope='row'>") == len(judgement.metrics)
    assert "nan" not in page.lower().replace("finance", "")


def test_the_frame_has_a_row_per_metric_and_no_object_left(judgement):
    frame = judgement.to_frame()
    assert list(frame.index) == ["heap <b>", "errors", "new", "gone"]
    assert frame.loc["errors", "events_canary"] == judgement["errors"].comparison.events_canary > 0
    assert frame.loc["heap <b>", "outcome"] == "regressed"
    assert not any(isinstance(value, dict | list) for value in frame.to_numpy().ravel())


def test_json_survives_without_loss(judgement):
    assert Judgement.from_json(judgement.to_json(indent=1)) == judgement
    assert Judgement.from_json(judgement.to_json().encode()) == judgement


def test_every_reason_names_the_numbers_that_decided(judgement):
    heap, errors, new, gone = judgement.metrics
    assert heap.outcome is Outcome.REGRESSED
    for word in ("1.5", "90% interval", "margin 1.1x", "n = 60", "p = "):
        assert word in heap.reason
    assert " of 60,000 against " in errors.reason
    assert new.outcome is Outcome.INSUFFICIENT
    assert gone.outcome is Outcome.ERROR
    assert all(math.isfinite(metric.score_weight) for metric in judgement.metrics)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_report_and_a_board_fit_the_terminal(judgement, width):
    look = LookInfo(number=3, intervals=30, left_out=0, horizon_seconds=3600.0, ended=False, seconds_to_decision=600.0)
    looked = replace(judgement, look=look)
    for text in (
        judgement.explain(width=width),
        looked.explain(width=width),
        to_board(looked, false_pass_rate=0.05, width=width),
    ):
        assert max(map(len, text.splitlines())) <= width
        assert all(metric.outcome.value in text for metric in judgement.metrics)


def test_in_a_line(judgement):
    assert str(judgement).startswith(f"{judgement.name}: FAIL  score ")
    assert "\n" not in str(judgement)
    metric = judgement.metrics[0]
    assert str(metric) == f"{metric.name}: {metric.short}"
