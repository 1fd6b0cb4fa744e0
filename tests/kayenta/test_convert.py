"""A Kayenta config becomes one of ours: what is carried over, what is decided, what is said to be lost."""

import pytest

from canary_judge import JudgeConfig, advise
from canary_judge.errors import ConfigError, DataError
from canary_judge.kayenta import to_config
from canary_judge.results import Harm, Role


def metric(name="m", analysis=None, groups=("g",), **query):
    query = query or {"customInlineTemplate": 'PromQL:avg(m{version="${scope}"})'}
    return {
        "name": name,
        "groups": list(groups),
        "query": {"type": "prometheus", **query},
        "analysisConfigurations": {"canary": analysis or {}},
    }


def config(*metrics, weights=None, **more):
    return {"name": "shop", "metrics": list(metrics), "classifier": {"groupWeights": weights or {}, **more}}


def only(*args, **kwargs):
    conversion = to_config(config(metric(*args, **kwargs)))
    return conversion.config.metrics[0], "\n".join(conversion.notes)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"customInlineTemplate": 'PromQL: sum(x{v="${scope}"})'}, 'sum(x{v="${scope}"})'),
        ({"customFilterTemplate": "t"}, 'sum(y{v="${scope}"})'),
        ({"customInlineTemplate": "PromQL:inline", "customFilterTemplate": "t"}, "inline"),
        (
            {
                "metricName": "cpu",
                "customInlineTemplate": 'v="${scope}",zone="${location}"',
                "labelBindings": ['job="a"'],
            },
            'avg(cpu{v="${scope}",zone="${location}",job="a"})',
        ),
        (
            {"metricName": "cpu", "resourceType": "aws_ec2_instance", "labelBindings": ['job="a"']},
            'avg(cpu{job="a",asg_groupName="${scope}",zone=~"${location}.{1}"})',
        ),
        (
            {"metricName": "cpu", "resourceType": "gce_instance"},
            'avg(cpu{instance=~"${scope}-.{4}",zone=~".+/zones/${location}-.{1}"})',
        ),
    ],
)
def test_queries_are_what_kayenta_would_send(query, expected):
    data = config(metric(**query)) | {"templates": {"t": 'PromQL:sum(y{v="${scope}"})'}}
    assert to_config(data).config.metrics[0].query == expected


@pytest.mark.parametrize(
    ("analysis", "harm", "margin", "role"),
    [
        ({}, Harm.EITHER, "10%", Role.GATE),
        ({"direction": "increase", "critical": True}, Harm.INCREASE, "10%", Role.GATE),
        ({"direction": "increase", "effectSize": {"allowedIncrease": 1.25}}, Harm.INCREASE, "25%", Role.GATE),
        ({"direction": "decrease", "effectSize": {"allowedDecrease": 0.9}}, Harm.DECREASE, "10%", Role.GATE),
        ({"direction": "decrease", "effectSize": {"allowedDecrease": 0}}, Harm.DECREASE, "10%", Role.GATE),
        ({"effectSize": {"allowedIncrease": 1.5, "allowedDecrease": 0.8}}, Harm.EITHER, "20%", Role.GATE),
        (
            {
                "direction": "increase",
                "critical": True,
                "effectSize": {"allowedIncrease": 1.1, "criticalIncrease": 1.5},
            },
            Harm.INCREASE,
            "10%",  # from 1.5x on Kayenta fails the canary by itself; what it tolerates is 1.1x
            Role.GATE,
        ),
        (
            {"direction": "increase", "effectSize": {"measure": "cles", "allowedIncrease": 0.8}},
            Harm.INCREASE,
            "10%",
            Role.GATE,
        ),
    ],
)
def test_directions_and_effect_sizes_become_harm_and_margin(analysis, harm, margin, role):
    found, _ = only(analysis=analysis)
    assert (found.harm, found.role) == (harm, role)
    assert float(found.margin.rstrip("%")) == pytest.approx(float(margin.rstrip("%")))


def test_critical_gates_muted_is_watched_and_the_rest_scores():
    found = to_config(
        config(
            metric("a", {"critical": True, "mustHaveData": True}),
            metric("b", {"muted": True}),
            metric("c"),
        )
    ).config.metrics
    assert [m.role for m in found] == [Role.GATE, Role.WATCH, Role.SCORE]
    assert [m.required for m in found] == [True, False, False]


def test_thresholds_and_group_weights_come_along():
    found = to_config(
        config(
            metric("a", groups=["x"]),
            metric("b", groups=["y"]),
            metric("c", groups=["z"]),
            weights={"x": 50, "y": 20, "ghost": 10},
            scoreThresholds={"pass": 90, "marginal": 60},
        )
    )
    assert (found.config.score.pass_, found.config.score.marginal) == (90, 60)
    assert found.config.groups == {"x": 50, "y": 20, "z": 20}
    assert any("'ghost' has no metric" in note for note in found.notes)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (metric(analysis={"nanStrategy": "replace"}), "nanStrategy replace is not carried over"),
        (metric(analysis={"outliers": {"strategy": "remove"}}), "outlier removal is not carried over"),
        (metric(analysis={"effectSize": {"measure": "cles"}}), "have no margin"),
        (metric(groups=["g", "h"]), "is in 2 groups"),
        (metric(metricName="m", customInlineTemplate="a", groupByFields=["uri"]), "judged every uri apart"),
        (metric(customInlineTemplate='PromQL:m{v=~"${scope}-.*"}'), "stands in a regular expression"),
        (metric(customInlineTemplate="PromQL:histogram_quantile(0.9, m)"), "which unequal traffic biases"),
    ],
)
def test_what_is_lost_or_decided_is_said(given, said):
    assert any(said in note for note in to_config(config(given)).notes)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (metric("x", metricName="m"), "neither a template nor a resource type"),
        (metric("x", customFilterTemplate="gone"), "its template 'gone' is not in `templates`"),
        (metric("x", customInlineTemplate="a=b"), "has no metricName"),
    ],
)
def test_a_metric_that_cannot_be_asked_for_is_left_out_and_named(broken, said):
    found = to_config(config(metric("kept"), broken))
    assert [m.name for m in found.config.metrics] == ["kept"]
    assert any(said in note for note in found.notes)
    with pytest.raises(ConfigError, match="none of its 1 metrics can be carried over"):
        to_config(config(broken))


def test_a_critical_metric_is_never_lost():
    lost = metric("errors", {"critical": True, "direction": "increase"}, metricName="m")
    found = to_config(config(metric("kept"), lost))
    assert [(m.name, m.role) for m in found.config.metrics] == [("kept", Role.SCORE), ("errors", Role.GATE)]
    assert found.config.metrics[1].query == "CHANGE_ME_errors"
    assert any(
        "'errors' is critical, and CHANGE_ME_errors stands for its query, write it" in note for note in found.notes
    )
    assert not any("no metric was critical" in note for note in found.notes)


def test_a_metric_of_another_store_keeps_all_but_its_query():
    given = metric(
        "x y",
        {"critical": True, "direction": "increase", "effectSize": {"allowedIncrease": 1.2}},
        type="datadog",
        metricName="m",
    )
    found = to_config(config(given))
    one = found.config.metrics[0]
    assert (one.name, one.role, one.harm, one.margin, one.query) == (
        "x y",
        Role.GATE,
        Harm.INCREASE,
        "20%",
        "CHANGE_ME_x_y",
    )
    assert any("one of 'datadog'" in note for note in found.notes)
    assert ("placeholder", "x y") in {(advice.code, advice.metric) for advice in advise(found.config)}


def test_what_decides_otherwise_is_said():
    given = {**config(metric()), "judge": {"name": "StaticBaselineJudge", "judgeConfigurations": {}}}
    assert any("its judge is 'StaticBaselineJudge'" in note for note in to_config(given).notes)


def test_the_body_of_an_ad_hoc_request_is_read():
    body = {"canaryConfig": config(metric()), "executionRequest": {"scopes": {}}}
    assert to_config(body).config == to_config(config(metric())).config


def test_what_is_no_config_or_could_pass_nothing_is_refused():
    with pytest.raises(DataError, match="the canary config: is 3; it must be an object"):
        to_config(3)
    with pytest.raises(ConfigError, match="all metrics are muted"):
        to_config(config(metric(analysis={"muted": True})))


def test_the_yaml_reads_back_as_the_same_config():
    found = to_config(config(metric("a", {"critical": True}), metric("b"), weights={"g": 100}))
    text = found.to_yaml()
    assert found.notes
    assert all(f"# - {note}" in text for note in found.notes)
    assert JudgeConfig.parse(text) == found.config


@pytest.mark.parametrize(("allowed", "noted"), [(1.1, False), (2.0, False), (10, True)])
def test_an_allowed_effect_that_is_manyfold_is_noted(allowed, noted):
    found = to_config(
        config(metric("a", {"critical": True, "direction": "increase", "effectSize": {"allowedIncrease": allowed}}))
    )
    assert any("for a tenth more it is 1.1" in note for note in found.notes) is noted
