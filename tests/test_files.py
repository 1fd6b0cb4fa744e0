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


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may give a file away")
def test_who_owns_a_file_goes_on_owning_it(tmp_path):
    path = tmp_path / "split.conf"
    path.write_text("before")
    os.chown(path, 1234, 1234)
    path.chmod(0o600)
    put_file(path, "after")
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, 1234, 0o600)
