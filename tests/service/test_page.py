"""The page of a run: all of it in one answer, nothing of it from elsewhere, and no text of a caller is markup."""

import json
import re

import pytest

from tests.service.house import house

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.fixture
def shop(tmp_path):
    with house(tmp_path) as found:
        yield found


def page(shop, path=None):
    path = path or f"/runs/{shop.runs.store.listed()[0].id}"
    answer = shop.session.get(shop.url + path, timeout=10)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    return answer


def test_the_page_shows_the_judgement_and_the_looks_before(shop):
    for _ in range(30):
        shop.look(weight=10)
        shop.pass_time()
    text = page(shop).text
    assert "PASS" in text
    assert "marginal" in text
    assert re.search(r"to \d\d:\d\d:\d\d UTC \(\d+ looks\)", text)  # those that said the same are one row
    assert "canary gets 10 %" in text
    assert "every gate is shown to be within its margin" in text
    assert "shop" in page(shop, "/runs").text


def test_the_page_of_a_run_without_a_look_and_of_a_blind_one(shop):
    shop.runs.open("shop", canary={"v": "2"}, baseline={"v": "1"})
    assert "No look yet" in page(shop).text
    shop.sources["shop"].down = True
    shop.pass_time(600)
    assert "blind" in page(shop).text


def test_nothing_is_loaded_and_no_script_is_there(shop):
    shop.look()
    answer = page(shop)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    for text in (answer.text, page(shop, "/runs").text):
        assert "<script" not in text
        assert not re.search(r"(?:src|href)=['\"]?(?:https?:)?//", text)
        assert "<html lang=" in text


def test_texts_of_callers_are_no_markup(shop):
    plain = json.loads((shop.configs / "shop.json").read_text())
    plain["metrics"][0]["name"] = EVIL
    shop.write("evil", {**plain, "name": EVIL})
    shop.sources[EVIL] = shop.sources["shop"]
    shop.pass_time(60)
    answer = shop.api(
        "POST", "/v1/looks", json={"config": "evil", "canary": {"v": EVIL}, "baseline": {"v": "1"}, "key": EVIL}
    )
    assert answer.status == 200
    shop.pass_time(300)
    for path in (None, "/runs"):
        text = page(shop, path).text
        assert "<script" not in text
        assert "<img" not in text


def test_a_page_that_is_not_there_is_a_404(shop):
    assert shop.api("GET", "/runs/nothing").status == 404
