import os

import pytest

from tests.real_prometheus import Binaries, NoPrometheusError, find_binaries

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
