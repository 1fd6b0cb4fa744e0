"""A metric by user: what the moments of both sides may be used for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from canary_judge import JudgeConfig
from canary_judge.errors import ConfigError
from canary_judge.judging import judge_samples
from canary_judge.moments import Moments, UserMoments
from canary_judge.results import Outcome, Scale, Side, Verdict
from canary_judge.samples import MetricSamples, Samples, UserData
from canary_judge.samples.grid import Unusable
from canary_judge.samples.users import user_samples
from canary_judge.series import Form, Result, Window, nanoseconds

START = datetime(2026, 11, 18, tzinfo=UTC)
END = START + timedelta(hours=48)
METRIC = {
    "name": "clicks",
    "kind": "ratio",
    "events": "clicks",
    "total": "impressions",
    "unit_of_replication": "user",
    "harm": "decrease",
    "margin": "10%",
}


def config(metric=METRIC, **more) -> JudgeConfig:
    return JudgeConfig.from_mapping({"name": "feed", "interval": "1h", "metrics": [metric], **more})


def totals(seed: int, users: int, rate: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    busy = np.exp(0.7 * rng.standard_normal(users))
    seen, before = rng.poisson(20 * busy) + 1.0, rng.poisson(40 * busy) + 0.0
    taste = np.exp(0.6 * rng.standard_normal(users) - 0.18)
    clicks, then = (rng.binomial(n.astype(int), np.clip(p * taste, 0, 1)) for n, p in ((seen, rate), (before, 0.1)))
    return np.column_stack([clicks, seen, then, before]).astype(float)


def side(rows: np.ndarray, **more) -> UserMoments:
    whole = Moments.of(rows)
    known = {"whole": whole, "rows": 3 * whole.users, "latest": nanoseconds(END) - 60 * 10**9}
    return UserMoments(**{**known, "since": nanoseconds(START), "until": nanoseconds(END), **more})


def judged(baseline: UserMoments, canary: UserMoments, metric=METRIC, **more):
    samples = MetricSamples(data=UserData(baseline=baseline, canary=canary))
    return judge_samples(config(metric, **more), Samples(window=Window(START, END), metrics={metric["name"]: samples}))


def of(rows_b: np.ndarray, rows_c: np.ndarray, metric=METRIC, **more):
    return judged(side(rows_b), side(rows_c), metric, **more)[metric["name"]]


def test_alike_is_safe_and_half_of_the_clicks_is_a_regression():
    baseline, alike, worse = totals(1, 20_000), totals(2, 3000), totals(3, 3000, 0.05)
    found = of(baseline, alike)
    assert found.outcome is Outcome.SAFE
    assert "3,000 against 20,000 users, CUPED saves" in found.reason
    assert of(baseline, worse).outcome is Outcome.REGRESSED
    whole = judged(side(baseline), side(worse))
    assert whole.verdict is Verdict.FAIL
    text = whole.explain()
    assert "clicks" in text
    assert "users" in text
    assert whole.from_json(whole.to_json()) == whole


@pytest.mark.parametrize(
    ("users", "outcome", "told"),
    [
        (0, Outcome.INSUFFICIENT, "0 users were seen on the canary, at least 100"),
        (1, Outcome.INSUFFICIENT, "1 users"),
        (99, Outcome.INSUFFICIENT, "99 users were seen on the canary"),
        (100, Outcome.REGRESSED, "beyond the margin"),
    ],
)
def test_below_a_hundred_users_nothing_is_said(users, outcome, told):
    dead = totals(3, users)
    dead[:, 0] = 0
    found = of(totals(1, 20_000), dead)
    assert found.outcome is outcome
    assert told in found.reason
    if users < 100:
        assert found.shortfall.needs == "canary users"
        assert found.shortfall.required == 100
    few = of(dead[: min(users, 99)], totals(1, 20_000))
    assert "seen on the baseline" in few.reason


def test_a_pass_needs_two_hundred_users():
    # so like each other that 150 would do
    def users(number):
        rows = np.column_stack([np.full(number, 10.0), np.full(number, 20.0), np.zeros(number), np.zeros(number)])
        rows[::2, 0] += 0.1
        return rows

    found = of(users(20_000), users(150))
    assert found.outcome is Outcome.INSUFFICIENT
    assert "fewer than the 200 that safety needs" in found.reason
    assert of(users(20_000), users(250)).outcome is Outcome.SAFE


def test_an_undecided_metric_says_how_many_users_it_needs():
    found = of(totals(1, 20_000), totals(2, 300), {**METRIC, "margin": "3%"})
    assert found.outcome is Outcome.INSUFFICIENT
    short = found.shortfall
    assert short.needs == "canary users"
    assert short.required > 300
    assert short.weight_percent > 2
    assert "so much usually shows a margin of" in short.text
    # what it asks for would do
    assert of(totals(1, 20_000), totals(2, int(1.3 * short.required)), {**METRIC, "margin": "3%"}).outcome in (
        Outcome.SAFE,
        Outcome.INCONCLUSIVE,
    )


def test_everybody_alike_tells_nothing_of_chance():
    same = np.column_stack([np.ones(500), np.ones(500), np.zeros(500), np.zeros(500)])
    found = of(same, same)
    assert found.outcome is Outcome.INSUFFICIENT
    assert "same value" in found.reason


def test_without_a_denominator_there_is_no_level():
    rows = totals(1, 500)
    rows[:, :2] = 0
    found = of(totals(1, 500), rows)
    assert found.outcome is Outcome.NO_DATA
    assert "`impressions` of all users is 0" in found.reason


def test_no_event_on_the_baseline_is_no_level_and_harm_is_still_found():
    metric = {**METRIC, "name": "errors", "harm": "increase"}
    none, some = totals(1, 20_000, 0.0), totals(2, 2000, 0.01)
    none[:, 2] = some[:, 2] = 0
    found = of(none, none[:2000], metric)
    assert found.outcome is Outcome.INSUFFICIENT
    few = totals(4, 20_000, 0.00001)
    few[:, 2] = 0
    clean = totals(5, 2000, 0.0)
    clean[:, 2] = 0
    assert "not known to be other than 0" in of(few, clean, metric).reason
    assert of(none, some, metric).outcome is Outcome.REGRESSED


def test_strays_of_the_canary_forbid_a_pass_and_many_of_them_everything():
    baseline, canary = side(totals(1, 20_000)), side(totals(2, 3000))
    assert judged(baseline, replace(canary, strays=100))["clicks"].outcome is Outcome.SAFE
    some = judged(baseline, replace(canary, strays=200))["clicks"]
    assert some.outcome is Outcome.INSUFFICIENT
    assert "6% of the canary's users were seen on the baseline, too: is the assignment sticky" in some.reason
    assert any("200 users were seen on both sides and are left out" in text for text in some.warnings)
    many = judged(baseline, replace(side(totals(3, 3000, 0.01)), strays=1000))["clicks"]
    assert many.outcome is Outcome.INSUFFICIENT
    assert "25%" in many.reason


def test_one_giant_is_told():
    rows = totals(2, 3000)
    rows[0, 1] = 0.2 * rows[:, 1].sum()
    found = of(totals(1, 20_000), rows, {**METRIC, "margin": "60%"})
    assert found.outcome is Outcome.INSUFFICIENT
    assert "one user makes 17% of the canary: a bot? `cap` counts no user for more" in found.reason
    assert found.shortfall is None  # no wider margin does away with him
    # the busiest of a hundred has more than 5 % by chance
    busy = [of(totals(1, 20_000), totals(seed, 120)).reason for seed in range(20)]
    assert not any("a bot" in text for text in busy)


def test_rows_without_a_user_are_told_and_forbid_a_pass():
    baseline, canary = side(totals(1, 20_000)), side(totals(2, 3000))
    alike = judged(replace(baseline, anonymous=6000), replace(canary, anonymous=1000))["clicks"]
    assert alike.outcome is Outcome.SAFE
    assert any("1,000 of 10,000 rows of the canary have no user" in text for text in alike.warnings)
    for few, many, told in ((0, 1000, ": why do they differ?"), (20_000, 3000, ", more than 20%: those left out may")):
        found = judged(replace(baseline, anonymous=few), replace(canary, anonymous=many))["clicks"]
        assert found.outcome is Outcome.INSUFFICIENT
        assert f"are rows without a user{told}" in found.reason


def test_rows_of_one_side_that_stopped_are_late():
    baseline, canary = side(totals(1, 20_000)), side(totals(2, 3000))
    old = nanoseconds(END) - 3 * 3600 * 10**9
    found = judged(baseline, replace(canary, latest=old))["clicks"]
    assert found.outcome is Outcome.INSUFFICIENT
    assert "the canary's rows are late: the newest is 3h00m old" in found.reason
    # both, as in a night
    assert judged(replace(baseline, latest=old), replace(canary, latest=old))["clicks"].outcome is Outcome.SAFE
    # of a thin canary a pause is none
    assert judged(baseline, replace(canary, latest=old, rows=100))["clicks"].outcome is Outcome.SAFE


def test_users_who_differed_before_are_not_drawn_by_chance():
    chosen = totals(2, 3000)
    chosen[:, 2] *= 1.4
    found = of(totals(1, 20_000), chosen)
    assert found.outcome is not Outcome.SAFE
    assert any("differed before the run already, by" in text for text in found.warnings)
    alike = of(totals(1, 20_000), totals(2, 3000))
    assert not any("differed before" in text for text in alike.warnings)


def test_an_effect_that_fades_is_no_pass():
    def thirds(early, late, seed):
        return {"early": Moments.of(totals(seed, 8000, early)), "late": Moments.of(totals(seed + 1, 8000, late))}

    baseline = side(totals(1, 20_000), **thirds(0.1, 0.1, 10))
    found = judged(baseline, side(totals(2, 8000, 0.102), **thirds(0.11, 0.095, 20)))["clicks"]
    assert found.outcome is Outcome.INSUFFICIENT
    assert "the effect fades: +" in found.reason
    assert "in the first 16h00m, -" in found.reason
    grows = judged(baseline, side(totals(2, 8000, 0.099), **thirds(0.098, 0.08, 20)))["clicks"]
    assert "the harm grows: -" in grows.reason
    assert "fades" not in grows.reason
    better = judged(baseline, side(totals(2, 8000, 0.102), **thirds(0.095, 0.11, 20)))["clicks"]
    assert better.outcome is Outcome.SAFE
    assert any("the effect changes" in text for text in better.warnings)


def test_values_that_are_missing_on_one_side_are_no_zeros():
    baseline, canary = side(totals(1, 20_000), undefined=600), side(totals(2, 3000), undefined=90)
    assert judged(baseline, canary)["clicks"].outcome is Outcome.SAFE  # of both, as where nothing was bought
    found = judged(baseline, replace(canary, undefined=900))["clicks"]
    assert found.outcome is Outcome.INSUFFICIENT
    assert "10% of the canary and 1% of the baseline are rows without `clicks`, which count as 0" in found.reason


def test_a_cap_that_leaves_out_more_of_one_side():
    metric = {**METRIC, "cap": 50}
    fine = judged(side(totals(1, 20_000), capped=0.2), side(totals(2, 3000), capped=0.2), metric)["clicks"]
    assert fine.outcome is Outcome.SAFE
    assert any(
        "the cap leaves out 20% of the canary's and 20% of the baseline's `impressions`" in text
        for text in fine.warnings
    )
    found = judged(side(totals(1, 20_000), capped=0.2), side(totals(2, 3000), capped=0.4), metric)["clicks"]
    assert found.outcome is Outcome.INSUFFICIENT
    assert "beyond the cap of 50" in found.reason


def test_a_canary_that_ran_before_takes_nothing_off():
    rows = totals(2, 3000, 0.08)
    rows[:, 2] = np.floor(rows[:, 2] * 0.8)  # and did the same harm then
    found = judged(side(totals(1, 20_000)), side(rows, before=4000))["clicks"]
    assert found.outcome is Outcome.REGRESSED
    assert "CUPED" not in found.comparison.method
    assert any("4,000 rows in the time before the run" in text for text in found.warnings)
    healthy = judged(side(totals(1, 20_000)), side(totals(2, 3000), before=4000))["clicks"]
    assert healthy.outcome is Outcome.INSUFFICIENT
    assert judged(side(totals(1, 20_000)), side(totals(2, 3000), before=3))["clicks"].outcome is Outcome.SAFE


def test_harm_that_only_the_past_tells_is_none_where_the_past_cannot_be_compared():
    mean = {"name": "minutes", "kind": "mean", "numerator": "minutes", "harm": "increase", "margin": "10%"}
    rng = np.random.default_rng(1)

    def users(number, known):
        x = np.exp(rng.standard_normal(number))
        there = rng.random(number) < known
        return np.column_stack([x, np.ones(number), np.where(there, x, 0), there])

    # ids that history does not know, of the canary alone
    found = judged(side(users(20_000, 1.0), known=20_000), side(users(3000, 0.0), known=0), mean)["minutes"]
    assert found.outcome is Outcome.INSUFFICIENT
    assert "differed before the run already" in found.reason
    some = judged(side(users(20_000, 0.9), known=18_000), side(users(3000, 0.6), known=1800), mean)["minutes"]
    assert some.outcome is Outcome.INSUFFICIENT
    alike = judged(side(users(20_000, 0.9), known=18_000), side(users(3000, 0.9), known=2690), mean)["minutes"]
    assert alike.outcome is Outcome.SAFE


def test_ids_that_nobody_had_before_are_sessions():
    found = judged(side(totals(1, 20_000), known=100), side(totals(2, 3000), known=15))["clicks"]
    assert found.outcome is Outcome.INSUFFICIENT
    assert "are these ids of sessions? If all users are new, leave `history` out" in found.reason
    assert judged(side(totals(1, 20_000), known=None), side(totals(2, 3000)))["clicks"].outcome is Outcome.SAFE


@pytest.mark.parametrize(("number", "once"), [((16_000, 5000), "canary"), ((5000, 16_000), "baseline")])
def test_ids_that_come_once_on_one_side_only_are_of_sessions(number, once):
    def with_rows(seed, number):
        return replace(side(totals(seed, 5000)), rows=number)

    found = judged(with_rows(1, number[0]), with_rows(2, number[1]))["clicks"]
    assert found.outcome is Outcome.INSUFFICIENT
    assert f"every user of the {once} has one row, and those of the " in found.reason
    assert f"3.2 on average: are these ids of sessions on the {once}?" in found.reason
    alike = judged(with_rows(1, 5000), with_rows(2, 6000))["clicks"]
    assert "sessions" not in alike.reason


def test_events_and_total_that_are_swapped_are_no_share():
    rows_b, rows_c = totals(1, 20_000)[:, [1, 0, 3, 2]], totals(2, 3000)[:, [1, 0, 3, 2]]
    found = of(rows_b, rows_c)
    assert found.outcome is Outcome.ERROR
    assert "these are no share: are they swapped?" in found.reason


@pytest.mark.parametrize("hours", [2, 6])
def test_a_side_that_began_later_is_counted_over_less_time(hours):
    mean = {"name": "minutes", "kind": "mean", "numerator": "minutes", "harm": "decrease", "margin": "30%"}
    early, late = nanoseconds(START) + 60 * 10**9, nanoseconds(START) + hours * 3600 * 10**9
    baseline, canary = (side(totals(seed, 5000), earliest=early) for seed in (1, 2))
    assert judged(baseline, canary, mean)["minutes"].outcome is Outcome.SAFE
    found = judged(baseline, replace(canary, earliest=late), mean)["minutes"]
    assert found.outcome is Outcome.INSUFFICIENT
    assert f"the canary's first row comes {hours}h00m after the baseline's could" in found.reason
    # of a ratio no length is longer, but the hours of the day are others
    assert judged(baseline, replace(canary, earliest=late))["clicks"].outcome is Outcome.INSUFFICIENT


def test_a_hole_in_the_rows_of_one_side_is_seen():
    def thirds(early, late):
        return {"early": Moments.of(totals(8, early)), "late": Moments.of(totals(9, late))}

    fine = judged(side(totals(1, 20_000), **thirds(9000, 9000)), side(totals(2, 3000), **thirds(1350, 1380)))["clicks"]
    assert fine.outcome is Outcome.SAFE
    found = judged(side(totals(1, 20_000), **thirds(9000, 9000)), side(totals(2, 3000), **thirds(900, 1380)))["clicks"]
    assert found.outcome is Outcome.INSUFFICIENT
    assert "are there holes in its rows?" in found.reason


def test_rows_of_nobody_that_have_stopped_for_long_are_old():
    old = nanoseconds(END) - 20 * 3600 * 10**9
    found = judged(side(totals(1, 20_000), latest=old), side(totals(2, 3000), latest=old))["clicks"]
    assert found.outcome is Outcome.INSUFFICIENT
    assert "neither side has a row of the last 20h00m" in found.reason


def test_rounding_is_no_difference_between_users():
    same = np.column_stack([np.full(9000, 0.1), np.ones(9000), np.zeros(9000), np.zeros(9000)])
    mean = {
        "name": "minutes",
        "kind": "mean",
        "numerator": "minutes",
        "harm": "decrease",
        "margin": "10%",
        "fail_when": "any_harm",
    }
    found = of(same, same[:900] * 1.0, mean)
    assert found.outcome is Outcome.INSUFFICIENT
    assert "same value" in found.reason


@pytest.mark.parametrize("factor", [1e100, 1e-100])
def test_values_near_the_ends_of_floats_are_an_error(factor):
    found = side(totals(1, 500))
    far = replace(found, whole=replace(found.whole, mean=found.whole.mean * factor))
    results = {("users", one): Result(form=Form.MOMENTS, moments=far) for one in Side}
    with pytest.raises(Unusable, match="cannot be compared"):
        user_samples(results, Window(START, END).edges(timedelta(hours=1)))


def test_users_that_are_missing_hold_the_canary():
    baseline, canary = side(totals(1, 60_000)), side(totals(2, 1000))
    whole = judged(baseline, canary, traffic={"weight": 2})
    assert whole.verdict is Verdict.MARGINAL
    assert whole.traffic.counted == "users"
    assert "users are missing on the canary (1,000 of 1,220 expected)" in whole.traffic.finding
    assert any("users are missing" in text for text in whole.reasons)
    fine = judged(baseline, side(totals(2, 1224)), traffic={"weight": 2})
    assert not fine.traffic.finding
    more = judged(baseline, side(totals(2, 1800)), traffic={"weight": 2})
    assert "more users are on the canary" in more.traffic.finding


def test_a_source_that_left_something_out_forbids_a_pass():
    data = UserData(baseline=side(totals(1, 20_000)), canary=side(totals(2, 3000)))
    samples = MetricSamples(data=data, complete=False)
    found = judge_samples(config(), Samples(window=Window(START, END), metrics={"clicks": samples}))["clicks"]
    assert found.outcome is Outcome.INSUFFICIENT
    assert "may have left data out" in found.reason


def test_minutes_per_user_and_stars_per_rating():
    rng = np.random.default_rng(1)

    def minutes(number, factor):
        x = np.exp(rng.standard_normal(number))
        then = x * np.exp(rng.standard_normal(number) / 2)
        return np.column_stack([x * factor, np.ones(number), then, np.ones(number)])

    mean = {"name": "engagement", "kind": "mean", "numerator": "minutes", "harm": "decrease", "margin": "5%"}
    good = of(minutes(50_000, 1.0), minutes(10_000, 1.0), mean)
    assert good.outcome is Outcome.SAFE
    assert good.comparison.method.startswith("mean by user, CUPED")
    assert good.comparison.variance_saved > 0.2
    assert of(minutes(50_000, 1.0), minutes(10_000, 0.85), mean).outcome is Outcome.REGRESSED

    def stars(number, shift):
        given = rng.poisson(0.3, number).astype(float)
        return np.column_stack(
            [given * np.clip(np.round(3.5 + shift + rng.standard_normal(number)), 1, 5), given, 0 * given, 0 * given]
        )

    rating = {
        "name": "stars",
        "kind": "mean",
        "numerator": "rating",
        "denominator": "ratings",
        "harm": "decrease",
        "margin": "+0.2",
    }
    found = of(stars(50_000, 0), stars(5000, 0), rating)
    assert found.outcome is Outcome.SAFE
    assert found.comparison.margin == -0.2
    assert of(stars(50_000, 0), stars(5000, -0.5), rating).outcome is Outcome.REGRESSED


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ({"kind": "rate", "events": "clicks", "unit_of_replication": "user"}, "kind rate has no users"),
        ({"kind": "gauge", "query": "clicks", "unit_of_replication": "user"}, "kind gauge has no users"),
        ({"kind": "mean", "numerator": "x", "unit_of_replication": "request"}, "kind mean is by user"),
        ({"kind": "mean", "numerator": "x", "margin": "+0.5"}, "must be relative"),
        ({"kind": "mean", "numerator": "x", "limit": 3}, "limit: is not judged by user"),
        ({"kind": "mean", "numerator": "x", "denominator": "x"}, "are both 'x'"),
        ({"kind": "mean", "numerator": "x", "cap": 0}, "above 0"),
        ({"kind": "mean", "numerator": ""}, "at least 1 character"),
        ({"kind": "ratio", "events": "a", "total": "b", "cap": 3}, "needs `unit_of_replication: user`"),
        (
            {"kind": "ratio", "events": {"baseline": "a", "canary": "c"}, "total": "b", "unit_of_replication": "user"},
            "one text each",
        ),
    ],
)
def test_configs_that_cannot_be_meant(metric, told):
    with pytest.raises(ConfigError, match=told):
        config({"name": "m", "harm": "decrease", "margin": "10%", **metric})


def test_what_is_not_set_does_not_change_what_a_config_is():
    plain = {"name": "m", "kind": "ratio", "events": "a", "total": "b", "harm": "increase", "margin": "10%"}
    assert (
        config(plain).hash() == "c06158808251ee88e37c2354087fefcf6784c8c09d68bb363c8961aafbab8f80"
    )  # of the version before metrics by user


def raters(seed: int, users: int, rated: float, stars: float = 4.0) -> np.ndarray:
    """Stars of one rating each, of those who rate; what users did before is not asked."""
    rng = np.random.default_rng(seed)
    own = rng.random(users) < rated
    given = np.clip(np.round(rng.normal(stars, 1.0, users)), 1, 5) * own
    return np.column_stack([given, own, np.zeros((users, 2))])


STARS = {
    "name": "stars",
    "kind": "mean",
    "numerator": "stars",
    "denominator": "ratings",
    "margin": "+0.3",
    "harm": "decrease",
    "unit_of_replication": "user",
}


@pytest.mark.parametrize(("rated", "safe"), [(0.03, False), (0.5, True)])
def test_few_who_rate_among_many_users_tell_nothing(rated, safe):
    found = of(raters(1, 12_000, rated), raters(2, 600, rated), STARS)
    assert (found.outcome is Outcome.SAFE) is safe
    assert safe or "users have `ratings`, fewer than the 50 that safety needs" in found.reason


def test_a_pass_by_few_raters_is_no_more_often_false_than_promised():
    """Half a star is lost, and a third tolerated: of 100 canaries with some 15 raters none passes."""
    passed = [
        of(raters(seed, 12_000, 0.025), raters(1000 + seed, 600, 0.025, stars=3.5), STARS).outcome is Outcome.SAFE
        for seed in range(100)
    ]
    assert not any(passed)


def test_those_who_do_not_rate_any_more_may_be_the_unhappy_ones():
    usual = raters(1, 20_000, 0.5)
    unhappy = raters(2, 4_000, 0.5)
    unhappy[unhappy[:, 0] <= 3, :2] = 0
    found = of(usual, unhappy, STARS)
    assert found.outcome is Outcome.INSUFFICIENT
    assert "x as many `ratings` as the baseline's: what is no more there may be what went wrong" in found.reason
    assert of(usual, raters(3, 4_000, 0.45), STARS).outcome is Outcome.SAFE


@pytest.mark.parametrize(("users", "safe"), [(800, False), (40_000, True)])
def test_a_few_users_with_an_event_at_the_margin_tell_nothing(users, safe):
    rng = np.random.default_rng(4)
    crashes = {"name": "c", "kind": "ratio", "events": "crashes", "total": "sessions", "harm": "increase"}
    metric = {**crashes, "margin": "+0.5pp", "unit_of_replication": "user"}

    def sessions(number):
        return np.column_stack([rng.random(number) < 0.002, np.ones(number), np.zeros((number, 2))]).astype(float)

    found = of(sessions(60_000), sessions(users), metric)
    assert (found.outcome is Outcome.SAFE) is safe
    assert safe or "of the canary's users would have `crashes` at the margin, fewer than the 12" in found.reason


def test_few_busy_users_are_not_few_users():
    """Visits that differ a lot: the delta method holds its level, and all users have some."""
    for seed in range(20):
        rng = np.random.default_rng(seed)

        def visits(users, rng=rng):
            seen = 1.0 + rng.poisson(np.exp(1.4 * rng.standard_normal(users) + 0.8))
            return np.column_stack([rng.binomial(seen.astype(int), 0.05), seen, np.zeros((users, 2))]).astype(float)

        assert "have `impressions`" not in of(visits(6000), visits(300), {**METRIC, "margin": "50%"}).reason


def test_a_denominator_that_is_judged_by_itself_holds_nothing_up():
    usual, fewer = raters(1, 20_000, 0.5), raters(2, 4_000, 0.3)
    ratings = {"name": "ratings", "kind": "mean", "numerator": "ratings", "margin": "60%", "harm": "decrease"}
    alone = of(usual, fewer, STARS)
    assert "may be what went wrong" in alone.reason
    per_rating = MetricSamples(data=UserData(baseline=side(usual), canary=side(fewer)))
    rows = [np.column_stack([one[:, 1], np.ones(len(one)), np.zeros((len(one), 2))]) for one in (usual, fewer)]
    per_user = MetricSamples(data=UserData(baseline=side(rows[0]), canary=side(rows[1])))
    both = JudgeConfig.from_mapping(
        {"name": "feed", "interval": "1h", "metrics": [STARS, {**ratings, "unit_of_replication": "user"}]}
    )
    samples = Samples(window=Window(START, END), metrics={"stars": per_rating, "ratings": per_user})
    assert "may be what went wrong" not in judge_samples(both, samples)["stars"].reason


def test_a_mean_that_falls_below_nothing_is_shown_as_a_difference():
    """As a ratio its interval would have no end on the right side."""
    rng = np.random.default_rng(1)
    baseline, canary = (
        np.column_stack([rng.normal(mean, 2, 6000), np.ones(6000), np.zeros((6000, 2))]) for mean in (1.0, -0.5)
    )
    metric = {"name": "profit", "kind": "mean", "numerator": "profit", "harm": "decrease", "margin": "10%"}
    found = of(baseline, canary, metric)
    low, high = found.comparison.interval
    assert found.comparison.scale is Scale.DIFFERENCE
    assert low < found.comparison.effect < high
    assert found.outcome is Outcome.REGRESSED
