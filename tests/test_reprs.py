"""What people see of an answer without asking for a report: one line in a terminal, a small table in a notebook."""

import os
import subprocess
import sys
from datetime import timedelta

import pytest

from canary_judge import Monitor, Window, advise, judge, plan
from canary_judge.testing import simulated_world

START = simulated_world(seed=1).clock.now()


@pytest.fixture(scope="module")
def world():
    made = simulated_world(seed=1, canary_error_rate=0.05)
    made.router.set_weight(25)
    made.clock.seconds = 3600.0
    return made


@pytest.fixture(scope="module")
def judgement(world):
    return judge(world.config, world.source, Window(START, START + timedelta(hours=1)))


def test_a_monitor_says_how_far_it_is(world):
    monitor = Monitor(world.config, start=START, horizon="2h")
    assert repr(Monitor(world.config)) == "Monitor('simulated shop', no look yet)"
    monitor.look(world.source, START + timedelta(minutes=10))
    assert repr(monitor) == "Monitor('simulated shop', 40 of 480 intervals since 2026-01-01 12:00:00)"
    assert "480" in monitor._repr_html_()


def test_a_config_is_a_line_and_a_table(world):
    assert str(world.config) == "simulated shop: 1 metric, every 15s"
    assert "1.5x or +0.2pp" in world.config._repr_html_()


def test_a_plan_is_a_line_and_a_table(world):
    found = plan(world.config, world.source, Window(START, START + timedelta(hours=1)), weights=[5, 25])
    assert str(found).startswith("simulated shop: safety shown after ")
    assert "all gates" in found._repr_html_()


def test_advice_is_lines_and_a_list(world):
    found = advise(world.config)
    assert str(found).splitlines()[0].startswith("- no metric is marked `business: true`")
    assert found._repr_html_().count("<li>") == len(found)
    assert str(type(found)()) == "nothing to advise"


def test_one_metric_is_a_row_with_its_reason(judgement):
    html = judgement["errors"]._repr_html_()
    assert "regressed" in html
    assert "<svg" in html
    assert "harm" in html


def test_nothing_in_them_is_markup_of_the_user(world):
    metric = world.config.metrics[0].model_copy(update={"name": "<script>alert(1)</script>"})
    config = world.config.model_copy(update={"metrics": (metric,), "name": "<b>"})
    for text in (config._repr_html_(), Monitor(config, start=START)._repr_html_()):
        assert "<script>" not in text
        assert "<b>" not in text.replace("<b style", "")


@pytest.mark.parametrize(
    ("line", "offered"),
    [("canary-judge ro", ["rollout", "router"]), ("canary-judge judge --for", ["--format"])],
)
def test_a_shell_completes_commands_and_options(line, offered, tmp_path):
    """The protocol of argcomplete: the answer goes to file descriptor 8."""
    answer = tmp_path / "answer"
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    subprocess.run(
        [sys.executable, "-m", "canary_judge"], env=environment, capture_output=True, timeout=60, check=False
    )
    assert [one.strip() for one in answer.read_text().splitlines()] == offered
