"""What is missing, and what another margin would do: true when it is tried."""

import numpy as np
import pytest

from canary_judge import JudgeConfig, Monitor
from canary_judge.judging.shortfalls import would_do
from canary_judge.judging.verdict import judge_samples
from canary_judge.results import Outcome
from canary_judge.samples import Samples
from canary_judge.stats.margins import Margin
from tests.builders import config, counted, gauged, window
from tests.judging.test_recent import MINUTE, NOON, frame

RATIO = {"name": "m", "kind": "ratio", "events": "e", "total": "t", "harm": "increase", "margin": "1.1x"}
GAUGE = {"name": "m", "kind": "gauge", "query": "q", "harm": "increase", "margin": "1%"}


def judged(metric, samples, n=60):
    return judge_samples(config(metric), Samples(window=window(n), metrics={"m": samples})).metrics[0]


def healthy(seed, n=60):
    rng = np.random.default_rng(seed)
    return counted(rng.poisson(4.75, n), 950.0, rng.poisson(0.75, n), 150.0)


@pytest.mark.parametrize("metric", [RATIO, {**RATIO, "margin": "+0.02pp"}, {**RATIO, "margin": "1.1x or +0.02pp"}])
def test_the_margin_that_would_do_leaves_no_shortfall(metric):
    found = judged(metric, healthy(1))
    assert found.outcome is Outcome.INSUFFICIENT
    assert found.reason.endswith(f"so much usually shows a margin of {found.shortfall.margin}")
    at = judged({**metric, "margin": found.shortfall.margin}, healthy(1))
    assert at.shortfall is None
    assert at.outcome in (Outcome.SAFE, Outcome.INCONCLUSIVE)


def test_the_same_of_a_gauge():
    rng = np.random.default_rng(2)
    samples = gauged(*rng.normal(100, 8, (2, 60)))
    found = judged(GAUGE, samples)
    assert found.shortfall.margin is not None
    at = judged({**GAUGE, "margin": found.shortfall.margin}, samples)
    assert at.shortfall is None


def test_no_margin_is_told_where_the_limit_or_the_least_amount_is_what_lacks():
    assert judged({**RATIO, "limit": "0.6%"}, healthy(3)).shortfall.margin is None
    assert judged(GAUGE, gauged(*np.random.default_rng(4).normal(100, 8, (2, 8))), 8).shortfall.margin is None


@pytest.mark.parametrize("margin", [None, "2.5x", "+10pp"])
def test_what_a_limit_lacks_is_told_beside_a_margin_that_is_shown(margin):
    # 12 % are allowed, 10 % are seen: 120 requests show the margin, and not the limit
    samples = counted(*np.array([[95.0], [950.0], [3.0], [30.0]]).repeat(4, axis=1))
    metric = {**{key: RATIO[key] for key in RATIO if key != "margin"}, "limit": "12%"}
    found = judged(metric if margin is None else {**metric, "margin": margin}, samples, 4)
    assert found.outcome is Outcome.INSUFFICIENT
    assert "needs 150 canary requests, has 120" in found.reason


def test_a_lower_limit_is_planned_for_a_canary_that_keeps_it():
    good = {**{key: RATIO[key] for key in RATIO if key != "margin"}, "harm": "decrease", "limit": "95%"}
    found = judged(good, counted(*np.array([[980.0], [1000.0], [10.0], [10.0]]).repeat(4, axis=1)), 4)
    assert found.outcome is Outcome.INSUFFICIENT
    assert found.shortfall.required == pytest.approx(384, abs=1)


def test_a_wait_beyond_the_planned_end_says_so():
    one = JudgeConfig.from_mapping({"name": "t", "interval": "1m", "metrics": [{**RATIO, "margin": "1.05x"}]})
    monitor = Monitor(one, start=NOON, horizon="1h")
    found = monitor.look(frame(1, 1.0, 60, 0), NOON + 30 * MINUTE)
    assert "(the plan ends in 30 minutes)" in found.metrics[0].shortfall.text
    assert found.look.seconds_to_decision == 1800


def test_close_to_the_margin_is_said_only_where_it_is():
    rng = np.random.default_rng(5)
    texts = set()
    for times in (1.0, 1.35):
        for seed in range(40):
            rng = np.random.default_rng([seed, int(100 * times)])
            found = judged(
                {**RATIO, "margin": "1.5x"}, counted(rng.poisson(5, 60), 950.0, rng.poisson(0.9 * times, 60), 171.0)
            )
            if found.outcome is Outcome.INCONCLUSIVE:
                near = found.comparison.effect > 1.5**0.5 or found.comparison.effect < 1.5**-0.5
                assert ("the effect is close to the margin" in found.reason) is near
                texts.add(near)
    assert texts == {True, False}


@pytest.mark.parametrize("seed", range(5))
def test_the_short_form_fits_a_line(seed):
    found = judged(RATIO, healthy(seed))
    assert len(found.short) <= 60
    assert found.short.startswith(f"{found.outcome.value}: ")
    assert found.short.endswith("x, margin 1.1x")
    broken = judged(GAUGE, gauged([np.nan] * 60, [1.0] * 60))
    assert len(broken.short) <= 60


@pytest.mark.parametrize("upward", [True, False])
@pytest.mark.parametrize("have", [12.0, 40.0, 75.0, 300.0, 20_000.0])
def test_the_margin_that_would_do_is_the_narrowest(upward, have):
    def required(margin):
        ratio = margin.factor(upward=upward)
        return None if ratio <= 0 else 7.0 / np.log(ratio) ** 2

    asked = Margin(relative=0.02)
    told = would_do(asked, have, required, share=True)
    narrowest = abs(np.expm1((1 if upward else -1) * np.sqrt(7.0 / have)))
    if narrowest > 16 * asked.relative:
        assert told is None
    else:
        found = float(told.removesuffix("%")) / 100
        assert max(narrowest, asked.relative) <= found * (1 + 1e-9)
        # to 2 %, rounded up to two digits
        assert found <= max(narrowest, asked.relative) * 1.02 * 1.1


def test_nothing_is_told_where_no_margin_would_do():
    assert would_do(Margin(relative=0.1), 5.0, lambda _: None, share=True) is None
    assert would_do(Margin(relative=0.1), 0.0, lambda _: 1.0, share=True) is None
    assert would_do(None, 5.0, lambda _: 1.0, share=True) is None
