"""Put a file in place at once: no reader and no crash ever sees half of it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["put_file"]


def put_file(path: Path, text: str, *, check: Callable[[], None] | None = None) -> None:
    """Write beside the file, force it to the disk, and rename it over the old one, whose mode and owner it takes over.

    A new file has the mode that any new file gets.

    Args:
        path: The file; a link is followed.
        text: Its new content; line ends as they are.
        check: Called just before the rename; what it raises leaves the old file.

    Raises:
        OSError: It could not be written; the old file is as before.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():  # a rename would take its place
        raise OSError(f"{path} is no regular file, which could be written; name another")
    name = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            before = path.stat()
            with suppress(OSError, AttributeError):  # only root may give a file away, and not on every system
                os.chown(name, before.st_uid, before.st_gid)
            name.chmod(before.st_mode & 0o7777)
        if check is not None:
            check()
        name.replace(path)
    except BaseException:
        name.unlink(missing_ok=True)
        raise
