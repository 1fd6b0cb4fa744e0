"""The 5-second picture: what it must say, and what it must never do (the checklist of docs/pictures.md)."""

import re
import xml.dom.minidom
from dataclasses import replace
from datetime import timedelta

import pytest

from benchmarks.picture_cases import CASES, judged, looks
from canary_judge.pictures import drawn, verdict_svg
from canary_judge.pictures.axis import LAST
from canary_judge.pictures.rows import State, placed, select, state_of
from canary_judge.pictures.shapes import Label, Ring
from canary_judge.results import Action, Harm, Outcome, Role, TrafficSplit, Verdict
from tests.pictures.drawings import findings, texts

WIDTHS = (700, 360)
EVIL = "<script>alert('x')</script>\"&\x00\x1b[2J\u202e\ufffe]]>"


def row_texts(drawing, name):
    """The labels between this row's name and the next row's."""
    labels = [one for one in drawing.shapes if isinstance(one, Label)]
    at = next(one for one in labels if one.text == name)
    return [one.text for one in labels if abs(one.y - at.y) < 16]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_case_is_whole_and_asks_nothing_of_the_network(name, width):
    drawing, svg = drawn(judged(name), width=width), verdict_svg(judged(name), width=width)
    assert findings(drawing) == []
    xml.dom.minidom.parseString(svg)
    assert "url(" not in svg
    assert "<script" not in svg
    assert "href" not in svg
    assert len(svg) <= 20_000
    assert not re.search(r"\de[+-]?\d\d|\bany\b|[-−]0\.0+\b|\bnan\b|\binf\b", " ".join(texts(drawing)))


@pytest.mark.parametrize(("name", "height"), [("one", 153), ("fail", 255), ("twenty undecided", 429)])
def test_the_height_is_that_of_its_rows(name, height):
    assert drawn(judged(name)).height == height


@pytest.mark.parametrize("name", CASES)
def test_a_bar_says_what_the_outcome_says_or_words_say_why_not(name):
    """Over all looks: right of the margin is regressed, left of it safe, across it undecided."""
    for judgement in looks(name):
        for metric in judgement.metrics:
            place, state = placed(judgement, metric), state_of(metric)
            if place is None:
                continue
            if state is State.GOOD:
                assert place.rules_out_harm
            elif place.rules_out_harm:
                assert metric.limit is not None  # which is not ruled out, and the words say so
                assert any("limit" in text for text in row_texts(drawn(judgement), metric.name))
            if metric.outcome is Outcome.REGRESSED and not place.shows_harm:
                assert any(
                    text.startswith(("shown at", "any harm fails")) for text in row_texts(drawn(judgement), metric.name)
                )
            if place.shows_harm:
                assert metric.outcome is Outcome.REGRESSED


def test_harm_lies_right_also_where_less_is_worse():
    judgement = judged("fail decrease")
    metric = judgement["orders"]
    assert metric.harm is Harm.DECREASE
    assert metric.comparison.effect < metric.comparison.margin < 1
    assert placed(judgement, metric).low > 1
    assert row_texts(drawn(judgement), "orders")[1:3] != []


def test_what_lies_beyond_the_rim_is_an_arrow_and_no_circle():
    judgement = judged("clipped")
    drawing = drawn(judgement)
    for name, shown in (("errors", "100x"), ("panics", "new events")):
        place = placed(judgement, judgement[name])
        assert place.effect > LAST
        assert shown in row_texts(drawing, name)
        y = next(one.y for one in drawing.shapes if isinstance(one, Label) and one.text == name)
        circles = [one for one in drawing.shapes if isinstance(one, Ring) and abs(one.y - y) < 10 and one.x > 184]
        assert circles == []


def test_no_data_is_a_badge_a_reason_and_something_to_mend():
    said = texts(drawn(judged("no data")))
    assert said[:3] == ["HOLD", "keep the weight, mend the data", "checkout 1.5.0 against 1.4.2"]
    assert "?" in said
    assert "no usable data: cpu per request; 3 undecided" in said
    assert any("no data: no finite value on the canary" in text for text in said)


def test_no_gate_that_blocks_a_pass_is_folded():
    judgement = judged("twenty undecided")
    drawing, folding = drawn(judgement), select(judgement)
    assert [one.role for one in folding.shown] == [Role.GATE] * 13
    assert "and 7 more: 7 guards undecided" in texts(drawing)
    assert len([one for one in drawing.shapes if isinstance(one, Ring) and one.radius == 6.125]) == 13


def test_beyond_twenty_of_them_the_rest_is_named_in_bold():
    one = judged("twenty undecided")["errors"]
    many = replace(judged("twenty undecided"), metrics=tuple(replace(one, name=f"gate {k}") for k in range(27)))
    drawing = drawn(many)
    line = next(label for label in drawing.shapes if isinstance(label, Label) and label.text.startswith("and 7 more"))
    assert line.text.startswith("and 7 more gates undecided: gate 20, gate 21")
    assert line.bold
    assert line.tone == "ink"


def test_a_required_guard_that_blocks_is_not_folded_either():
    judgement = judged("twenty")
    guard = next(one for one in judgement.metrics if one.role is Role.GUARD and one.outcome is Outcome.SAFE)
    lost = replace(guard, outcome=Outcome.NO_DATA, reason="is gone", comparison=None, deciding=None)
    metrics = tuple(lost if one is guard else one for one in judgement.metrics)
    held = replace(
        judgement, verdict=Verdict.MARGINAL, action=Action.HOLD, metrics=metrics, reasons=(f"{lost.name}: is gone",)
    )
    assert any(one is lost for one in select(held).shown)


def test_one_left_over_is_shown():
    judgement = judged("twelve")
    nine = replace(judgement, metrics=tuple(judgement.metrics[:9]))
    assert len(select(nine).shown) == 9
    assert len(select(judgement).shown) == 8


def test_every_undecided_row_says_what_is_missing_and_when_the_plan_is_too_short():
    said = texts(drawn(judged("hold")))
    assert "4 of 4 gates undecided; the slowest needs 11 h more, plan ends in 36 min" in said
    assert "57 min more, plan ends in 36 min" in said
    assert "16 min more, or 15 % of traffic" in said


def test_a_gate_that_time_alone_may_not_decide_is_the_slowest():
    judgement = judged("hold")
    metric = judgement["errors"]
    endless = replace(metric, shortfall=replace(metric.shortfall, seconds=None, text="needs 6 instances, has 3"))
    metrics = tuple(endless if one is metric else one for one in judgement.metrics)
    said = texts(drawn(replace(judgement, metrics=metrics)))
    assert "4 of 4 gates undecided; time alone may not decide errors" in said
    assert "needs 6 instances, has 3" in said


def test_a_broken_split_is_told_in_the_headline_and_in_the_strip():
    said = texts(drawn(judged("split")))
    assert "keep the weight, mend the split" in said
    assert "traffic is not split as configured: 8.6 % instead of 5 %" in said
    assert said[-1] == "canary gets 8.6 % of traffic, 5 % set"


@pytest.mark.parametrize("width", WIDTHS)
def test_only_what_is_shown_has_a_hue(width):
    hues = {
        getattr(shape, key, None)
        for shape in drawn(judged("twenty undecided"), width=width).shapes
        for key in ("fill", "edge", "tone")
    }
    assert "good" not in hues
    bad = [one for one in drawn(judged("twenty undecided"), width=width).shapes if getattr(one, "fill", None) == "bad"]
    assert bad == []  # the margin's line and word are all that is left of it


@pytest.mark.parametrize(
    "outcome", [Outcome.REGRESSED, Outcome.DEGRADED, Outcome.INSUFFICIENT, Outcome.NO_DATA, Outcome.ERROR]
)
def test_a_pass_that_a_gate_contradicts_is_no_pass(outcome):
    judgement = judged("pass")
    wrong = replace(judgement, metrics=(replace(judgement.metrics[0], outcome=outcome), *judgement.metrics[1:]))
    said = texts(drawn(wrong))
    assert said[0] == "HOLD"
    assert "advance" not in said
    assert not any(getattr(one, "tone", "") == "verdict" for one in drawn(wrong).shapes)
    assert "do not advance" in wrong.to_html()
    assert "do not advance" not in judgement.to_html()


def test_a_pass_with_a_broken_split_is_no_pass():
    split = TrafficSplit(configured=0.05, observed=None, canary_requests=0, requests=9, log_e=9, finding="sticky?")
    assert texts(drawn(replace(judged("pass"), traffic=split)))[0] == "HOLD"


def test_a_regression_that_stands_says_when_it_was_shown():
    judgement = judged("fail")
    errors = judgement["errors"]
    early = replace(errors, decided_at=judgement.end - timedelta(minutes=6), deciding=(0.8, 4.0))
    said = row_texts(drawn(replace(judgement, metrics=(early, *judgement.metrics[1:]))), "errors")
    assert "shown at 12:18" in said
    any_harm = replace(errors, decided_at=judgement.end, deciding=(1.1, 4.0))
    said = row_texts(drawn(replace(judgement, metrics=(any_harm, *judgement.metrics[1:]))), "errors")
    assert any(text.startswith("any harm fails: p ") for text in said)


def test_a_limit_that_decided_stands_beside_its_level():
    judgement = judged("fail")
    slow = judgement["slow requests"]
    broken = replace(
        slow,
        outcome=Outcome.REGRESSED,
        decided_at=judgement.end,
        limit=replace(slow.limit, canary=0.064, p_beyond_limit=1e-6),
    )
    whole = replace(judgement, metrics=(broken,))
    assert "slow requests 6.4 %, limit 6 %" in texts(drawn(whole))
    assert "6.4 %, limit 6 %" in row_texts(drawn(whole), "slow requests")


def test_nothing_judged_yet_and_no_gate_have_words_of_their_own():
    empty = replace(judged("hold"), metrics=(), reasons=(), traffic=None)
    assert texts(drawn(empty)) == [
        "HOLD",
        "keep the weight, wait",
        "checkout 1.5.0 against 1.4.2",
        "2026-01-01 12:00 to 12:09 UTC",
        "nothing judged yet",
        "9 of 45 min",
        "traffic split not checked",
    ]
    guards = tuple(one for one in judged("pass").metrics if one.role is Role.GUARD)
    assert "no gate: nothing has to be shown; 1 guard undecided" in texts(
        drawn(replace(judged("pass"), metrics=guards))
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_texts_of_users_are_no_markup_and_no_control_character(width):
    judgement = judged("no data")
    metrics = tuple(replace(one, name=EVIL + one.name, reason=EVIL, unit=EVIL) for one in judgement.metrics)
    evil = replace(judgement, name=EVIL, canary={EVIL: EVIL}, baseline={EVIL: EVIL}, metrics=metrics)
    svg = verdict_svg(evil, width=width)
    xml.dom.minidom.parseString(svg)
    assert "<script" not in svg
    assert not re.search("[\x00-\x08\x1b\u202e\ufffe]", svg)
    assert findings(drawn(evil, width=width)) == []


def test_a_name_is_cut_in_its_first_third_and_whole_in_the_description():
    judgement = judged("twenty")
    said = " ".join(texts(drawn(judgement)))
    assert "endpoi…ersonalised" in said
    assert "endpoint /api/v1/recommendations/personalised (gate): safe" in drawn(judgement).description


def test_the_description_reads_every_metric_that_decides():
    judgement = judged("twenty")
    assert all(one.name in drawn(judgement).description for one in judgement.metrics)
    svg = verdict_svg(judgement)
    key = re.search(r"class='(cj[0-9a-f]{8})'", svg)[1]
    assert f"aria-labelledby='{key}-t {key}-d'" in svg
    assert f"<title id='{key}-t'>PASS, advance: harm beyond the margin ruled out for all 13 gates" in svg


def test_each_picture_has_a_class_of_its_own_and_no_other_name():
    svgs = [verdict_svg(judged(name), theme=theme) for name in ("fail", "hold") for theme in ("light", "dark")]
    keys = {re.search(r"class='(cj[0-9a-f]{8})'", svg)[1] for svg in svgs}
    assert len(keys) == 4
    for svg in svgs:
        for found in re.findall(r"class='([^']*)'", svg):
            assert all(re.fullmatch(r"cj[0-9a-f]{8}|cj-[a-z]+", one) for one in found.split())


def test_the_report_has_both_widths_a_table_of_every_metric_and_no_request():
    judgement = judged("twenty")
    score = replace(judgement.metrics[0], name="counts only", role=Role.SCORE)
    page = replace(judgement, metrics=(*judgement.metrics, score)).to_html(whole_page=True)
    assert page.count("<svg") == 2
    assert "@container (max-width:559px)" in page
    assert page.count("<th scope='row'>") == 21
    assert "<th scope='row'>counts only</th><td>score</td>" in page
    assert "<caption>" in page
    assert not re.search(r"<script|url\(|(?:src|href)=|https?:(?!//www\.w3\.org/2000/svg)", page)
    assert len(page) <= 300_000
    assert "default-src 'none'" in page
    assert "@media print{.cj-page.cj-page.cj-page{--cj-paper:#ffffff;--cj-ink:#000000" in page
