"""Commands to a running driver: none is lost, whatever else is in the file."""

import sys
from threading import Thread

import pytest

from canary_judge.rollout.inbox import COMMANDS, Command, Inbox, send_command
from canary_judge.rollout.journal import Journal


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "j"
    Journal(path).close()
    return path


def commands(journal):
    return journal.with_name("j.commands")


@pytest.mark.parametrize("rubbish", [b"\xff\xfe\n", b"\x00\x00\x00\n", b"\xed\xa0\x80 approve\n", b"\r\n\n\n"])
def test_a_command_behind_rubbish_is_obeyed(journal, rubbish):
    inbox = Inbox(journal)
    commands(journal).write_bytes(rubbish)
    inbox.take()
    with commands(journal).open("ab") as file:
        file.write(rubbish)
    send_command(journal, "abort", "now")
    found, told = inbox.take()
    assert Command("abort", "now") in found
    assert told == ""
    assert inbox.take() == ([], "")


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_line_without_an_end_is_obeyed_once(journal, name, end):
    inbox = Inbox(journal)
    commands(journal).write_bytes(name.encode() + end)
    assert inbox.take()[0] == [Command(name)]
    assert inbox.take() == ([], "")


def test_half_a_line_is_waited_for(journal):
    inbox = Inbox(journal)
    commands(journal).write_bytes(b"abort\tthe rea")
    assert inbox.take() == ([], "")
    commands(journal).write_bytes(b"abort\tthe reason\n")
    assert inbox.take()[0] == [Command("abort", "the reason")]


def test_half_a_line_that_stays_so_is_obeyed(journal):
    inbox = Inbox(journal)
    commands(journal).write_bytes(b"abort\tnobody ended this line")
    assert inbox.take() == ([], "")
    assert inbox.take()[0] == [Command("abort", "nobody ended this line")]
    with commands(journal).open("ab") as file:
        file.write(b"\n")
    assert inbox.take() == ([], "")


def test_a_file_that_is_written_anew_loses_no_abort_and_approves_nothing_twice(journal):
    inbox = Inbox(journal)
    for _ in range(3):
        send_command(journal, "approve")
    assert len(inbox.take()[0]) == 3
    commands(journal).write_text("approve\nabort\tit burns\n")
    found, told = inbox.take()
    assert found == [Command("abort", "it burns")]
    assert "written anew" in told
    assert "give them again" in told
    send_command(journal, "approve")
    assert inbox.take() == ([Command("approve")], "")


def test_a_file_that_is_cut_short_between_drivers_loses_no_abort(journal):
    first = Inbox(journal)
    for _ in range(3):
        send_command(journal, "pause")
    first.take()
    commands(journal).write_text("abort\n")
    second = Inbox(journal)
    second.taken = first.taken  # as the journal says
    assert second.take()[0] == [Command("abort")]


def test_what_was_there_before_the_rollout_is_passed_over(journal):
    send_command(journal, "abort")
    inbox = Inbox(journal)
    inbox.pass_over()
    assert inbox.take() == ([], "")
    send_command(journal, "pause")
    assert inbox.take()[0] == [Command("pause")]


def test_an_abort_in_a_file_of_as_many_lines_is_not_lost(journal):
    """The file was cleaned away while no driver ran, and has as many lines again."""
    first = Inbox(journal)
    send_command(journal, "pause")
    first.take()
    commands(journal).write_text("abort\n")
    second = Inbox(journal)
    second.taken, second.sum = first.taken, first.sum  # as the journal says
    found, told = second.take()
    assert found == [Command("abort")]
    assert "written anew" in told
    third = Inbox(journal)
    third.taken, third.sum = second.taken, second.sum
    assert third.take() == ([], "")


def test_a_command_that_another_thread_gives_while_they_are_taken_is_not_lost():
    inbox, given, taken = Inbox(None), 20_000, []
    threads = [Thread(target=lambda: [inbox.put("pause") for _ in range(given)]) for _ in range(2)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for one in threads:
            one.start()
        while any(one.is_alive() for one in threads):
            taken += inbox.take()[0]
    finally:
        sys.setswitchinterval(before)
    assert len(taken + inbox.take()[0]) == 2 * given
