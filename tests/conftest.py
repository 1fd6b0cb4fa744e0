import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.real_prometheus import Binaries, NoPrometheusError, find_binaries

# plots are drawn into files, also where there is a display
os.environ.setdefault("MPLBACKEND", "Agg")
# on a loaded machine an example may take long: that says nothing of what is tested
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")

REQUIRED = os.environ.get("CANARY_JUDGE_REQUIRE_REAL") == "1"
# a file for the tests that were skipped, one a line: `pytest @file` runs them where they can be
SKIPPED = os.environ.get("CANARY_JUDGE_SKIPPED")


def pytest_terminal_summary(terminalreporter):
    if SKIPPED:
        skipped = {report.nodeid: None for report in terminalreporter.stats.get("skipped", [])}
        Path(SKIPPED).write_text("".join(f"{one}\n" for one in skipped))


@pytest.fixture(scope="session")
def prometheus_binaries() -> Binaries:
    """A real Prometheus; without one the test is skipped, or fails where CI asks for the real thing."""
    try:
        return find_binaries()
    except NoPrometheusError as error:
        if REQUIRED:
            pytest.fail(f"CANARY_JUDGE_REQUIRE_REAL=1, but {error}")
        pytest.skip(str(error))
