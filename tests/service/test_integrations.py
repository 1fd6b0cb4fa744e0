"""The pages about controllers cannot lie: their manifests are parsed, and what they ask is asked of a live service."""

import base64
import json
import re
import shlex
from urllib.parse import urlsplit

import pytest
import yaml

from canary_judge.__main__ import _parser
from canary_judge.service.access import Token
from tests.service.controllers import spinnaker
from tests.service.controllers.argo import AnalysisRun, kayenta, web
from tests.service.controllers.flagger import Flagger
from tests.service.house import house
from tests.snippets import ROOT, blocks

PAGES = sorted((ROOT / "docs" / "integrations").glob("*.md"))
TOKEN = "TOKEN-of-the-docs"
BY_NAME = {page.stem: page for page in PAGES}


def manifests(page):
    """All documents of a page's YAML."""
    return [one for text in blocks(BY_NAME[page], "yaml") for one in yaml.safe_load_all(text)]


@pytest.fixture
def shop(tmp_path):
    with house(tmp_path, tokens=[Token(TOKEN, "look", "docs")]) as found:
        found.add("checkout")
        yield found


def template(name):
    (found,) = [one for one in manifests("argo") if one["metadata"]["name"] == name]
    return found["spec"]["metrics"][0]


def filled(value, **arguments):
    """{{args.x}} replaced, as Argo does."""
    text = re.sub(r"\{\{args\.([\w-]+)\}\}", lambda found: arguments[found[1]], json.dumps(value))
    return json.loads(text)


def condition(text):
    """An expression of expr-lang, as the manifests use it, in Python."""
    python = text.replace("&&", " and ").replace("||", " or ")
    python = re.sub(r"!(?!=)", " not ", python)
    return lambda result: eval(python, {"result": result})


def analysis(shop, metric):
    minutes = int(metric["interval"].removesuffix("m"))
    return AnalysisRun(
        interval=60 * minutes,
        count=metric.get("count"),
        failure_limit=metric.get("failureLimit", 0),
        inconclusive_limit=metric.get("inconclusiveLimit", 0),
        consecutive_error_limit=metric.get("consecutiveErrorLimit", 4),
        consecutive_success_limit=metric.get("consecutiveSuccessLimit", 0),
        success_condition=condition(metric["successCondition"]) if "successCondition" in metric else None,
        failure_condition=condition(metric["failureCondition"]) if "failureCondition" in metric else None,
        initial_delay=60 if "initialDelay" in metric else 0,
        start=shop.now(),
        wait=shop.pass_time,
    )


ARGUMENTS = {"canary-hash": "6b5", "stable-hash": "f00", "weight": "10", "token": TOKEN}


@pytest.mark.parametrize("name", ["canary-judge-step", "canary-judge-background"])
@pytest.mark.parametrize(("rate", "fails"), [(0.005, False), (0.05, True)])
def test_argo_s_web_manifests(shop, name, rate, fails):
    shop.add("checkout", canary_error_rate=rate)
    metric = filled(template(name), **ARGUMENTS)
    asked = metric["provider"]["web"]
    headers = {one["key"]: one["value"] for one in asked["headers"]}
    path = urlsplit(asked["url"]).path
    json_path = re.fullmatch(r"\{\$\.(\w+)\}", asked["jsonPath"])[1]
    call = web(shop.api, path, asked["jsonBody"], json_path, method=asked["method"], headers=headers)
    phase = analysis(shop, metric).run(call, most=60)
    expected = "Failed" if fails else "Successful" if name.endswith("step") else "Running"
    assert phase == expected


@pytest.mark.parametrize(("rate", "phase"), [(0.005, "Successful"), (0.05, "Failed")])
def test_argo_s_kayenta_manifest(shop, rate, phase):
    import time

    shop.add("checkout", canary_error_rate=rate)
    metric = filled(template("canary-judge-kayenta"), **ARGUMENTS)
    asked = metric["provider"]["kayenta"]

    def api(method, path, **more):
        answer = shop.api(method, path, **more)
        if '"complete":false' in answer.text:
            time.sleep(0.01)
        return answer

    call = kayenta(
        api,
        application=asked["application"],
        config_name=asked["canaryConfigName"],
        scopes=asked["scopes"],
        pass_score=asked["threshold"]["pass"],
        marginal=asked["threshold"]["marginal"],
        lookback=asked["lookback"],
        base=urlsplit(asked["address"]).path.replace("TOKEN", TOKEN),
    )
    assert analysis(shop, metric).run(call) == phase


def test_argo_s_rollout_gives_every_argument_of_its_templates():
    rollout = next(one for one in manifests("argo") if one["kind"] == "Rollout")
    canary = rollout["spec"]["strategy"]["canary"]
    analyses = [canary["analysis"], *(step["analysis"] for step in canary["steps"] if "analysis" in step)]
    templates = {one["metadata"]["name"]: one for one in manifests("argo") if one["kind"] == "AnalysisTemplate"}
    for one in analyses:
        given = {argument["name"] for argument in one["args"]}
        for used in one["templates"]:
            needed = {a["name"] for a in templates[used["templateName"]]["spec"]["args"] if "valueFrom" not in a}
            assert needed == given


def test_flagger_s_manifest(shop):
    import time

    canary = next(one for one in manifests("flagger") if one["kind"] == "Canary")
    hooks, headers = [], {}
    for hook in canary["spec"]["analysis"]["webhooks"]:
        parts = urlsplit(hook["url"].replace("TOKEN", TOKEN))
        hooks.append({"type": hook["type"], "path": parts.path, "metadata": hook["metadata"]})
        basic = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}"}  # as Go's client makes of it

    def api(method, path, **more):
        answer = shop.api(method, path, **{**more, "headers": headers})
        time.sleep(0.02 if path.endswith("/event") else 0)
        return answer

    world = shop.worlds["checkout"]
    world.router.set_weight(0)
    meta = canary["metadata"]
    flagger = Flagger(
        api,
        meta["name"],
        meta["namespace"],
        step_weights=canary["spec"]["analysis"]["stepWeights"],
        threshold=canary["spec"]["analysis"]["threshold"],
        webhooks=hooks,
        set_weight=world.router.set_weight,
    )
    flagger.tick()
    flagger.deploy("2")
    for _ in range(300):
        shop.pass_time()
        flagger.tick()
        if flagger.phase == "Succeeded":
            break
    assert flagger.phase == "Succeeded", flagger.history[-5:]
    assert flagger.odd == []


def test_the_prometheus_manifests(shop):
    documents = manifests("prometheus")
    template_ = next(one for one in documents if one["kind"] == "MetricTemplate")
    keptn = next(one for one in documents if one["kind"] == "KeptnMetric")
    argo = next(one for one in documents if one["kind"] == "AnalysisTemplate")
    metric = filled(argo["spec"]["metrics"][0], **ARGUMENTS)
    values = {"namespace": "prod", "target": "checkout", "interval": "1m"}
    flagger = re.sub(r"\{\{ (\w+) \}\}", lambda found: values[found[1]], template_["spec"]["query"])
    addresses = [
        template_["spec"]["provider"]["address"],
        next(one for one in documents if one["kind"] == "KeptnMetricsProvider")["spec"]["targetServer"],
        metric["provider"]["prometheus"]["address"],
    ]
    queries = [flagger, keptn["spec"]["query"], metric["provider"]["prometheus"]["query"]]
    for address, query in zip(addresses, queries, strict=True):
        parts = urlsplit(address.replace("TOKEN", TOKEN))
        basic = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}"}
        answer = shop.api("GET", f"{parts.path}/api/v1/query", params={"query": query}, headers=headers)
        assert answer.status == 200, answer
        (series,) = answer.json["data"]["result"]
        assert series["value"][1] == "50"
    passes, fails = condition(metric["successCondition"]), condition(metric["failureCondition"])
    assert [(passes([score]), fails([score])) for score in (100, 50, 0)] == [
        (True, False),
        (False, False),
        (False, True),
    ]


def test_spinnaker_s_addresses_and_webhook_stage(shop):
    remote, services = manifests("spinnaker")
    base = urlsplit(remote["kayenta"]["remote-judge"]["endpoint"]["baseUrl"]).path.replace("TOKEN", TOKEN)
    assert shop.api("POST", f"{base}/judge", json={}).status == 400  # it is there, and wants a request
    base = urlsplit(services["services"]["kayenta"]["baseUrl"]).path.replace("TOKEN", TOKEN)
    spinnaker.read(spinnaker.CanaryConfigs, shop.api("GET", f"{base}/canaryConfig"))
    (stage,) = [json.loads(text) for text in blocks(BY_NAME["spinnaker"], "json")]
    headers = {name: value.replace("TOKEN", TOKEN) for name, value in stage["customHeaders"].items()}
    begun = shop.api(stage["method"], urlsplit(stage["url"]).path, json=stage["payload"], headers=headers)
    assert begun.status == 201
    url = begun.json[stage["statusUrlJsonPath"].removeprefix("$.")]
    ends = {key: stage[key].split(",") for key in ("successStatuses", "terminalStatuses", "canceledStatuses")}
    seen = set()
    for _ in range(60):
        status = shop.api("GET", urlsplit(url).path, headers=headers).json
        state = status[stage["statusJsonPath"].removeprefix("$.")]
        seen.add(state)
        assert isinstance(status[stage["progressJsonPath"].removeprefix("$.")], str)
        if state in [one for statuses in ends.values() for one in statuses]:
            break
        shop.pass_time()
        shop.runs.look_at(shop.runs.get(begun.json["id"]).run)
    assert seen == {"running", "passed"}
    assert state in ends["successStatuses"]
    known = {"passed", "failed", "undecided", "errored", "cancelled"}
    assert {one for statuses in ends.values() for one in statuses} == known


# --- CI -------------------------------------------------------------------------------------------------------------


def commands():
    """Every command line of the pages, wherever it stands."""
    found = []
    for page in [*PAGES, ROOT / "docs" / "service.md"]:
        text = page.read_text()
        found += re.findall(r"canary-judge ((?:judge|watch|serve|runs) [^\n'|]*?)(?= \|\||'|\n|$)", text)
    for document in manifests("ci"):
        for arguments in _arguments(document):
            found.append(shlex.join(arguments))
    return [command for command in found if "list|show" not in command]


def _arguments(value):
    if isinstance(value, dict):
        if value.get("args") and all(isinstance(one, str) for one in value["args"]):
            yield value["args"]
        for inner in value.values():
            yield from _arguments(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _arguments(inner)


def test_all_commands_are_ones():
    found = commands()
    assert len(found) >= 8
    for command in found:
        _parser().parse_args(shlex.split(command.split(" #")[0]))


def test_what_the_pipelines_read_is_what_is_written(shop):
    from canary_judge.report import ci

    judgement = shop.runs.look("shop", canary={"v": "2"}, baseline={"v": "1"}).judgement
    task = next(one for one in manifests("ci") if one.get("kind") == "Task")
    assert {one["name"] for one in task["spec"]["results"]} == set(ci.fields(judgement))
    job = next(one for one in manifests("ci") if one.get("kind") == "Job")
    rules = {rule["action"]: rule["onExitCodes"]["values"] for rule in job["spec"]["podFailurePolicy"]["rules"]}
    assert rules == {"FailJob": [2], "Count": [1]}
    container = job["spec"]["template"]["spec"]["containers"][0]["name"]
    assert {rule["onExitCodes"]["containerName"] for rule in job["spec"]["podFailurePolicy"]["rules"]} == {container}
    github = next(one for one in manifests("ci") if "jobs" in one)
    outputs = re.findall(r"outputs\.(\w+)", json.dumps(github))
    assert set(outputs) <= set(ci.fields(judgement))


def test_the_manifests_of_the_service_hold_a_config_and_a_command(tmp_path):
    from canary_judge import JudgeConfig

    documents = list(yaml.safe_load_all((ROOT / "docs" / "examples" / "kubernetes.yaml").read_text()))
    by_kind = {one["kind"]: one for one in documents}
    JudgeConfig.parse(by_kind["ConfigMap"]["data"]["checkout.yaml"])
    container = by_kind["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    _parser().parse_args(container["args"])
    from canary_judge.service.access import read_tokens

    (tmp_path / "tokens").write_text(by_kind["Secret"]["stringData"]["tokens"])
    (token,) = read_tokens(tmp_path / "tokens")
    assert (token.secret, token.may) == (by_kind["Secret"]["stringData"]["token"], "look")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_docs_hold_the_schema_that_is_served(shop):
    """python -m tests.service.test_integrations writes it."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    served = shop.api("GET", "/openapi.json", headers=headers).json
    written = json.loads((ROOT / "docs" / "openapi.json").read_text())
    assert set(served["paths"]) == set(written["paths"])
    for path, methods in served["paths"].items():
        assert set(methods) == set(written["paths"][path])


if __name__ == "__main__":
    import sys
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder, house(Path(folder)) as one:
        text = json.dumps(one.api("GET", "/openapi.json").json, indent=1)
    (ROOT / "docs" / "openapi.json").write_text(text + "\n")
    sys.exit()
