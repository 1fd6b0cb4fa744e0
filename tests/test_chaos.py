"""The short form of benchmarks/chaos.py: one of its scenarios on real parts."""

import pytest

from benchmarks.chaos import PATIENCE, Watcher, server_added
from canary_judge.routers import from_config
from tests.closed_loop import closed_loop

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(400)]


def test_a_backend_that_is_scaled_out_keeps_no_bad_canary(tmp_path):
    with closed_loop(tmp_path, "haproxy") as loop, Watcher(from_config(loop.router)).watching() as watcher:
        found = server_added(loop, watcher)
    assert found.code == 2
    assert found.above_zero < PATIENCE
    assert found.too_much == 0
