"""Lists of weights that no kind of ours knows: by paths, in manifests and over HTTP."""

import pytest

from canary_judge.errors import ConfigError, RouterError
from canary_judge.routers import from_config
from tests.routers.api_server import ApiServer

STACK = """\
# the stack
Resources:
  Listener:
    Type: AWS::ElasticLoadBalancingV2::Listener
    Properties:
      LoadBalancerArn: !Ref Balancer   # stays
      Port: !If [Secure, 443, 80]
      DefaultActions:
      - Type: forward
        ForwardConfig:
          TargetGroupStickinessConfig: {Enabled: false}
          TargetGroups:
          - TargetGroupArn: !Ref Blue
            Weight: 95
          - {TargetGroupArn: !Ref Green, Weight: 5}
"""
ELB = {
    "type": "weighted",
    "list_of_routes": "Resources.Listener.Properties.DefaultActions",
    "destinations": "ForwardConfig.TargetGroups",
    "name_key": "TargetGroupArn",
    "weight_key": "Weight",
    "stable": "!Ref Blue",
    "canary": "!Ref Green",
}


def test_a_load_balancer_in_a_template_is_driven_and_no_other_byte_changes(tmp_path):
    path = tmp_path / "stack.yaml"
    path.write_text(STACK)
    router = from_config({**ELB, "manifest": str(path)})
    assert router.get_weight().percent == 5
    assert router.set_weight(25)
    assert path.read_text() == STACK.replace("Weight: 95", "Weight: 75").replace("Weight: 5}", "Weight: 25}")
    assert router.rollback().changed
    assert path.read_text() == STACK.replace("Weight: 95", "Weight: 100").replace("Weight: 5}", "Weight: 0}")


def test_an_alias_for_values_with_tags_is_not_written_out(tmp_path):
    path = tmp_path / "stack.yaml"
    shared = STACK.replace("TargetGroups:\n", "TargetGroups: &both\n") + "      Copy: *both\n"
    path.write_text(shared)
    router = from_config({**ELB, "manifest": str(path)})
    with pytest.raises(RouterError, match="tags of their own"):
        router.set_weight(25)
    assert path.read_text() == shared


MESH = {
    "apiVersion": "example.com/v1",
    "kind": "Split",
    "metadata": {"name": "app", "namespace": "prod"},
    "spec": {
        "to": [
            {"rules": [{"backends": [{"destination": {"example.com/service": "other"}, "share": 1}]}]},
            {
                "rules": [
                    {
                        "backends": [
                            {"destination": {"example.com/service": "app-v1"}, "share": 9},
                            {"destination": {"example.com/service": "app-v2"}, "share": 1},
                        ]
                    }
                ]
            },
        ]
    },
}
NESTED = {
    "type": "weighted",
    "api_version": "example.com/v1",
    "kind": "Split",
    "name": "app",
    "namespace": "prod",
    "list_of_routes": "spec.to[].rules",
    "destinations": "backends",
    "name_key": r"destination.example\.com/service",
    "weight_key": "share",
    "stable": "app-v1",
    "canary": "app-v2",
}


def test_lists_within_lists_and_names_with_dots_over_http():
    server = ApiServer([MESH])
    try:
        router = from_config({**NESTED, "url": server.url})
        assert router.get_weight().per_route == {"1.0": 10}
        assert router.set_weight(25)
        assert router.get_weight().percent == 25
        assert router.rollback().changed
        assert router.get_weight().percent == 0
    finally:
        server.close()


def test_a_cluster_needs_to_know_the_kind():
    with pytest.raises(ConfigError, match="kind, api_version: name both"):
        from_config({**NESTED, "kind": "", "url": "http://127.0.0.1:1"})


def test_a_path_that_leads_nowhere_says_so(tmp_path):
    path = tmp_path / "stack.yaml"
    path.write_text(STACK)
    with pytest.raises(RouterError, match="no route"):
        from_config({**ELB, "list_of_routes": "Resources.Other", "manifest": str(path)}).get_weight()
