"""The replay corpus: some 300 configs with their data judge today as they were recorded (benchmarks/replay.py)."""

from itertools import islice

import pytest
import scipy

from benchmarks.replay import UNSTABLE, compared, differences, recorded, replay, without

RECORDED = recorded()
PARTS = 6
# scipy's non-central t, which sizes of instances are read off, has 8 digits before version 1.15
LOOSE = {"required": 1e-6}
if scipy.__version__.startswith("1.13."):
    # and so has the incomplete beta of the lowest version, of which the tails of a limit are made
    LOOSE |= {"p_within": 1e-8, "p_within_limit": 1e-8}


@pytest.fixture(scope="module")
def today():
    return replay()


# in parts, so that a failure says roughly where, and no single test takes long
@pytest.mark.parametrize("part", range(PARTS))
def test_every_recorded_case_is_judged_as_before(today, part):
    expected = RECORDED[part * len(RECORDED) // PARTS : (part + 1) * len(RECORDED) // PARTS]
    assert expected
    wrong, others = [], 0
    for old, new in zip(expected, islice(today, len(expected)), strict=True):
        if old.get("counts") != new.get("counts"):  # another numpy has drawn other data
            others += 1
            continue
        found = differences(without(old, UNSTABLE), without(new, UNSTABLE), relative=1e-9, loose=LOOSE)
        wrong += [f"{old['case']}{line}" for line in found]
    assert not wrong, "\n".join(wrong[:20])
    assert others <= 0.05 * len(expected)


def test_the_recording_has_all_kinds_outcomes_and_verdicts():
    final = [record["judgement"] for record in RECORDED if "judgement" in record]
    final += [record["looks"][-1]["judgement"] for record in RECORDED if "looks" in record]
    metrics = [metric for judgement in final for metric in judgement["metrics"]]
    assert {judgement["verdict"] for judgement in final} == {"pass", "marginal", "fail"}
    assert {metric["kind"] for metric in metrics} == {"gauge", "ratio", "rate", "samples", "latency"}
    assert {metric["role"] for metric in metrics} == {"gate", "guard", "score", "watch"}
    outcomes = {"safe", "tolerable", "degraded", "regressed", "inconclusive", "insufficient", "no_data", "error"}
    assert {metric["outcome"] for metric in metrics} == outcomes
    assert len({metric["comparison"]["method"] for metric in metrics if metric["comparison"]}) > 15


def test_a_difference_is_seen_and_a_new_field_is_dropped_only_by_name(capsys):
    old = [{"case": "a", "p": 0.5, "text": "x", "version": "1"}]
    assert compared(old, [{"case": "a", "p": 0.5, "text": "x", "version": "2"}], frozenset()) == 0
    assert compared(old, [{"case": "a", "p": 0.5 + 1e-15, "text": "x"}], frozenset()) == 1
    assert compared(old, [{"case": "a", "p": 0.5, "text": "y"}], frozenset()) == 1
    assert compared(old, [{"case": "a", "p": 0.5, "text": "x", "new": 1}], frozenset()) == 1
    assert compared(old, [{"case": "a", "p": 0.5, "text": "x", "new": 1}], frozenset({"new"})) == 0
    assert compared(old, [], frozenset()) == 1
    assert list(differences({"n": 3}, {"n": 3.0}, relative=1e-9)) == [".n: 3 -> 3.0"]
    assert "only in the new one" in capsys.readouterr().out
