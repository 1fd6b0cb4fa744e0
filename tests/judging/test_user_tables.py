"""Tables of what users did, as they are when something went wrong: holes, caps, signs."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from canary_judge import JudgeConfig, Monitor, Outcome, Window, judge
from canary_judge.errors import DataError
from canary_judge.history.archiving import record
from canary_judge.sources import FrameSource

MINUTES = {"kind": "mean", "numerator": "minutes", "margin": "15%"}
CLICKS = {"kind": "ratio", "events": "clicks", "total": "impressions", "unit_of_replication": "user", "margin": "10%"}


def table(minutes=1.0, clicks=0.3, seed=5):
    """A day of 4,000 and 1,000 users, with the canary's minutes and clicks."""
    rng, rows = np.random.default_rng(seed), []
    for side, users, times, share in (("baseline", 4000, 1.0, 0.3), ("canary", 1000, minutes, clicks)):
        user = np.repeat(np.arange(users), rng.poisson(6, users) + 1)
        shown = rng.integers(1, 4, user.size)
        rows.append(
            pd.DataFrame(
                {
                    "hour": rng.uniform(0, 24, user.size),
                    "side": side,
                    "user": [f"{side}{one}" for one in user],
                    "impressions": shown,
                    "clicks": rng.binomial(shown, share),
                    "minutes": rng.exponential(3, user.size) * times,
                }
            )
        )
    found = pd.concat(rows, ignore_index=True)
    found["timestamp"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(found["hour"], unit="h")
    return found


def judged(rows, metric):
    settings = {"name": "x", "interval": "1h", "metrics": [{"name": "m", "harm": "decrease", **metric}]}
    config, source = JudgeConfig.from_mapping(settings), FrameSource(rows.drop(columns="hour"))
    return judge(config, source, source.window("1h"))["m"]


@pytest.mark.parametrize(("minutes", "whole"), [(1.0, Outcome.SAFE), (0.8, Outcome.REGRESSED)])
@pytest.mark.parametrize("side", ["baseline", "canary"])
@pytest.mark.parametrize("hours", [(8, 12), (9, 14), (8, 10.5)])
@pytest.mark.parametrize("cap", [None, 60])
def test_a_hole_in_the_middle_of_one_side_is_seen(minutes, whole, side, hours, cap):
    rows, metric = table(minutes), {**MINUTES, **({} if cap is None else {"cap": cap})}
    assert judged(rows, metric).outcome is whole
    found = judged(rows[(rows["side"] != side) | ~rows["hour"].between(*hours)], metric)
    assert found.outcome is Outcome.INSUFFICIENT
    assert "third of the time: are there holes in the rows" in found.reason


@pytest.mark.parametrize("minutes", [0.6, 1.6])
def test_what_an_effect_changes_of_a_cap_is_no_hole(minutes):
    found = judged(table(minutes), {**MINUTES, "cap": 25, "harm": "either"})
    assert found.outcome is Outcome.REGRESSED


@pytest.mark.parametrize("seed", range(6))
def test_a_night_of_both_sides_is_no_hole(seed):
    rows = table(0.8, seed=seed)
    quiet = rows[~rows["hour"].between(9, 13) | (np.random.default_rng(seed).uniform(size=len(rows)) < 0.1)]
    assert judged(quiet, MINUTES).outcome in (Outcome.REGRESSED, Outcome.DEGRADED)


@pytest.mark.parametrize(("cap", "outcome"), [(1, Outcome.INSUFFICIENT), (60, Outcome.REGRESSED)])
def test_a_cap_that_leaves_out_nearly_everything_hides_the_harm(cap, outcome):
    found = judged(table(0.5), {**MINUTES, "cap": cap})
    assert found.outcome is outcome
    assert ("hardly tells them apart; raise `cap`" in found.reason) is (cap == 1)


def test_events_of_the_wrong_sign_are_refused():
    rows = table(clicks=0.2)
    assert judged(rows, CLICKS).outcome is Outcome.REGRESSED
    found = judged(rows.assign(clicks=-rows["clicks"]), CLICKS)
    assert found.outcome is Outcome.ERROR
    assert "`clicks` each, and a count is not negative" in found.reason


def test_a_cap_of_one_asks_who_did_it_at_all():
    """Most clicks are left out, and the share of users who clicked is what was asked for."""
    found = judged(table(), {"kind": "mean", "numerator": "clicks", "cap": 1, "margin": "10%"})
    assert found.outcome is Outcome.SAFE


def visits(seed, *, effect, hours, night=0.005):
    """Users by day and hardly any at night, from an hour after midnight on."""
    rng, users = np.random.default_rng(seed), 6000
    user = np.repeat(np.arange(users), rng.poisson(4, users) + 1)
    hour = rng.uniform(1, 1 + hours, user.size)
    awake = rng.random(user.size) < np.where((hour % 24 >= 7) & (hour % 24 < 23), 1.0, night)
    user, hour = user[awake], hour[awake]
    side = np.where(user % 5 == 0, "canary", "baseline")
    minutes = rng.lognormal(1, 0.6, user.size) * np.where(side == "canary", effect, 1)
    times = pd.Timestamp("2026-01-05", tz="UTC") + pd.to_timedelta(hour, unit="h")
    return pd.DataFrame({"timestamp": times, "hour": hour, "side": side, "user": user.astype(str), "minutes": minutes})


@pytest.mark.parametrize("effect", [1.0, 0.6])
def test_a_run_that_begins_or_ends_at_night_is_not_late(effect):
    told = []
    for seed in range(8):
        for hours in (46, 27.5):  # to the evening, and to before dawn
            rows = visits(seed, effect=effect, hours=hours)
            settings = {"name": "x", "interval": "1h", "metrics": [{"name": "m", "harm": "decrease", **MINUTES}]}
            source = FrameSource(rows.drop(columns="hour"))
            start = datetime(2026, 1, 5, 1, tzinfo=UTC)
            found = judge(JudgeConfig.from_mapping(settings), source, Window(start, start + timedelta(hours=hours)))[
                "m"
            ]
            told += [found.reason] if "first row comes" in found.reason or "rows are late" in found.reason else []
            assert (found.outcome is Outcome.REGRESSED) is (effect < 1), found.reason
    assert len(told) <= 1


def test_a_canary_that_has_died_at_noon_is_late():
    rows = visits(1, effect=1.0, hours=36)
    died = rows[(rows["side"] == "baseline") | (rows["hour"] < 34)]
    start = datetime(2026, 1, 5, 1, tzinfo=UTC)
    settings = {"name": "x", "interval": "1h", "metrics": [{"name": "m", "harm": "decrease", **MINUTES}]}
    source = FrameSource(died.drop(columns="hour"))
    found = judge(JudgeConfig.from_mapping(settings), source, Window(start, start + timedelta(hours=36)))["m"]
    assert found.outcome is Outcome.INSUFFICIENT
    assert "the canary's rows are late" in found.reason or "are there holes in its rows?" in found.reason


def bought(seed, *, buying, bot=0.0):
    """Revenue of 16,000 and 4,000 users of whom a part buy; a bot of the canary has a share of all of it."""
    rng, users = np.random.default_rng(seed), 20_000
    side = np.where(np.arange(users) % 5 == 0, "canary", "baseline")
    revenue = np.where(rng.random(users) < buying, rng.lognormal(3.5, 0.8, users), 0)
    if bot:
        revenue[0] = revenue[side == "canary"].sum() * bot / (1 - bot)
    hour = np.sort(rng.uniform(0, 24, users))
    times = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(hour, unit="h")
    user = rng.permutation(users).astype(str)
    return pd.DataFrame({"timestamp": times, "hour": hour, "side": side, "user": user, "revenue": revenue})


def giant(rows):
    return "one user makes" in judged(rows, {"kind": "mean", "numerator": "revenue", "margin": "60%"}).reason


def test_one_of_few_buyers_is_hardly_ever_taken_for_a_bot():
    """Of 40 buyers the largest makes more than 5 %: all were held; now one in four or five."""
    assert sum(giant(bought(seed, buying=0.01)) for seed in range(20)) <= 6


@pytest.mark.parametrize(("buying", "bot"), [(0.3, 0.08), (0.01, 0.3)])
def test_a_bot_is_one_also_among_few_buyers(buying, bot):
    assert all(giant(bought(seed, buying=buying, bot=bot)) for seed in range(10))


def test_strays_take_a_mean_of_each_user_away_and_not_one_of_what_they_did():
    """Who comes more often strays sooner, so that what is left of the canary has fewer minutes each."""
    rows = table()
    strayed = rows["side"].eq("canary") & (np.random.default_rng(1).uniform(size=len(rows)) < 0.012)
    rows.loc[strayed, "side"] = "baseline"
    found = judged(rows, {**MINUTES, "margin": "3%"})
    assert found.outcome is Outcome.INSUFFICIENT
    assert "of the canary's users were seen on the baseline, too" in found.reason
    assert found.comparison.effect < 1
    # harm that is larger than what strays can do is found
    bad = table(minutes=0.6)
    bad.loc[strayed, "side"] = "baseline"
    assert judged(bad, {**MINUTES, "margin": "3%"}).outcome is Outcome.REGRESSED


@pytest.mark.parametrize("hours", [1, 2])
def test_a_canary_that_breaks_at_its_end_is_no_pass(hours):
    rows, metric = table(clicks=0.33), {**CLICKS, "margin": "25%"}
    assert judged(rows, metric).outcome is Outcome.SAFE
    rows.loc[(rows["side"] == "canary") & (rows["hour"] > 24 - hours), "clicks"] = 0
    found = judged(rows, metric)
    assert found.outcome is not Outcome.SAFE
    assert "the effect of the last 2h00m is -" in found.reason


def test_an_end_like_the_rest_is_seldom_held():
    """At three standard errors, by one in 700; the promise is of none in 40."""
    held = [judged(table(seed=seed), {**CLICKS, "margin": "25%"}).reason.count("did it break") for seed in range(40)]
    assert sum(held) <= 1


def test_a_mean_of_what_most_rows_lack_is_of_other_things():
    rows = table()
    rng = np.random.default_rng(1)
    rows["stars"] = np.where(rng.uniform(size=len(rows)) < 0.2, rng.integers(1, 6, len(rows)), np.nan)
    rated = rows.assign(ratings=rows["stars"].notna().astype(int))
    stars = {"kind": "mean", "numerator": "stars", "margin": "+0.3"}
    found = judged(rated, {**stars, "denominator": "impressions"})
    assert found.outcome is Outcome.INSUFFICIENT
    assert "divide by what counts the known ones, and not by `impressions`" in found.reason
    assert judged(rated, {**stars, "denominator": "ratings"}).outcome is Outcome.SAFE
    # a share of it is the same of whatever is counted, as of revenue of those who bought, per visit
    assert "divide by" not in judged(rated, {**stars, "margin": "20%", "denominator": "impressions"}).reason


def test_rows_that_stand_twice_on_one_side_alone_are_refused():
    rows = table(minutes=0.7).sort_values("timestamp", ignore_index=True)
    assert judged(rows, MINUTES).outcome is Outcome.REGRESSED
    again = pd.concat([rows, rows[rows["side"] == "canary"]]).sort_values("timestamp", kind="stable")
    found = judged(again, MINUTES)
    assert found.outcome is Outcome.ERROR
    assert "each row of the canary stands in the table 2 times" in found.reason


def test_rows_of_a_day_that_say_when_it_begins_are_refused():
    rows = table().assign(user=lambda found: found["user"])
    days = []
    for day in range(3):
        summed = rows.groupby(["side", "user"], as_index=False)[["minutes", "clicks", "impressions"]].sum()
        days.append(summed.assign(timestamp=pd.Timestamp("2026-01-01", tz="UTC") + pd.Timedelta(days=day)))
    daily, config = (
        pd.concat(days),
        {"name": "x", "interval": "1d", "metrics": [{"name": "m", "harm": "decrease", **MINUTES}]},
    )
    window = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 4, tzinfo=UTC))
    found = judge(JudgeConfig.from_mapping(config), FrameSource(daily), window)["m"]
    assert found.outcome is Outcome.ERROR
    assert "the canary's 1,000 at the start itself are left out" in found.reason
    # of a canary that was there before, the row at the start is of the time before it
    before = daily[daily["timestamp"] == daily["timestamp"].min()].assign(
        timestamp=daily["timestamp"].min() - pd.Timedelta(days=1)
    )
    known = judge(JudgeConfig.from_mapping(config), FrameSource(pd.concat([before, daily])), window)["m"]
    assert known.outcome is not Outcome.ERROR
    ends = daily.assign(timestamp=daily["timestamp"] + pd.Timedelta(days=1))
    assert judge(JudgeConfig.from_mapping(config), FrameSource(ends), window)["m"].comparison.n_canary == 1000


# --- what is told of a table with users -----------------------------------------------------------------------------


def test_requests_of_rows_that_have_users_are_told_to_be_alike():
    rows = table()
    ratio = {"kind": "ratio", "events": "clicks", "total": "impressions", "margin": "10%"}
    told = "give the metric `unit_of_replication: user`"
    assert sum(told in one for one in judged(rows, ratio).warnings) == 1
    assert not any(told in one for one in judged(rows, {**ratio, "unit_of_replication": "user"}).warnings)
    drawn = rows.assign(user=np.random.default_rng(1).integers(0, 500, len(rows)).astype(str))  # requests, not users
    assert not any(told in one for one in judged(drawn, ratio).warnings)
    each = rows.drop_duplicates("user")  # a row for each user: rows are as independent as users
    assert not any(told in one for one in judged(each, ratio).warnings)


def test_the_column_of_the_users_is_looked_for_by_its_name():
    metric = {"name": "m", "harm": "decrease", **MINUTES}
    config = JudgeConfig.from_mapping({"name": "x", "interval": "1h", "metrics": [metric]})
    source = FrameSource(table().drop(columns="hour"), user="user_id")
    reason = judge(config, source, source.window("1h"))["m"].reason
    assert "needs a column 'user_id' with the user of each row" in reason
    assert "did you mean 'user'?" in reason


def test_a_table_of_the_canary_alone_is_not_archived():
    metric = {"name": "m", "harm": "decrease", **MINUTES}
    config = JudgeConfig.from_mapping({"name": "x", "interval": "1h", "metrics": [metric]})
    rows = table().drop(columns="hour")
    source = FrameSource(rows[rows["side"] == "canary"])
    with pytest.raises(DataError, match="nothing was read of the canary"):
        record(config, source, FrameSource(rows).window("1h"))


# --- codes and sessions ----------------------------------------------------------------------------------------------

STARS = {"kind": "mean", "numerator": "rating", "denominator": "ratings", "margin": "+0.3"}


def rated(code, seed=5):
    """A tenth of the visits are rated, from 1 to 5; the others have a code."""
    rows, rng = table(seed=seed), np.random.default_rng(seed)
    rows["ratings"] = rng.binomial(1, 0.3, len(rows))
    rows["rating"] = np.where(rows["ratings"] == 1, rng.integers(1, 6, len(rows)), code)
    return rows


@pytest.mark.parametrize("code", [-1, 99, 9])
def test_a_code_for_what_was_not_rated_is_no_rating(code):
    found = judged(rated(code), STARS)
    assert found.outcome is Outcome.ERROR
    assert f"'rating' is {code} in" in found.reason
    assert "whose 'ratings' is 0, and in no other: a code for nothing?" in found.reason


@pytest.mark.parametrize("code", [0, np.nan])
def test_nothing_where_nothing_was_rated(code):
    assert judged(rated(code), STARS).outcome is Outcome.SAFE


def test_events_and_what_they_are_of_may_stand_in_rows_of_their_own():
    rows = table()
    shown = rows.assign(clicks=0)
    clicked = rows[rows["clicks"] > 0].assign(impressions=0, clicks=1)
    times = rows.loc[rows["clicks"] > 0, "clicks"]
    rows = pd.concat([shown, clicked.loc[clicked.index.repeat(times)]], ignore_index=True).sort_values("timestamp")
    assert judged(rows, CLICKS).outcome is Outcome.SAFE


@pytest.mark.parametrize(
    "revenue",
    [
        lambda buys, rng: np.where(buys, 9.99, 0.0),
        lambda buys, rng: np.where(buys, 49.0, 0.0),
        lambda buys, rng: np.where(buys, 99.0, 0.0),
        lambda buys, rng: np.where(buys, -1.0, rng.lognormal(2, 1, buys.size)),
    ],
    ids=["a price", "a whole price", "a price as a code", "few refunds"],
)
def test_purchases_apart_from_sessions_are_no_codes(revenue):
    rows, rng = table(), np.random.default_rng(8)
    buys = rng.random(len(rows)) < (0.3 if revenue(np.array([False]), rng)[0] == 0 else 0.0005)
    rows = rows.assign(sessions=np.where(buys, 0, 1), revenue=revenue(buys, rng))
    metric = {"kind": "mean", "numerator": "revenue", "denominator": "sessions", "margin": "30%"}
    assert judged(rows, metric).outcome is not Outcome.ERROR


def test_ids_that_come_once_each_may_be_those_of_sessions():
    rows = table()
    of_sessions = rows.assign(user=[f"s{k}" for k in range(len(rows))])
    assert any("are these ids of sessions" in text for text in judged(of_sessions, CLICKS).warnings)
    assert not any("are these ids of sessions" in text for text in judged(rows, CLICKS).warnings)


CODED = "a code for nothing?"


def coded(rows, side, share=0.05):
    """Minutes of one side are -1 in some rows."""
    some = (rows["side"] == side) & (np.random.default_rng(9).random(len(rows)) < share)
    return rows.assign(minutes=rows["minutes"].where(~some, -1.0))


def test_codes_on_one_side_are_no_pass_and_harm_is_told_with_them():
    assert judged(table(), MINUTES).outcome is Outcome.SAFE
    found = judged(coded(table(), "baseline"), MINUTES)
    assert found.outcome is Outcome.INSUFFICIENT
    assert "cannot be found safe: 'minutes' is -1 in " in found.reason
    assert CODED not in " ".join(found.warnings)
    worse = judged(coded(table(0.5), "canary"), MINUTES)
    assert worse.outcome is Outcome.REGRESSED
    assert CODED in worse.reason


def test_what_was_odd_for_some_looks_is_forgotten():
    rows = table()
    late = rows["hour"] > 6
    minutes = rows["minutes"].round() + 1
    rows["minutes"] = minutes.where(late | (rows["side"] == "baseline"), 2 * minutes)
    config = JudgeConfig.from_mapping(
        {"name": "x", "interval": "1h", "metrics": [{"name": "m", "harm": "decrease", **MINUTES, "margin": "40%"}]}
    )
    source, start = FrameSource(rows.drop(columns="hour")), datetime(2026, 1, 1, tzinfo=UTC)
    monitor, told = Monitor(config, start=start), []
    for hour in (4, 5, 23):
        seen = FrameSource(rows[rows["hour"] < hour].drop(columns="hour"))
        look = monitor.look(seen if hour < 23 else source, start + timedelta(hours=hour))["m"]
        told.append("is one side counted several times" in look.reason)
        assert len([one for one in look.warnings if "multiple of" in one]) == 0
    assert told == [True, True, False]


@pytest.mark.parametrize("hours", [3, 6])
def test_clicks_that_are_joined_later_are_not_loaded_yet(hours):
    """What a canary lost in that time is not seen, for both sides have none; as nobody buys by night."""
    rows = table()
    assert judged(rows, CLICKS).outcome is Outcome.SAFE
    rows.loc[rows["hour"] > 24 - hours, "clicks"] = 0
    assert any("is it not loaded yet" in text for text in judged(rows, CLICKS).warnings)


def test_rare_purchases_may_be_none_for_a_while():
    rows = table()
    rare = rows["user"].str.endswith("77") & (rows["hour"] < 20)
    assert not any("not loaded" in text for text in judged(rows.assign(clicks=rare.astype(int)), CLICKS).warnings)
