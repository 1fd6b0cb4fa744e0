"""Files are put in place at once, and only over files."""

import os

import pytest

from canary_judge.files import put_file


def test_what_is_no_file_is_left_as_it_is(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="is no regular file"):
        put_file(pipe, "text")
    assert pipe.is_fifo()
    assert [one.name for one in tmp_path.iterdir()] == ["pipe"]
    put_file(tmp_path / "new", "text")
    assert (tmp_path / "new").read_text() == "text"
