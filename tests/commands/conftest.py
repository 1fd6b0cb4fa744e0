"""A config and a recorded table, as files."""

import json
from datetime import timedelta

import numpy as np
import pytest

from tests.test_planning import ERRORS, NOON


@pytest.fixture
def recorded(tmp_path):
    rng = np.random.default_rng(3)
    lines = ["timestamp,side,requests,errors"]
    for minute in range(1, 121):
        for side, requests, rate in (("baseline", 950, 0.005), ("canary", 50, 0.05)):
            lines.append(
                f"{(NOON + timedelta(minutes=minute)).isoformat()},{side},{requests},{rng.binomial(requests, rate)}"
            )
    (tmp_path / "table.csv").write_text("\n".join(lines))
    (tmp_path / "config.json").write_text(json.dumps({"name": "shop", "interval": "1m", "metrics": [ERRORS]}))
    return tmp_path
