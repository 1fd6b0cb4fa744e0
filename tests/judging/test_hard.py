"""The rows of docs/calibration-hard.md that promise something, with fewer replicates (`python -m benchmarks.hard`)."""

import pytest

from benchmarks.hard import ROWS, measured

N = 120
PROMISED = [row for row in ROWS if row.passes is not None and not row.known]


@pytest.mark.slow
@pytest.mark.parametrize("row", PROMISED, ids=lambda row: f"{row.name}: {row.truth}")
def test_what_the_table_promises(row):
    low, high = row.passes
    found = measured(row, N, seed=5)
    noise = 3 * (max(low * (1 - low), high * (1 - high)) / N) ** 0.5
    assert low - noise <= found.safe <= high + noise
