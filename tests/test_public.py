"""The front door: what it offers, what it does not drag in."""

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import canary_judge
from canary_judge.__main__ import main

MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(canary_judge.__path__, "canary_judge.")
    if not name.endswith("__main__")
]


def test_all_is_what_can_be_imported():
    assert list(canary_judge.__all__) == sorted(canary_judge.__all__)
    for name in canary_judge.__all__:
        assert getattr(canary_judge, name) is not None
    assert dir(canary_judge) == canary_judge.__all__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        canary_judge.nonsense  # noqa: B018


@pytest.mark.parametrize("name", MODULES)
def test_every_module_keeps_its_promises(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public)
    text = Path(module.__file__).read_text()
    assert not list(bound_twice(ast.parse(text)))  # the second would be what both places read
    lines = text.count("\n")
    assert lines <= 500, f"{name} has {lines} lines: two ideas in one file?"


def bound_twice(module):
    """Names of constants that are assigned a second time."""
    known = set()
    for statement in module.body:
        for target in statement.targets if isinstance(statement, ast.Assign) else ():
            for one in target.elts if isinstance(target, ast.Tuple) else [target]:
                if isinstance(one, ast.Name):
                    if one.id in known:
                        yield one.id
                    known.add(one.id)


def test_a_constant_that_is_bound_twice_is_found():
    assert list(bound_twice(ast.parse("_SOME = 20\n_SOME, _MORE = 3, 4"))) == ["_SOME"]


def loaded_after(code):
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('|'.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.strip().split("\n")[-1].split("|"))


def test_help_and_completion_cost_next_to_nothing():
    loaded = loaded_after("from canary_judge.__main__ import _parser; _parser().format_help()")
    assert not loaded & {"numpy", "scipy", "pandas", "pydantic", "requests", "yaml", "canary_judge.results"}


def test_a_command_needs_no_other():
    loaded = loaded_after("from canary_judge.__main__ import _parser; _parser('check').parse_args(['check', 'c.yaml'])")
    assert "canary_judge.commands.configs" in loaded
    assert not loaded & {"canary_judge.commands.rollout", "canary_judge.commands.serve", "socket", "logging"}


def test_judging_a_table_needs_no_pictures_nor_all_of_scipy(tmp_path):
    config = {
        "name": "c",
        "interval": "60s",
        "metrics": [{"name": "heap", "kind": "gauge", "query": "heap", "harm": "increase", "margin": "10%"}],
    }
    (tmp_path / "c.json").write_text(json.dumps(config))
    rows = [f"{60 * minute},{side},{minute % 7}" for side in ("baseline", "canary") for minute in range(60)]
    (tmp_path / "d.csv").write_text("\n".join(["timestamp,side,heap", *rows]))
    command = ["judge", str(tmp_path / "c.json"), "--data", str(tmp_path / "d.csv")]
    loaded = loaded_after(f"from canary_judge.__main__ import main; main({command})")
    assert "canary_judge.judging.verdict" in loaded
    assert not loaded & {"yaml", "pandas", "numpy.ma", "scipy.special._orthogonal", "canary_judge.pictures"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["jugde"], "did you mean 'judge'"),
        (["check", "c.yaml", "--last", "1h"], "it is an option of another command"),
        (["judge", "c.yaml", "--dta", "x"], "did you mean '--data'"),
    ],
)
def test_a_wrong_word_is_told_with_what_was_meant(words, told, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 1
    assert told in capsys.readouterr().err


def test_importing_the_package_costs_nothing():
    loaded = loaded_after("import canary_judge")
    assert not loaded & {"numpy", "scipy", "pandas", "pydantic", "requests", "yaml", "matplotlib"}


def test_a_picture_needs_no_plotting_library():
    loaded = loaded_after("import canary_judge.report, canary_judge.pictures, canary_judge.plots")
    assert "canary_judge.pictures.svg" in loaded
    assert "matplotlib" not in loaded


def test_judging_needs_neither_pandas_nor_scipy_stats():
    loaded = loaded_after(
        "from canary_judge import judge, JudgeConfig, Window; from canary_judge.judging import judge_samples"
    )
    assert not loaded & {"pandas", "scipy.stats", "requests", "prometheus_api_client"}


def test_the_prometheus_source_needs_no_pandas():
    assert "pandas" not in loaded_after("from canary_judge.sources import PrometheusSource")


def test_statistics_stand_alone():
    loaded = loaded_after(
        "import canary_judge.stats.counts, canary_judge.stats.gauges, canary_judge.stats.sample_sizes"
    )
    assert not loaded & {"pandas", "pydantic", "scipy.stats", "canary_judge.config.model"}


def test_a_report_has_its_modules_and_its_names():
    code = "import canary_judge.report as r; assert {'text', 'html', 'to_html'} <= set(dir(r)); r.text.to_text; r.html"
    subprocess.run([sys.executable, "-c", code], check=True)
