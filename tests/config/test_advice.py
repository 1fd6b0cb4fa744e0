"""What is likely to be wrong with a config is said, each kind once; a good config gets no advice."""

import pytest

from canary_judge import JudgeConfig, advise
from canary_judge.errors import ConfigError
from tests.test_planning import ERRORS, HEAP, config

LATENCY = {
    "name": "slow",
    "kind": "latency",
    "histogram": "h_seconds_bucket",
    "slower_than": "250ms",
    "margin": "1.25x",
}


RATED = {
    "name": "scores",
    "kind": "mean",
    "numerator": "given",
    "unit_of_replication": "user",
    "harm": "decrease",
    "margin": "5%",
}


@pytest.mark.parametrize(
    ("metrics", "more", "code"),
    [
        ([ERRORS, LATENCY], {}, "no-business-metric"),
        ([ERRORS], {}, "only-errors"),
        ([ERRORS, HEAP], {}, "no-latency-metric"),
        ([{**HEAP, "query": "histogram_quantile(0.99, x)"}], {}, "quantile-gauge"),
        ([{**HEAP, "query": "rate(e[1m]) / rate(t[1m])"}], {}, "ratio-gauge"),
        ([{**ERRORS, "events": "sum(increase(errors[1m]))"}], {}, "increase-of-counter"),
        ([{**HEAP, "query": "rate(cpu[30s])"}], {}, "short-range"),
        ([{**ERRORS, "margin": "1%"}], {}, "narrow-margin"),
        ([{**HEAP, "name": f"h{k}"} for k in range(6)], {}, "one-group"),
        ([ERRORS, {**HEAP, "role": "score", "score_weight": 0.02}], {}, "hidden"),
        ([HEAP], {"baseline": {"version": "1.4"}}, "old-fleet"),
        ([HEAP], {}, "averaged"),
        ([{**ERRORS, "name": "sold", "harm": "decrease", "margin": "95%"}], {}, "wide-margin"),
        ([{**ERRORS, "name": "sold", "harm": "decrease", "margin": "0.05x"}], {}, "wide-margin"),
        ([{**RATED, "numerator": "rating"}], {}, "added-up"),
        ([{**RATED, "name": "satisfaction"}], {}, "added-up"),
    ],
)
def test_each_kind_of_advice_is_given(metrics, more, code):
    assert code in [advice.code for advice in advise(config(*metrics, **more))]


def test_a_good_config_gets_no_advice():
    good = config(
        {**ERRORS, "group": "errors", "margin": "1.5x or +0.1pp"},
        {**LATENCY, "group": "latency"},
        {**HEAP, "by": "pod", "group": "saturation"},
        {
            "name": "orders",
            "kind": "ratio",
            "events": "orders",
            "total": "sessions",
            "harm": "decrease",
            "margin": "10%",
            "business": True,
            "group": "business",
        },
        baseline={"track": "baseline"},
    )
    assert advise(good) == ()


def test_quantiles_of_an_even_split_are_not_advised_against():
    gauge = {**HEAP, "query": "histogram_quantile(0.99, x)"}
    assert "quantile-gauge" not in [one.code for one in advise(config(gauge, traffic={"weight": 50}))]


@pytest.mark.parametrize(
    "name",
    [
        "skips",
        "hides",
        "complaints",
        "unsubscribes",
        "rebuffers",
        "time_to_first_play",
        "thumbs down",
        "negative feedback",
        "unfollows",
        "not interested",
        "mutes",
        "abuse_reports",
    ],
)
def test_business_metrics_of_which_less_is_better_are_told(name):
    turned = config({**HEAP, "name": name, "harm": "decrease"})
    assert "harm-direction" in {one.code for one in advise(turned)}
    assert "harm-direction" not in {one.code for one in advise(config({**HEAP, "name": name}))}
    assert "harm-direction" not in {
        one.code for one in advise(config({**HEAP, "name": "hidden_gems", "harm": "increase"}))
    }


WANTED = (
    "engagement|play rate|satisfaction|watch_time|minutes watched|retention|rating|likes|CTR|click rate|stars|"
    "thumbs up|shares|shares per visit|comments|completion rate|NPS|csat|dwell time|time spent|plays"
)


@pytest.mark.parametrize("name", WANTED.split("|"))
def test_harm_of_what_a_business_wants_is_told_when_it_is_turned_round(name):
    turned, falls = config({**ERRORS, "name": name, "harm": "increase"}), {"harm": "decrease", "margin": "5%"}
    assert "harm-direction" in {one.code for one in advise(turned)}
    assert "harm-direction" not in {one.code for one in advise(config({**ERRORS, "name": name, **falls}))}


@pytest.mark.parametrize("numerator", ["clicks", "likes", "liked", "rating", "shares"])
def test_a_name_that_says_nothing_is_told_by_what_it_adds_up(numerator):
    quality = {"name": "feed quality", "kind": "mean", "numerator": numerator, "denominator": "visits"}
    for harm, told in (("increase", True), ("decrease", False)):
        one = config({**quality, "harm": harm, "margin": "5%"})
        assert ("harm-direction" in {advice.code for advice in advise(one)}) is told


MACHINES = (
    "operating errors|dislikes|dissatisfaction|watchdog resets|sectors|listener lag|tcp_listen_overflows|listen queue|"
    "log retention bytes|kafka followers out of sync|circuit breaker engaged|throttle engaged|etcd watch time|"
    "watched keys|ratings lag|rating_db_connections|engagement drop|cpu shares|autosaves|playback errors|muted alerts"
)


@pytest.mark.parametrize("name", MACHINES.split("|"))
def test_names_that_look_like_them_are_not(name):
    assert "harm-direction" not in {one.code for one in advise(config({**ERRORS, "name": name, "harm": "increase"}))}


@pytest.mark.parametrize(
    "more",
    [
        {"denominator": "ratings"},
        {"name": "minutes", "numerator": "minutes"},
        {"name": "ratings given", "numerator": "ratings"},
        {"name": "rating_prompts", "numerator": "prompts"},
        {"name": "nps surveys sent", "numerator": "surveys"},
    ],
)
def test_a_mean_of_ratings_or_a_sum_of_minutes_is_no_sum_of_ratings(more):
    assert "added-up" not in {one.code for one in advise(config({**RATED, "numerator": "rating", **more}))}


@pytest.mark.parametrize(
    ("harm", "margin"), [("either", "200%"), ("either", "60%"), ("increase", "10x"), ("decrease", "50%")]
)
def test_margins_that_are_meant_are_no_wide_ones(harm, margin):
    assert "wide-margin" not in {one.code for one in advise(config({**HEAP, "harm": harm, "margin": margin}))}


USUAL = {
    "increase": "memory|heap used|restarts|queue depth|consumer lag|gc pause|wait time|failed payments|rejected orders|"
    "slow checkouts|4xx|http 500s|duration|response time|retries|page faults",
    "decrease": "clicks|memory headroom|free memory|heap remaining|sessions duration|watch duration|apdex|2xx|"
    "throughput|hit ratio|cache hits|logins|purchases",
}
# more of it may be either, or words of both directions are in it
NEITHER = ("sessions duration", "watch duration", "rejected orders", "memory headroom", "free memory", "heap remaining")


@pytest.mark.parametrize("harm", USUAL)
def test_the_harm_of_usual_names_is_told_where_it_is_turned_round(harm):
    other = {"increase": "decrease", "decrease": "increase"}[harm]
    for name in USUAL[harm].split("|"):
        for way, told in ((harm, False), (other, name not in NEITHER)):
            metric = {"name": name, "kind": "gauge", "query": "g", "harm": way, "margin": "10%"}
            found = advise(JudgeConfig.from_mapping({"name": "x", "interval": "1m", "metrics": [metric]}))
            assert any(one.code == "harm-direction" for one in found) is told, (name, way)


@pytest.mark.parametrize(("margin", "told"), [("150%", True), ("100%", True), ("99%", False), ("2.5x", False)])
def test_more_than_all_in_percent_may_be_a_factor(margin, told):
    found = {one.code: one.text for one in advise(config({**HEAP, "margin": margin}))}
    assert ("percent-margin" in found) is told
    if margin == "150%":
        assert "a margin of 150% is 2.5x of the baseline" in found["percent-margin"]
        assert found["percent-margin"].endswith("if 1.5x is meant, write that")


@pytest.mark.parametrize(("limit", "told"), [("5", True), ("0.001", False), ("0.02", True)])
@pytest.mark.parametrize("exposure", [None, "batches"])
def test_a_limit_of_a_rate_by_time_is_per_second(limit, told, exposure):
    rate = {"name": "restarts", "kind": "rate", "events": "r", "harm": "increase", "limit": limit}
    found = {one.code: one.text for one in advise(config(rate if exposure is None else {**rate, "exposure": exposure}))}
    assert ("limit-per-second" in found) is (told and exposure is None)
    if limit == "5" and exposure is None:
        assert "5 is one per second of each instance's time, 1.8e+04 an hour" in found["limit-per-second"]


@pytest.mark.parametrize("margin", ["1e-15%", "0.00000000000001%"])
def test_a_margin_that_is_lost_in_rounding_is_refused(margin):
    with pytest.raises(ConfigError, match="times it, nothing is another number: give a larger one"):
        config({**HEAP, "margin": margin})
