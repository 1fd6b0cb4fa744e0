"""Real database servers of our own, on the loopback; skipped where there is none."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _programs(*names: str) -> dict[str, str]:
    folders = [os.environ["PATH"], "/usr/sbin", *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    found = {name: shutil.which(name, path=os.pathsep.join(folders)) for name in names}
    if not all(found.values()):
        pytest.skip(f"no {names[-1]} here")
    return found


def _user(folder: Path) -> str | None:
    """Servers refuse to run as root."""
    if os.getuid() != 0:
        return None
    shutil.chown(folder, "nobody")
    for parent in folder.parents:
        with contextlib.suppress(OSError):
            parent.chmod(parent.stat().st_mode | 0o055)
    return "nobody"


@contextlib.contextmanager
def _serving(command: list[object], folder: Path, user: str | None, url: str) -> Iterator[str]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(one) for one in command], user=user, cwd=folder, stdout=log, stderr=log)
    try:
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        for _ in range(150):
            with contextlib.suppress(sqlalchemy.exc.OperationalError):
                engine.connect().close()
                break
            time.sleep(0.1)
        else:
            pytest.fail((folder / "log").read_text()[-500:])
        yield url
    finally:
        process.send_signal(signal.SIGINT if "postgres" in url else signal.SIGTERM)  # without waiting for its clients
        process.wait(30)


@contextlib.contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """Address of a PostgreSQL."""
    pytest.importorskip("psycopg", reason="pip install 'psycopg[binary]'")
    programs, user, port = _programs("initdb", "postgres"), _user(folder), _free_port()
    data = folder / "data"
    made = subprocess.run(
        [programs["initdb"], "-D", data, "-U", "me", "--auth=trust", "-E", "UTF8"],
        user=user,
        cwd=folder,
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"initdb: {made.stderr[-200:]!r}")
    command = [programs["postgres"], "-D", data, "-p", port, "-k", folder, "-c", "listen_addresses=127.0.0.1"]
    with _serving(command, folder, user, f"postgresql+psycopg://me@127.0.0.1:{port}/postgres") as url:
        yield url


@contextlib.contextmanager
def running_mariadb(folder: Path) -> Iterator[str]:
    """Address of a MariaDB."""
    pytest.importorskip("pymysql", reason="pip install pymysql")
    programs, user, port = _programs("mariadb-install-db", "mariadbd"), _user(folder), _free_port()
    data = folder / "data"
    made = subprocess.run(
        [
            programs["mariadb-install-db"],
            "--no-defaults",
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
        ],
        user=user,
        cwd=folder,
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"mariadb-install-db: {made.stderr[-200:]!r}")
    command = [
        programs["mariadbd"],
        "--no-defaults",
        f"--datadir={data}",
        f"--port={port}",
        f"--socket={folder}/s",
        f"--pid-file={folder}/pid",
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        "--default-time-zone=+02:00",
    ]
    with _serving(command, folder, user, f"mariadb+pymysql://root@127.0.0.1:{port}/test") as url:
        yield url
