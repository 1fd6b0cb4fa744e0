"""The ends of a window: what is left out of the tests as unremarkable never decides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canary_judge import JudgeConfig
from canary_judge.judging import ends
from canary_judge.judging.ends import scanned
from canary_judge.results import Harm
from canary_judge.stats.events import CountTest, compare_counts, p_at_least
from canary_judge.stats.margins import Margin
from tests.builders import counts

MARGINS = [None, Margin(relative=0.5), Margin(absolute=0.01), Margin(relative=0.2, absolute=0.001)]


@st.composite
def cases(draw):
    """Counts of a run whose traffic, rates and last part vary, with the margin in question."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(2, 70))
    rate = draw(st.sampled_from([0.0005, 0.01, 0.05, 0.4]))
    late, every = draw(st.sampled_from([0.3, 1.0, 1.6, 4.0])), draw(st.sampled_from([0.8, 1.0, 1.4]))
    exposure = rng.poisson(draw(st.sampled_from([20, 400, 3000])), (2, n)).astype(float)
    exposure[1] = np.ceil(exposure[1] * draw(st.sampled_from([0.05, 0.5, 1.0])))
    canary = np.where(np.arange(n) > n * 0.8, rate * late, rate * every)
    exposure[:, rng.random(n) < draw(st.sampled_from([0.0, 0.1]))] *= draw(st.sampled_from([0.0, 0.2, 1.0]))
    exposure[0] *= np.where(np.arange(n) > n * 0.5, draw(st.sampled_from([1.0, 3.0])), 1.0)  # another weight
    exposure = np.floor(exposure)
    events = rng.binomial(exposure.astype(int), np.minimum([np.full(n, rate), canary], 1.0)).astype(float)
    if draw(st.booleans()):  # as increase() reads them off
        events = np.minimum(events * rng.uniform(0.97, 1.03, events.shape), exposure)
    made = counts(events[0], exposure[0], events[1], exposure[1])
    return made, draw(st.sampled_from(MARGINS)), draw(st.booleans()), draw(st.sampled_from([1.0, 3.0]))


@settings(max_examples=400, deadline=None)
@given(cases(), st.sampled_from([1.0, 1.5, 0.7]))
def test_what_is_unremarkable_has_a_p_value_of_a_half_or_more(case, ratio):
    made, margin, upward, phi = case
    test = CountTest.of(made, margin=margin, proportion=True, between=1.0, phi=phi)
    if test is None:
        return
    if test.unremarkable(None, upward=upward):
        assert test.ratio(1.0, test.whole).worse(upward=upward) >= 0.5 - 1e-9
    if margin is not None and test.unremarkable(margin.times(ratio), upward=upward):
        assert test.at_margin(margin.times(ratio), upward=upward, only="beyond").beyond >= 0.5 - 1e-9


@settings(max_examples=150, deadline=None)
@given(cases(), st.sampled_from(list(Harm)))
def test_the_ends_say_the_same_when_every_part_of_them_is_tested(case, harm):
    made, margin, _, phi = case
    margin = margin or Margin(relative=0.5)
    parts = [] if margin.relative is None else [f"{100 * margin.relative:g}%"]
    parts += [] if margin.absolute is None else [f"+{100 * margin.absolute:g}pp"]
    metric = {"name": "m", "kind": "ratio", "harm": str(harm), "events": "e", "total": "t"}
    metric |= {"margin": " or ".join(parts)}
    metric = JudgeConfig.from_mapping({"name": "x", "interval": "15s", "metrics": [metric]}).metrics[0]
    compared = compare_counts(made, harm=harm, margin=metric.parsed_margin(), proportion=True)
    if compared is None:
        return
    found = scanned(metric, made, compared, phi)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CountTest, "unremarkable", lambda *_, **__: False)
        patch.setattr(ends, "p_at_least", lambda _, firsts, **__: np.zeros(len(firsts)))
        whole = scanned(metric, made, compared, phi)
        upward = harm is not Harm.DECREASE
        wide = metric.parsed_margin().times(1.3)
        expected = whole.at_margin(wide, upward=upward)
    assert found.evidence == whole.evidence
    assert found.at_margin(wide, upward=upward) == expected


@settings(max_examples=600, deadline=None)
@given(cases(), st.sampled_from([0.7, 1.0, 1.5, 3.0]), st.booleans())
def test_a_p_value_is_no_smaller_than_is_told_without_strata(case, ratio, proportion):
    made, _, upward, phi = case
    size = made.events_canary.size
    firsts = sorted({first for first in (0, size // 2, size - 2) if first < size})
    told = p_at_least(made, firsts, ratio=ratio, upward=upward, proportion=proportion)
    for first, least in zip(firsts, told, strict=True):
        test = CountTest.of(made.since(first), margin=None, proportion=proportion, between=1.0, phi=phi)
        if test is None:
            continue
        assert test.ratio(ratio, test.whole).worse(upward=upward) >= least - 1e-9
        margin = Margin(relative=abs(ratio - 1)) if ratio != 1 else None
        if least == 0.5 and (margin is None or upward is (ratio > 1)):
            assert test.unremarkable(margin, upward=upward)


def test_what_is_told_without_strata_is_worth_asking():
    """Else the test above says nothing."""
    n = np.full(40, 1000.0)

    def told(each, *, firsts=(0, 20, 38), ratio=1.0, upward=True, proportion=True, of=n):
        made = counts(np.full(40, 20.0), n, each * of / n, of)
        return p_at_least(made, list(firsts), ratio=ratio, upward=upward, proportion=proportion)

    fewer = np.full(40, 18.0)
    assert (told(fewer) == 0.5).all()
    assert (told(fewer, upward=False) < 0.5).all()
    assert (told(fewer, ratio=0.8, upward=False) == 0.5).all()
    half = np.where(np.arange(40) < 20, 10.0, 30.0)
    assert (told(half, firsts=[0, 20], ratio=1.2) == 0.5).tolist() == [True, False]
    assert told(np.full(40, 17.5), firsts=[0])[0] == 0
    assert (
        0.05 < told(20.0 + np.arange(40) % 2)[0] < 0.5
    )  # 820 events where 810 are expected, of which 2 % are not sure
    assert told(np.full(40, 3.0), ratio=0.1, firsts=[39])[0] == 0  # of so few the normal distribution says too little
    frequent = np.full(40, 150.0)
    made = counts(frequent, n, frequent + 1, n)
    assert p_at_least(made, [0], ratio=1.02, upward=True, proportion=True)[0] == 0  # the score test is another one
    assert p_at_least(made, [0], ratio=1.02, upward=True, proportion=False)[0] > 0.04


def test_some_parts_are_unremarkable_and_some_are_not():
    """Else the tests above say nothing."""
    steady = np.full(40, 9.0)
    test = CountTest.of(
        counts(steady, steady * 100, steady / 9 * 1.1, steady * 100 / 9), margin=None, proportion=True, between=1, phi=1
    )
    assert [test.unremarkable(None, upward=up) for up in (True, False)] == [False, True]
    assert [test.unremarkable(Margin(relative=0.5), upward=up) for up in (True, False)] == [True, True]
