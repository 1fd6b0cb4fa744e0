"""The metric that looks like a Prometheus': one series, texts as values, and never an answer where nothing is known."""

import pytest

from tests.service.house import house


@pytest.fixture
def shop(tmp_path):
    with house(tmp_path) as found:
        yield found


SCORE = 'canary_judge_score{config="shop", canary_version="2", baseline_version="1"}'


def ask(shop, query, path="query", method="GET", **more):
    given = {"params": {"query": query}} if method == "GET" else {"data": {"query": query}}
    return shop.api(method, f"/prom/api/v1/{path}", **given, **more)


def value(answer):
    assert answer.status == 200, answer
    assert answer.json["status"] == "success"
    (series,) = answer.json["data"]["result"]
    return series["value"][1]


def test_flagger_asks_whether_somebody_is_there(shop):
    assert value(ask(shop, "vector(1)")) == "1"


@pytest.mark.parametrize(("rate", "score"), [(0.005, "100"), (0.05, "0")])
def test_the_score_is_that_of_the_run(shop, rate, score):
    shop.add("shop", canary_error_rate=rate)
    assert value(ask(shop, SCORE)) == "50"
    for _ in range(30):
        shop.pass_time()
        last = value(ask(shop, SCORE, method="POST"))
    assert last == score
    ranged = ask(shop, SCORE, path="query_range").json["data"]
    assert ranged["resultType"] == "matrix"
    assert len(ranged["result"]) == 1
    assert ranged["result"][0]["values"][0][1] == score


def test_flagger_s_template_names_the_config_by_its_target_and_the_primary_is_the_baseline(shop):
    query = 'canary_judge_score{namespace="prod", target="shop", window="1m"}'
    assert value(ask(shop, query)) == "50"
    run = shop.api("GET", "/v1/runs").json[0]
    assert run["canary"] == {"namespace": "prod", "target": "shop"}
    assert run["baseline"] == {"namespace": "prod", "target": "shop-primary"}
    value(ask(shop, query.replace("1m", "5m")))
    assert len(shop.api("GET", "/v1/runs").json) == 1


def test_a_rollout_after_a_long_silence_has_no_evidence_of_the_one_before(shop):
    shop.add("shop", canary_error_rate=0.05)
    for _ in range(20):
        shop.pass_time()
        last = value(ask(shop, SCORE))
    assert last == "0"
    shop.pass_time(3600)
    assert value(ask(shop, SCORE)) == "50"


def test_blind_is_a_503_and_a_stored_regression_is_not_blind(shop):
    shop.sources["shop"].down = True
    assert value(ask(shop, SCORE)) == "50"  # its first interval has not passed yet
    shop.pass_time(600)
    answer = ask(shop, SCORE)
    assert (answer.status, answer.json["status"]) == (503, "error")
    assert "the source is down" in answer.json["error"]


def test_the_run_of_a_key_is_read_without_a_look(shop):
    shop.look(key="mine")
    asked = shop.sources["shop"].asked
    assert value(ask(shop, 'canary_judge_score{key="mine"}')) == "50"
    assert shop.sources["shop"].asked == asked
    assert ask(shop, 'canary_judge_score{key="other"}').status == 400


@pytest.mark.parametrize(
    "query",
    [
        "",
        "up",
        "canary_judge_score",
        "canary_judge_score{}",
        'canary_judge_score{config=~"shop"}',
        'canary_judge_score{config="shop"} > 50',
        'canary_judge_score{config="shop"',
        'canary_judge_score{config="none"}',
        'sum(canary_judge_score{config="shop"})',
        'canary_judge_score{config="shop", canary_v="a\\nb"}',
        "vector(2)",
    ],
)
def test_any_other_query_is_a_400_and_no_series(shop, query):
    answer = ask(shop, query)
    assert answer.status == 400, answer
    assert answer.json["status"] == "error"
    assert answer.json["errorType"] == "bad_data"


def test_escapes_in_labels_are_those_of_promql(shop):
    query = r'canary_judge_score{config="shop", canary_version="a\"b\\c", baseline_version="1"}'
    value(ask(shop, query))
    assert shop.api("GET", "/v1/runs").json[0]["canary"] == {"version": 'a"b\\c'}


def test_a_fail_stands_while_it_is_asked_for(shop):
    shop.add("shop", canary_error_rate=0.05)
    values = []
    for _ in range(60):
        shop.pass_time()
        values.append(value(ask(shop, SCORE)))
    assert set(values[30:]) == {"0"}


def test_evidence_survives_a_source_that_is_away(shop):
    for _ in range(25):
        shop.pass_time()
        last = value(ask(shop, SCORE))
    assert last == "100"
    shop.sources["shop"].down = True
    for _ in range(15):
        shop.pass_time()
        answer = ask(shop, SCORE)
    assert answer.status == 503
    shop.sources["shop"].down = False
    for _ in range(6):
        shop.pass_time()
        last = value(ask(shop, SCORE))
    assert last == "100"
    assert len(shop.api("GET", "/v1/runs").json) == 1


def test_long_labels_make_keys_of_their_own(shop):
    for end in ("a", "b"):
        value(ask(shop, SCORE.replace('"2"', f'"{"x" * 400}{end}"')))
    assert len({run["key"] for run in shop.api("GET", "/v1/runs").json}) == 2


@pytest.mark.parametrize("every", [180, 300])
def test_who_asks_too_seldom_is_told_and_never_promoted_by_fifties(tmp_path, every):
    """At an interval of 15 s each question after 150 s begins a run, of which nothing is known."""
    with house(tmp_path, interval="15s", canary_error_rate=0.5) as shop:
        assert value(ask(shop, SCORE)) == "50"
        for _ in range(3):
            shop.pass_time(every)
            answer = ask(shop, SCORE)
            assert answer.status == 503
            assert f"the last question was {every // 60}m ago" in answer.json["error"]
            assert "ask at least every 2m30s" in answer.json["error"]
        shop.pass_time(60)
        assert value(ask(shop, SCORE)) == "0"


def test_a_fix_that_comes_soon_has_nothing_of_what_was_rolled_back(tmp_path):
    with house(tmp_path, interval="15s", canary_error_rate=0.5) as shop:
        for _ in range(20):
            last = value(ask(shop, SCORE))
            shop.pass_time(60)
        assert last == "0"
        shop.pass_time(360)
        assert value(ask(shop, SCORE)) == "50"


def test_a_failure_of_long_ago_is_no_answer_for_what_comes_next(shop):
    shop.add("shop", canary_error_rate=0.05)
    for _ in range(20):
        shop.look(key="mine")
        shop.pass_time()
    assert value(ask(shop, 'canary_judge_score{key="mine"}')) == "0"
    shop.pass_time(20 * 86400)
    answer = ask(shop, 'canary_judge_score{key="mine"}')
    assert answer.status == 503
    assert "is over: it began at 2026-01-01T12:00" in answer.json["error"]


def test_a_weight_needs_evidence_of_its_own(shop):
    for _ in range(30):
        shop.pass_time()
        at_10 = value(ask(shop, SCORE.replace("}", ', weight="10"}')))
    assert at_10 == "100"
    shop.worlds["shop"].router.set_weight(50)
    assert value(ask(shop, SCORE.replace("}", ', weight="50"}'))) == "50"  # nothing is judged at it
    assert len(shop.api("GET", "/v1/runs").json) == 1


@pytest.mark.parametrize(("label", "hint"), [("horizn", "horizon"), ("cannary_hash", "canary"), ("wieght", "weight")])
def test_a_misspelt_label_is_told(shop, label, hint):
    answer = ask(shop, SCORE.replace("}", f', {label}="5"}}'))
    assert answer.status == 400
    assert "is read by nobody" in answer.text
    assert hint in answer.text


@pytest.mark.parametrize("label", ["region", "name", "stage", "kind", "start", "service_namespace", "config_version"])
def test_labels_that_tell_runs_apart_are_taken(shop, label):
    assert value(ask(shop, SCORE.replace("}", f', {label}="x"}}'))) == "50"
    assert value(ask(shop, SCORE.replace("}", f', {label}="y"}}'))) == "50"
    assert len(shop.api("GET", "/v1/runs").json) == 2
