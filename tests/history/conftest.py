"""An archive on a disk, and one in memory."""

import pytest

from canary_judge.history import History


@pytest.fixture(params=["disk", "memory"])
def history(request, tmp_path):
    return History(tmp_path / "a" if request.param == "disk" else f"memory://{tmp_path.name}")
