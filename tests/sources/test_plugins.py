"""A source of somebody else is found by its entry point."""

import sys

import pytest

from canary_judge.errors import ConfigError
from canary_judge.sources import available, from_config

PLUGIN = """
from canary_judge.errors import ConfigError

class Constant:
    def __init__(self, value):
        self.value = value

    @classmethod
    def from_options(cls, options):
        if "value" not in options:
            raise ConfigError("value: is missing")
        return cls(options["value"])

    def fetch(self, queries, window):
        return []
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (tmp_path / "constant_source.py").write_text(PLUGIN)
    info = tmp_path / "constant_source-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: constant-source\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[canary_judge.sources]\nconstant = constant_source:Constant\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("constant_source", None)


def test_an_installed_plugin_is_found_by_name(plugin):
    assert available() == ["constant", "frame", "http", "prometheus", "sql"]
    assert from_config({"type": "constant", "value": 5}).value == 5


def test_its_config_errors_are_placed(plugin):
    with pytest.raises(ConfigError, match="sources.odd: value: is missing"):
        from_config({"type": "constant"}, name="odd")
