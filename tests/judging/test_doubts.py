"""What makes numbers doubtful is told with the harm that they show: whoever rolls back must know it."""

import numpy as np
import pytest

from canary_judge import Verdict, Window, judge_samples
from canary_judge.looks.observing import observe
from canary_judge.looks.state import MonitorState
from canary_judge.samples import Samples
from tests.builders import GAUGE, START, STEP, config, gauged, samples


@pytest.mark.parametrize(
    ("baseline", "canary", "harm", "said"),
    [
        (1.0, 1024.0, "increase", "about 1,000 times above the baseline's: are they in another unit?"),
        (1.0, 0.001, "decrease", "about 1,000 times below the baseline's: are they in another unit?"),
    ],
)
def test_harm_is_told_with_what_makes_its_numbers_doubtful(baseline, canary, harm, said):
    rng = np.random.default_rng(2)
    sides = (scale * rng.normal(512, 5, 60) for scale in (baseline, canary))
    found = judge_samples(config({**GAUGE, "harm": harm}), samples(gauged(*sides)))
    assert found.verdict is Verdict.FAIL
    assert f"harm beyond the margin is shown (p = {found['m'].p_beyond:.2g}); but the canary's values are {said}" in (
        found["m"].reason
    )


def test_a_stale_baseline_is_told_with_harm():
    rng = np.random.default_rng(2)
    found = judge_samples(config(GAUGE), samples(gauged(np.full(60, 431.3371), rng.normal(512, 5, 60))))
    assert found.verdict is Verdict.FAIL
    assert "; but the baseline's value never changed while the canary's did: a stale export?" in found["m"].reason


def test_a_doubt_stands_with_what_is_held_at_later_looks():
    rng = np.random.default_rng(2)
    settings, state = config(GAUGE), MonitorState(start=START, horizon=None)
    for first in range(0, 80, 4):
        part = gauged(rng.normal(512, 5, 4), 1024 * rng.normal(512, 5, 4))
        one = Samples(window=Window(START + first * STEP, START + (first + 4) * STEP), metrics={"m": part})
        state, judgement = observe(settings, state, one)
    assert "are they in another unit?" in judgement["m"].reason
