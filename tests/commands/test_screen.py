"""A driver whose screen goes away: the canary is driven to its end all the same."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from canary_judge.commands.screen import Screen

# The command line, with a simulated shop behind it whose canary is bad.
DRIVEN = """
import sys, time
from datetime import timedelta
import canary_judge.commands.rollout as command
import canary_judge.rollout.controller as controller
from canary_judge.__main__ import main
from canary_judge.testing import simulated_world

config, end, pace = sys.argv[1], sys.argv[2], float(sys.argv[3])
world = simulated_world(error_rate=0.005, canary_error_rate=0.1, seed=7)
wait = world.clock.wait
world.clock.wait = lambda seconds, wake: (time.sleep(pace), wait(seconds, wake))
controller.SystemClock = lambda: world.clock
command.sources_of = lambda *_: {"default": world.source}
command._router_of = lambda *_: world.router
command.config_of = lambda _: world.config
code = main(["rollout", config, "--no-preflight", *sys.argv[4:]])
with open(end, "w") as file:
    file.write(f"{code} {world.router.get_weight().percent:g}")
sys.exit(code)
"""


def started(tmp_path, *more, pace=0.0, **streams):
    script = tmp_path / "driven.py"
    script.write_text(DRIVEN)
    command = [sys.executable, str(script), "config.yaml", str(tmp_path / "end"), str(pace), *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, **streams)


def ended(process, tmp_path):
    with process.stderr:
        complaint = process.stderr.read().decode()
    assert process.wait(60) == 2, complaint
    assert (tmp_path / "end").read_text() == "2 0"
    return complaint


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_reader_of_the_output_goes_away(tmp_path, form):
    process = started(tmp_path, "--format", form, pace=0.02, stdout=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    complaint = ended(process, tmp_path)
    assert "nothing more is shown" in complaint
    assert "Traceback" not in complaint


def test_the_disk_of_the_log_is_full(tmp_path):
    with Path("/dev/full").open("wb") as full:
        assert "No space left" in ended(started(tmp_path, stdout=full), tmp_path)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_reader_that_does_not_read_stops_nobody(tmp_path, form):
    process = started(tmp_path, "--format", form, stdout=subprocess.PIPE)
    fcntl.fcntl(process.stdout, 1031, 4096)  # F_SETPIPE_SZ: full after a few lines
    with process.stderr, process.stdout:
        assert process.wait(60) == 2  # rolled back


def test_a_frozen_terminal_stops_nobody(tmp_path):
    master, slave = pty.openpty()
    process = started(tmp_path, "--color", "never", stdout=slave, stdin=slave, start_new_session=True)
    os.close(slave)
    with process.stderr:
        assert process.wait(60) == 2
    os.close(master)


def test_what_is_shown_comes_in_its_order(capsys):
    screen = Screen()
    for number in range(100):
        screen(lambda number=number: print(number))
    assert screen.finish()
    assert capsys.readouterr().out.split() == [str(number) for number in range(100)]


def test_the_terminal_hangs_up(tmp_path):
    master, slave = pty.openpty()
    process = started(tmp_path, "--color", "never", pace=0.02, stdout=slave, stdin=slave, start_new_session=True)
    os.close(slave)
    os.read(master, 100)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    os.close(master)
    ended(process, tmp_path)


def test_a_log_file_outlives_the_terminal(tmp_path):
    with (tmp_path / "log").open("wb") as log:
        process = started(tmp_path, pace=0.02, stdout=log)
        while not (tmp_path / "log").read_bytes():
            time.sleep(0.05)
        process.send_signal(signal.SIGHUP)
        ended(process, tmp_path)
    assert b"ROLLED BACK at 0 %" in (tmp_path / "log").read_bytes()


def test_whatever_fails_is_told_once(capfd):
    screen, tried = Screen(), []

    def show():
        tried.append(1)
        raise UnicodeEncodeError("ascii", "\ud800", 0, 1, "a surrogate")

    kept = os.dup(1)
    try:
        for _ in range(3):
            screen(show)
        assert screen.finish()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    assert tried == [1]
    assert capfd.readouterr().err.count("nothing more is shown") == 1
