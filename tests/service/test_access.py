"""Who may call, where tokens stand, and that none is ever written anywhere."""

import base64
import json
import logging
import time

import pytest

from canary_judge.errors import ConfigError
from canary_judge.service.access import Token, read_tokens
from tests.service.house import SIDES, house

TOKENS = [Token("read-me-now", "read", "board"), Token("look-at-it", "look", "argo"), Token("all-of-it", "all", "ops")]
LOOK = {"config": "shop", **SIDES}


@pytest.fixture
def shop(tmp_path):
    with house(tmp_path, tokens=TOKENS) as found:
        yield found


def basic(text):
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def test_without_a_token_only_health_is_answered(shop):
    assert shop.api("GET", "/healthz").text == "ok\n"
    assert shop.api("GET", "/readyz").text == "ok\n"
    for method, path in (("GET", "/v1/runs"), ("GET", "/runs"), ("GET", "/metrics"), ("GET", "/openapi.json")):
        assert shop.api(method, path).status == 401
    for path in ("/v1/looks", "/flagger/gate", "/flagger/rollback", "/judge", "/kayenta/canary/shop"):
        assert shop.api("POST", path, json=LOOK).status == 401
    assert shop.api("GET", "/prom/api/v1/query", params={"query": "vector(1)"}).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer look-at-it"},
        {"authorization": "bearer look-at-it"},
        basic("judge:look-at-it"),
        basic("look-at-it:"),
    ],
)
def test_a_token_is_a_bearer_or_the_password_of_basic(shop, headers):
    assert shop.api("POST", "/v1/looks", json=LOOK, headers=headers).status == 200


def test_a_token_may_stand_in_the_path(shop):
    assert shop.api("POST", "/t/look-at-it/v1/looks", json=LOOK).status == 200
    assert shop.api("GET", "/t/look-at-it/kayenta/canaryConfig").status == 200
    assert shop.api("POST", "/t/wrong/v1/looks", json=LOOK).status == 401
    assert shop.api("GET", "/t/look-at-it").status == 404


def test_repeated_lines_of_authorization_are_all_read(shop):
    import http.client

    host = shop.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host)
    connection.putrequest("GET", "/prom/api/v1/query?query=vector(1)")
    for line in ("Bearer wrong", "Basic !!!", "Bearer look-at-it", "Bearer look-at-it"):
        connection.putheader("Authorization", line)
    connection.endheaders()
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize(
    ("token", "reads", "looks", "changes"),
    [
        ("read-me-now", 200, 403, 403),
        ("look-at-it", 200, 200, 403),
        ("all-of-it", 200, 200, 400),
        ("none", 401, 401, 401),
    ],
)
def test_what_each_token_may(shop, token, reads, looks, changes):
    headers = {"Authorization": f"Bearer {token}"}
    assert shop.api("GET", "/v1/runs", headers=headers).status == reads
    assert shop.api("POST", "/v1/looks", json=LOOK, headers=headers).status == looks
    assert shop.api("GET", "/prom/api/v1/query", params={"query": "vector(1)"}, headers=headers).status == looks
    assert shop.api("POST", "/kayenta/canaryConfig", json={}, headers=headers).status == changes


def test_no_token_is_in_any_log_answer_or_page(shop, caplog):
    caplog.set_level(logging.DEBUG)
    texts = []
    for token in TOKENS:
        headers = {"Authorization": f"Bearer {token.secret}"}
        answer = shop.api("POST", "/v1/looks", json=LOOK, headers=headers)
        texts.append(answer.text)
        texts.append(shop.api("GET", f"/t/{token.secret}/runs?token={token.secret}").text)
        texts.append(shop.api("GET", f"/t/{token.secret}/metrics").text)
        texts.append(shop.api("GET", f"/t/{token.secret}/nowhere/{'x' * 10}").text)
        texts.append(shop.api("POST", f"/t/{token.secret}/v1/looks", data="{").text)
    run = shop.runs.store.listed()[0]
    texts.append(shop.api("GET", f"/runs/{run.id}", headers={"Authorization": "Bearer read-me-now"}).text)
    texts += [
        json.dumps(vars(record), default=str) for record in caplog.records if record.name.startswith("canary_judge")
    ]
    assert any("/v1/looks" in text for text in texts)
    assert any('"caller": "argo"' in text for text in texts)
    for token in TOKENS:
        assert not [text for text in texts if token.secret in text]


def test_runs_of_one_caller_are_limited(tmp_path):
    with house(tmp_path, tokens=TOKENS) as shop:
        shop.runs._most_runs = 2
        headers = {"Authorization": "Bearer look-at-it"}
        asked = [shop.api("POST", "/v1/looks", json={**LOOK, "key": f"k{k}"}, headers=headers) for k in range(3)]
        assert [one.status for one in asked] == [200, 200, 503]
        assert "argo has 2 running runs" in asked[-1].text
        other = shop.api("POST", "/v1/looks", json={**LOOK, "key": "k9"}, headers={"Authorization": "Bearer all-of-it"})
        assert other.status == 200


def test_the_file_of_tokens(tmp_path):
    path = tmp_path / "tokens"
    path.write_text("# who\n\nfirst-token\nsecond-token look argo\nthird-token read\n")
    assert read_tokens(path) == [
        Token("first-token", "all", "token 3"),
        Token("second-token", "look", "argo"),
        Token("third-token", "read", "token 5"),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no token"),
        ("short", "fewer than 8"),
        ("long-enough write", "line 1: write TOKEN"),
        ("long/enough", "signs but /"),
        ("a-long-enough look x y", "line 1: write TOKEN"),
    ],
)
def test_a_file_of_tokens_that_is_none_is_refused_without_showing_one(tmp_path, text, says):
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says) as raised:
        read_tokens(path)
    assert not text or text.split()[0] not in str(raised.value)


def test_too_many_requests_at_once_are_told_in_each_caller_s_words(tmp_path):
    from canary_judge.service.gatekeeper import Gatekeeper

    with house(tmp_path) as shop:
        gate = next(one for one in _middlewares(shop.app) if isinstance(one, Gatekeeper))
        gate._most = 0
        hook = {"name": "web", "namespace": "prod", "phase": "Progressing", "metadata": {"config": "shop"}}
        statuses = {
            path: shop.api("POST", path, json=hook).status
            for path in ("/flagger/gate", "/flagger/check", "/flagger/rollback", "/flagger/event", "/v1/looks")
        }
        assert list(statuses.values()) == [412, 200, 403, 202, 503]
        assert shop.api("GET", "/healthz").status == 200


def _middlewares(app):
    found = app.middleware_stack
    while found is not None:
        yield found
        found = getattr(found, "app", None) or getattr(found, "_app", None)


@pytest.mark.parametrize(
    "path", ["/t/{}/v1/runs", "//t/{}/v1/runs", "/t//{}//v1/runs/", "/t/{0}/t/{0}/x", "/x/t/{}/y", "/{0}"]
)
def test_no_path_with_a_token_is_written_to_the_log(shop, caplog, path):
    caplog.set_level(logging.INFO)
    answer = shop.api("GET", path.format("look-at-it"))
    assert answer.status in (200, 401, 404)
    for _ in range(200):  # the line is written after the answer
        records = [record for record in caplog.records if record.name == "canary_judge.access"]
        if records:
            break
        time.sleep(0.01)
    assert records
    assert not [record for record in records if "look-at-it" in json.dumps(vars(record), default=str)]


def test_slashes_at_the_ends_of_addresses_lead_nowhere_else(shop):
    assert shop.api("POST", "/t/look-at-it/v1/looks/", json=LOOK).status == 200
    assert shop.api("POST", "/t/look-at-it//v1//looks", json=LOOK).status == 200
    hook = {"name": "web", "namespace": "prod", "phase": "Progressing", "checksum": "1", "metadata": {"config": "shop"}}
    assert shop.api("POST", "/t/look-at-it/flagger/gate/", json=hook).status == 200


def test_a_token_for_looking_cancels_only_its_own_runs(shop):
    argo, ops = ({"Authorization": f"Bearer {one}"} for one in ("look-at-it", "all-of-it"))
    mine = shop.api("POST", "/v1/runs", json=LOOK, headers=argo).json["id"]
    theirs = shop.api("POST", "/v1/runs", json={**LOOK, "key": "other"}, headers=ops).json["id"]
    assert shop.api("DELETE", f"/v1/runs/{theirs}", headers=argo).status == 403
    assert shop.api("DELETE", f"/v1/runs/{mine}", headers=argo).status == 200
    assert shop.api("DELETE", f"/v1/runs/{theirs}", headers=ops).status == 200


def test_a_token_for_looking_begins_no_other_s_run_anew(shop):
    mine, other = ({"Authorization": f"Bearer {token}"} for token in ("look-at-it", "all-of-it"))
    assert shop.api("POST", "/v1/looks", json=LOOK, headers=other).status == 200
    for path in ("/v1/looks", "/v1/runs"):
        refused = shop.api("POST", path, json={**LOOK, "restart": True}, headers=mine)
        assert refused.status == 403
        assert "begun with another token" in refused.text
    assert shop.api("POST", "/v1/looks", json={**LOOK, "restart": True}, headers=other).status == 200
    assert shop.api("POST", "/v1/looks", json={**LOOK, "key": "mine"}, headers=mine).status == 200
    assert shop.api("POST", "/v1/looks", json={**LOOK, "key": "mine", "restart": True}, headers=mine).status == 200
