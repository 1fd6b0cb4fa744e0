import os

import pytest
from hypothesis import HealthCheck, settings

from tests.real_prometheus import Binaries, NoPrometheusError, find_binaries

# plots are drawn into files, also where there is a display
os.environ.setdefault("MPLBACKEND", "Agg")
# on a loaded machine an example may take long: that says nothing of what is tested
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")

REQUIRED = os.environ.get("CANARY_JUDGE_REQUIRE_REAL") == "1"


@pytest.fixture(scope="session")
def prometheus_binaries() -> Binaries:
    """A real Prometheus; without one the test is skipped, or fails where CI asks for the real thing."""
    try:
        return find_binaries()
    except NoPrometheusError as error:
        if REQUIRED:
            pytest.fail(f"CANARY_JUDGE_REQUIRE_REAL=1, but {error}")
        pytest.skip(str(error))
