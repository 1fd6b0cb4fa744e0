"""Files as people write them: nginx blocks without `*`, Envoy's runtime with flat keys."""

import json
import re

import pytest

from canary_judge.errors import Conflict
from canary_judge.files import put_file
from canary_judge.routers import from_config

BLOCK = 'split_clients "$request_id" $variant {{\n    {}\n}}\n'


def nginx(tmp_path, *lines):
    path = tmp_path / "split.conf"
    path.write_text(BLOCK.format("\n    ".join(lines)))
    router = from_config(
        {"type": "nginx", "path": str(path), "variable": "variant", "canary": "v2", "command": ["true"]}
    )
    return path, router


def shares(path):
    """What nginx makes of the block: in order, `*` takes what is left, and what nobody takes is lost."""
    left, found = 100.0, {}
    for share, name in re.findall(r"([\d.]+%|\*)\s+(\S+);", re.sub(r"#[^\n]*", "", path.read_text())):
        part = left if share == "*" else min(float(share[:-1]), left)
        found[name] = found.get(name, 0.0) + part
        left -= part
    return found, left


@pytest.mark.parametrize(
    "lines",
    [
        ("50%  v1;", "50%  v2;"),
        ("5%  v2;", "95%  v1;"),
        ("10%  v3;", "40%  v2;", "50%  v1;"),
        ("10%  v3;", "50%  v1;", "40%  v2;"),
        ("# 0% v2;", "100% v1;"),
        ("20% v2;", "* v1;"),
    ],
    ids=str,
)
@pytest.mark.parametrize("percent", [0.0, 25.0, 60.0])
def test_no_request_of_nginx_is_left_without_a_value(lines, percent, tmp_path):
    path, router = nginx(tmp_path, *lines)
    router.set_weight(percent)
    found, left = shares(path)
    assert left == 0
    assert found.get("v2", 0.0) == percent
    assert router.get_weight().percent == percent
    assert found.get("v3", 0.0) == (10.0 if "v3" in str(lines) else 0.0)
    router.rollback()
    assert shares(path)[1] == 0
    assert "v2" not in shares(path)[0]


def test_envoys_flat_runtime_keys_are_read_and_written_where_they_are(tmp_path):
    path = tmp_path / "rtds.json"
    layer = {"split.rt.stable": 75, "split.rt.canary": 25}
    path.write_text(json.dumps({"resources": [{"name": "split", "layer": layer}]}))
    router = from_config({"type": "envoy-file", "path": str(path), "kind": "rtds", "prefix": "split.rt"})
    assert router.get_weight().percent == 25
    router.set_weight(0.0)
    assert json.loads(path.read_text())["resources"][0]["layer"] == {"split.rt.stable": 100, "split.rt.canary": 0}


def test_nested_keys_stay_nested(tmp_path):
    path = tmp_path / "rtds.json"
    path.write_text(
        json.dumps({"resources": [{"name": "split", "layer": {"split": {"rt": {"stable": 90, "canary": 10}}}}]})
    )
    router = from_config({"type": "envoy-file", "path": str(path), "kind": "rtds", "prefix": "split.rt"})
    router.set_weight(25.0)
    assert json.loads(path.read_text())["resources"][0]["layer"] == {"split": {"rt": {"stable": 75, "canary": 25}}}


def test_what_somebody_else_writes_between_reading_and_writing_is_kept(tmp_path, monkeypatch):
    path, router = nginx(tmp_path, "20% v2;", "* v1;")
    theirs = BLOCK.format("20% v2;\n    30% v3;\n    * v1;")

    def slow(target, text, *, check):
        target.write_text(theirs)
        put_file(target, text, check=check)

    monkeypatch.setattr("canary_judge.routers.nginx.put_file", slow)
    with pytest.raises(Conflict, match="somebody else wrote it meanwhile"):
        router.set_weight(25, expect=20)
    assert path.read_text() == theirs
