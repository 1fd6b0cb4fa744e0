"""The plots: what each of them says, that it says it in place, and that it changes nothing of the caller's."""

import math
import random
import re
import sys
from dataclasses import replace
from datetime import timedelta
from itertools import combinations, pairwise

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.text import Text

from benchmarks.picture_cases import CASES, judged, looks
from benchmarks.pictures import samples_of
from benchmarks.plot_cases import planned, rollout_events
from canary_judge import Controller, RolloutPlan, plots
from canary_judge.pictures import drawn
from canary_judge.planning import plans
from canary_judge.plots.evidence import Evidence
from canary_judge.results import Harm, Outcome, Verdict
from canary_judge.stats.trials import clopper_pearson
from canary_judge.testing import simulated_world
from tests.pictures.drawings import texts
from tests.pictures.test_fuzz import mutated

RECORDS = (
    plots.JudgeRecord(judge="Monitor", healthy=60, alarms=0, bad=60, found=56, minutes=(3.0, 9.0, 44.0)),
    plots.JudgeRecord(judge="limit 1 %", healthy=60, alarms=6, bad=60, found=40, minutes=(2.0,) * 40, cut_bad=15),
)
RATES = (
    plots.DesignRate(design="requests", alarms=0, replays=280, effective=14.0, clusters="14 windows", blind_to="pods"),
    plots.DesignRate(design="adjacent", alarms=70, replays=280, effective=28.0, fits=False),
)
POINTS = tuple(
    plots.PowerPoint(effect=effect, runs=100, passed=passed, rolled_back=bad)
    for effect, passed, bad in ((0.8, 99, 0), (1.0, 80, 0), (1.5, 4, 1), (2.0, 0, 60), (3.0, 0, 100))
)


def either(judgements, name):
    """The same looks, of a metric of which either direction hurts."""
    return [
        replace(one, metrics=tuple(replace(m, harm=Harm.EITHER) if m.name == name else m for m in one.metrics))
        for one in judgements
    ]


DRAWN = {
    "verdict": lambda **more: judged("fail").plot(**more),
    "depth": lambda **more: judged("fail").plot("errors", looks=looks("fail"), samples=samples_of("fail"), **more),
    "depth of a gauge": lambda **more: judged("pass").plot(
        "heap", looks=looks("pass"), samples=samples_of("pass"), **more
    ),
    "depth of a share that may not fall": lambda **more: judged("pass").plot("orders", looks=looks("pass"), **more),
    "depth of either harm": lambda **more: either([judged("pass")], "heap")[0].plot(
        "heap", looks=either(looks("pass"), "heap"), **more
    ),
    "depth of one look": lambda **more: judged("hold").plot("slow requests", **more),
    "depth without data": lambda **more: judged("no data").plot("cpu per request", looks=looks("no data"), **more),
    "evidence": lambda **more: plots.evidence(looks("forty"), **more),
    "evidence of a failure": lambda **more: plots.evidence(looks("fail"), **more),
    "planning": lambda **more: plots.planning(planned(), weight=5, length=timedelta(minutes=45), **more),
    "power": lambda **more: plots.power(POINTS, margin=1.5, **more),
    "calibration": lambda **more: plots.calibration(RATES, declared=0.01, **more),
    "rollback": lambda **more: plots.rollout(rollout_events(canary_errors=0.011, seed=7), **more),
    "rollout": lambda **more: plots.rollout(rollout_events(canary_errors=0.005, seed=3), **more),
    "backtest": lambda **more: plots.backtest(RECORDS, promised=0.01, unlabelled=7, **more),
}


def said(ax):
    return [text.get_text() for text in ax.figure.findobj(Text) if text.get_text() and text.get_visible()]


def laid(figure):
    """Every visible text with its box in pixels; of the ticks those that lie on their axis."""
    renderer = figure.canvas.get_renderer()
    ticks, drawn_ticks = set(), set()
    for axis in (axis for axes in figure.findobj(Axes) for axis in (axes.xaxis, axes.yaxis)):
        labels = [label for tick in (*axis.majorTicks, *axis.minorTicks) for label in (tick.label1, tick.label2)]
        ticks |= {id(label) for label in labels}
        if axis.axes.axison:
            drawn_ticks |= {id(tick.label1) for tick in axis._update_ticks()}
    return [
        (text.get_text(), text.get_window_extent(renderer))
        for text in figure.findobj(Text)
        if text.get_text().strip() and text.get_visible() and (id(text) not in ticks or id(text) in drawn_ticks)
    ]


@pytest.mark.parametrize("name", DRAWN)
def test_all_of_a_plot_is_inside_and_no_text_lies_on_another(name):
    figure = DRAWN[name]().figure
    figure.canvas.draw()
    whole, boxes = figure.bbox, laid(figure)
    outside = [
        text for text, box in boxes if box.x0 < -1 or box.x1 > whole.x1 + 1 or box.y0 < -1 or box.y1 > whole.y1 + 1
    ]
    assert outside == []
    on_another = [
        (one, other)
        for (one, a), (other, b) in combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 4
    ]
    assert on_another == []


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_plot_takes_axes_returns_them_and_changes_nothing_else(name, theme):
    figure, (left, right) = plt.subplots(1, 2, figsize=(16, 7))
    before, open_ones = mpl.rcParams.copy(), plt.get_fignums()
    assert DRAWN[name](ax=left, theme=theme) is left
    assert mpl.rcParams == before
    assert plt.get_fignums() == open_ones
    assert not right.has_data()
    assert [*right.lines, *right.patches, *right.texts, *right.child_axes] == []
    figure.canvas.draw()


def test_no_legend_no_grid_and_a_title_that_is_a_finding():
    titles = {
        "depth": "errors: regressed at minute 24, 3.1x the baseline",
        "depth without data": "cpu per request: no data",
        "evidence": "40 looks: two of four metrics are shown safe, none harmful",
        "planning": "orders needs 9 h at 5 %; the other gates are done in 120 min",
        "power": "Harm of 3x is found four times in five",
        "calibration": "requests: 0 of 280 replays raised an alarm: between 0 and 23 %",
        "rollback": "rolled back at 12:12: errors 2.33x the baseline, 1.5x tolerated",
        "rollout": "promoted at 12:21",
        "backtest": "Monitor: 0 of 60 false alarms, 56 of 60 bad found",
    }
    for name, title in titles.items():
        ax = DRAWN[name]()
        assert title in said(ax)
        assert all(axes.get_legend() is None for axes in (ax, *ax.child_axes))


def test_the_judgement_is_the_same_as_in_the_svg():
    shown = [text.get_text() for text in judged("hold").plot().texts]
    assert shown == texts(drawn(judged("hold")))


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'canary_judge\[plot\]'"):
        judged("fail").plot()


@pytest.mark.parametrize("name", ["$x$ and $", "<b>\x00\x1b[2J", "w" * 200, "$\\frac$"])
def test_a_name_is_no_formula_and_no_control_character(name):
    judgement = judged("fail")
    metrics = (replace(judgement.metrics[0], name=name), *judgement.metrics[1:])
    run = [replace(one, metrics=(replace(one.metrics[0], name=name), *one.metrics[1:])) for one in looks("fail")]
    named = replace(judgement, name=name, metrics=metrics)
    for ax in (named.plot(), named.plot(name), plots.evidence(run)):
        ax.figure.canvas.draw()
        assert not any("\x1b" in text or "\x00" in text for text in said(ax))


# --- evidence ---


@pytest.mark.parametrize("name", ["fail", "forty", "pass", "clipped", "fail decrease"])
def test_a_line_beyond_its_threshold_is_decided_and_no_other(name):
    """The heights are those at which the library decides, look by look, before the planned end."""
    run = looks(name)
    for number in range(1, len(run) + 1):
        for metric in run[number - 1].metrics:
            if metric.margin is None or run[number - 1].look.ended:
                continue
            line = Evidence.of(run[:number], metric.name)
            odds = line.odds[np.isfinite(line.odds)]
            if metric.outcome is Outcome.REGRESSED:
                assert odds.max() >= line.harm - 1e-9
            elif odds.size:
                assert odds.max() < line.harm
            if metric.outcome in {Outcome.SAFE, Outcome.TOLERABLE}:
                assert odds[-1] <= -line.safety + 1e-9


def test_the_thresholds_are_odds_of_the_promised_rates():
    line = Evidence.of(looks("forty"), "heap")
    assert 10**line.safety == pytest.approx(1 / (0.05 * 0.2))
    assert 10**line.harm == pytest.approx(1 / (judged("forty")["heap"].harm_level * 0.2))
    heights = [
        float(one.get_ydata()[0]) for one in plots.evidence(looks("forty")).lines if len(set(one.get_ydata())) == 1
    ]
    assert -line.safety in heights


def test_what_has_no_evidence_over_time_is_refused():
    with pytest.raises(ValueError, match="looks is empty"):
        plots.evidence([])
    with pytest.raises(ValueError, match=r"looks\[0\] is one planned look"):
        plots.evidence([replace(judged("fail"), look=None)])
    with pytest.raises(KeyError, match="'nothing' is no metric"):
        judged("fail").plot("nothing")


SEVERAL = {
    "events": (plots.rollout, rollout_events(canary_errors=0.05, seed=7)),
    "records": (plots.backtest, RECORDS),
    "rates": (lambda rates: plots.calibration(rates, declared=0.01), RATES),
    "points": (lambda points: plots.power(points, margin=1.5), POINTS),
    "looks": (plots.evidence, looks("forty")),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_what_is_drawn_may_come_from_a_generator_and_what_is_none_is_named(name):
    draw, several = SEVERAL[name]
    assert said(draw(one for one in several)) == said(draw(several))
    for wrong, told in (([], "is empty"), (several[0], f"is a {type(several[0]).__name__}"), ([1], "has int among")):
        with pytest.raises(ValueError, match=f"^{name} {told}"):
            draw(wrong)


def test_a_decision_of_the_planned_end_is_named():
    ended = looks("tolerable")[-1]
    assert ended.look.ended
    last = ended["errors"]
    early = replace(last.comparison, log_e_within_margin=0.5, p_within_margin=0.002)
    changed = replace(ended, metrics=(replace(last, comparison=early), *ended.metrics[1:]))
    drawn = plots.evidence([changed])
    assert "diamond: decided by the planned end" in drawn.get_xlabel()
    assert [line for line in drawn.lines if line.get_marker() == "D"]


def boxes(ax):
    """Where each text that is drawn stands, in pixels."""
    figure = ax.figure
    figure.canvas.draw()
    texts = [one for one in figure.findobj(Text) if one.get_visible() and one.get_text().strip()]
    return {one.get_text(): one.get_window_extent() for one in texts}


def test_names_of_many_lines_stay_beside_them():
    crowd = plots.evidence(looks("twenty"))
    found = {text: box for text, box in boxes(crowd).items() if text.endswith((": safe", ": undecided"))}
    assert len(found) == 20
    inside = crowd.get_window_extent()
    assert all(inside.y0 <= box.y0 and box.y1 <= inside.y1 for box in found.values())
    high = sorted(box.y0 for box in found.values())
    assert min(b - a for a, b in pairwise(high)) > 6


def test_what_stands_under_a_backtest_is_in_the_picture():
    for number in (1, 4, 10):
        records = [plots.JudgeRecord(judge=f"judge {i}", healthy=9, alarms=0, bad=9, found=9) for i in range(number)]
        found = boxes(plots.backtest(records, unlabelled=3))
        (under,) = (box for text, box in found.items() if "have no label" in text)
        assert under.y0 > 0
        assert under.y1 < min(box.y0 for text, box in found.items() if text == "100 %")


def test_where_many_were_cut_the_title_has_bounds():
    record = plots.JudgeRecord(judge="ours", healthy=10, alarms=1, bad=10, found=4, cut_healthy=1, cut_bad=5)
    assert said(plots.backtest([record]))[0] == "ours: 1 of 10 false alarms, 4 to 9 of 10 bad found"


def test_an_effect_of_a_finished_run_stands_in_the_title_of_its_panel():
    seen = looks("pass")
    (title,) = (text for text in said(plots.depth(seen[-1], "errors", looks=seen)) if text.startswith("canary / base"))
    assert re.match(r"canary / baseline: \d.\d\dx \(.* to .*\) \(band: deciding interval at each look\)", title)


def test_a_metric_that_is_undecided_for_another_reason_says_which():
    ended = looks("hold")[-1]
    reason = "canary 1x the baseline; cannot be found safe: data are missing"
    one = replace(ended["errors"], outcome=Outcome.INSUFFICIENT, reason=reason)
    changed = replace(ended, metrics=(one, *ended.metrics[1:]))
    assert "not shown safe: data are missing" in said(plots.depth(changed, "errors"))


def test_the_band_in_depth_is_the_deciding_interval():
    ax = DRAWN["depth"]()
    (band,) = ax.child_axes[1].collections
    run = looks("fail")
    path = band.get_paths()[0].vertices
    low, high = run[-1]["errors"].deciding
    at_end = path[np.isclose(path[:, 0], len(run))][:, 1]
    assert at_end.min() == pytest.approx(low)
    assert at_end.max() == pytest.approx(high)


def test_a_gap_is_a_tick_on_the_axis_that_names_its_side():
    found = samples_of("fail")
    data = found.metrics["errors"].data
    exposure = data.counts.exposure_canary.copy()
    exposure[5:8] = 0.0
    holed = replace(data, counts=replace(data.counts, exposure_canary=exposure))
    metrics = {**found.metrics, "errors": replace(found.metrics["errors"], data=holed)}
    ax = judged("fail").plot("errors", looks=looks("fail"), samples=replace(found, metrics=metrics))
    assert " no canary" in said(ax)
    ticks = next(line for line in ax.child_axes[0].lines if line.get_marker() == "|")
    assert list(ticks.get_xdata()) == [6.0, 7.0, 8.0]
    assert " no canary" not in said(DRAWN["depth"]())


def test_a_change_of_weight_and_a_warm_up_are_marked():
    run = list(looks("fail"))
    later = [
        replace(one, traffic=replace(one.traffic, configured=0.25), look=replace(one.look, left_out=3))
        for one in run[10:]
    ]
    ax = later[-1].plot("errors", looks=[*run[:10], *later])
    assert " 5 \u2192 25 %" in said(ax)
    assert " left out" in said(ax)


# --- planning and power ---


def test_a_gate_that_no_time_would_show_is_named():
    made = planned()
    never = replace(made.metrics[0], seconds=(None,) * len(made.weights))
    ax = plots.planning(replace(made, metrics=(never, *made.metrics[1:])), weight=5)
    assert "errors: no time would do at 5 %" in said(ax)
    partly = replace(made.metrics[0], seconds=(None, *made.metrics[0].seconds[1:]))
    ax = plots.planning(replace(made, metrics=(partly, *made.metrics[1:])), weight=5)
    assert "no time would do" in said(ax)
    assert any(line.get_marker() == "x" for line in ax.lines)


def test_seven_gates_are_six_names_and_a_count():
    made = planned()
    many = tuple(replace(made.metrics[0], name=f"gate {k}") for k in range(8))
    assert "2 more, faster" in said(plots.planning(replace(made, metrics=many)))


def test_a_plan_without_a_gate_or_a_curve():
    empty = plans.Plan(name="x", weights=(1, 5), power=0.9, metrics=(), start="", end="")
    assert "no gate: nothing has to be shown" in said(plots.planning(empty))
    with pytest.raises(ValueError, match="a curve needs two or more"):
        plots.planning(replace(empty, weights=(1,)))
    with pytest.raises(ValueError, match="weight is 7; the plan has 1, 5"):
        plots.planning(empty, weight=7)


def test_power_tells_the_promises_and_adds_up():
    text = next(one for one in said(DRAWN["power"]()) if "canaries each" in one)
    assert text == "100 canaries each, bars 95 %; rolled back: 0 at 1x, 1 at the margin (4 passed)"
    assert [one.held for one in POINTS] == [1, 20, 95, 40, 0]
    none = [replace(one, rolled_back=0) for one in POINTS]
    assert "No harm of these sizes is found four times in five" in said(plots.power(none, margin=1.5))
    with pytest.raises(ValueError, match="add up to the runs at most"):
        plots.PowerPoint(effect=1, runs=10, passed=9, rolled_back=2)


# --- past canaries ---


def test_a_backtest_counts_what_was_missed_cut_and_not_labelled():
    shown = said(DRAWN["backtest"]())
    assert {"0 of 60", "56 of 60", "6 of 60", "40 of 60, 15 cut", "4 missed", "5 missed,\n15 cut"} <= set(shown)
    assert "7 canaries more have no label and are in none of these counts" in shown
    assert any("striped: ended by others first" in text for text in shown)
    other = (RECORDS[0], replace(RECORDS[1], canaries="others"))
    assert any("NOT the same canaries" in text for text in said(plots.backtest(other)))


def test_cut_canaries_widen_the_interval_to_bounds():
    ax = plots.backtest(RECORDS)
    _, found, _ = ax.child_axes
    ends = [line.get_xdata() for line in found.lines if line.get_linewidth() == 5]
    assert ends[1][0] == pytest.approx(100 * clopper_pearson(40, 60)[0])
    assert ends[1][1] == pytest.approx(100 * clopper_pearson(55, 60)[1])


@pytest.mark.parametrize(
    ("alarms", "replays", "declared", "reading"),
    [
        (0, 14, 0.01, "too little history"),
        (0, 60, 0.01, "does not contradict"),
        (0, 400, 0.01, "within"),
        (20, 100, 0.01, "more than declared"),
    ],
)
def test_a_rate_is_read_in_four_ways(alarms, replays, declared, reading):
    assert plots.DesignRate(design="d", alarms=alarms, replays=replays).reading(declared) == reading


def test_replays_that_share_luck_count_less():
    alone = plots.DesignRate(design="d", alarms=0, replays=280).interval
    shared = RATES[0].interval
    assert shared[1] == pytest.approx(0.2316, abs=1e-4)  # 1 - 0.025 ** (1 / 14), Clopper and Pearson
    assert alone[1] < shared[1] / 10


def test_a_rollout_shows_a_bar_a_look_whose_height_is_its_verdict():
    events = rollout_events(canary_errors=0.011, seed=7)
    _, verdicts = DRAWN["rollback"]().child_axes
    heights = [bar.get_height() for bar in verdicts.patches]
    seen = [one.judgement.verdict for one in events if one.judgement is not None and one.kind == "look"]
    assert len(heights) == len(seen)
    assert [height == 1.0 for height in heights] == [one is Verdict.FAIL for one in seen]
    assert "all traffic back in one step" in said(DRAWN["rollback"]())


def test_every_case_is_drawn_by_matplotlib_too():
    for name in CASES:
        ax = judged(name).plot()
        ax.figure.canvas.draw()
        assert all(math.isfinite(value) for value in (*ax.get_xlim(), *ax.get_ylim()))


@pytest.mark.filterwarnings("ignore:Glyph .* missing")  # of names that DejaVu has no letters for
def test_mutated_judgements_are_drawn_by_matplotlib_too():
    rng = random.Random(5)
    for _ in range(25):
        judgement = mutated(rng)
        plots.verdict(judgement, width=rng.choice([700, 360])).figure.canvas.draw()
        for metric in judgement.metrics[:2]:
            judgement.plot(metric.name).figure.canvas.draw()
        plt.close("all")


def test_what_is_counted_stands_in_its_own_panel():
    records = [
        plots.JudgeRecord(
            judge="ours", healthy=20, alarms=0, cut_healthy=4, bad=20, found=found, cut_bad=3, minutes=(5.0,) * found
        )
        for found in (0, 5, 10, 15, 17)
    ]
    figure = plots.backtest(records).figure
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = [
        text.get_window_extent(renderer)
        for text in figure.findobj(Text)
        if " of 20" in text.get_text() and text.get_text()[0].isdigit()
    ]
    assert len(boxes) == 10
    assert not any(one.overlaps(other) for k, one in enumerate(boxes) for other in boxes[:k])


@pytest.mark.parametrize("seed", range(4))
def test_what_a_rollback_found_stays_inside_of_the_figure(seed):
    world = simulated_world(canary_error_rate=0.02, seed=seed)
    stages = RolloutPlan(stages=[5, 50, 100], minimum=timedelta(minutes=2))
    driven = Controller(world.config, world.source, world.router, stages, clock=world.clock)
    ax = plots.rollout(list(driven.events()))
    figure = ax.get_figure()
    figure.canvas.draw()
    shown = [one for axes in (ax, *ax.child_axes) for one in axes.texts if one.get_text()]
    boxes = [one.get_window_extent() for one in shown]
    assert any("since" in one.get_text() for one in shown)
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width for box in boxes)


@pytest.mark.parametrize(
    "names",
    [
        [f"errors <= {limit} %, five failures are borne" for limit in ("1.0", "2.0", "4.0")],
        [f"the config of the service, version {number}" for number in range(3)],
        [f"the very long name of service {number} as it was before the summer holidays" for number in range(3)],
    ],
)
def test_judges_of_long_names_are_told_apart(names):
    ax = plots.backtest([replace(RECORDS[0], judge=name) for name in names])
    shown = [label.get_text() for label in ax.child_axes[0].get_yticklabels()]
    assert len(set(shown)) == len(names)
    assert all(shown)


@pytest.mark.parametrize("promised", [0, 1, 5, -0.1])
def test_a_promised_rate_is_one_between_0_and_1(promised):
    with pytest.raises(ValueError, match="give a rate between 0 and 1, as 0.01 for 1 %"):
        plots.backtest(RECORDS, promised=promised)


def test_looks_in_depth_are_those_of_the_run_in_their_order():
    run, other = looks("fail"), looks("pass")
    for wrong in (run[::-1], [*other, *run]):
        with pytest.raises(ValueError, match="looks: give those of this run up to this judgement, in their order"):
            run[-1].plot("errors", looks=wrong)


def test_either_harm_has_a_margin_on_both_sides():
    drawn = DRAWN["depth of either harm"]()
    margins = [text for text in said(drawn) if text.startswith("margin")]
    assert len(margins) == 2
    upper = judged("pass")["heap"].comparison.margin
    assert {f"margin {upper:g}x", f"margin {2 - upper:g}x"} == set(margins)


def test_no_canary_that_could_be_judged_is_not_one_without_a_label():
    nobody = plots.JudgeRecord(judge="ours", healthy=0, alarms=0, bad=0, found=0, minutes=())
    assert "no canary could be judged" in said(plots.backtest([nobody]))
    assert "ours: no canary has a label" in said(plots.backtest([nobody], unlabelled=3))
