"""A run that has ended is archived, and its replay says what the run said."""

import logging

import pytest

from canary_judge.history import History, replay
from canary_judge.service import Runs
from canary_judge.service.archive import Archive
from canary_judge.testing import simulated_world


@pytest.fixture
def ended(tmp_path):
    world = simulated_world(seed=1, canary_error_rate=0.05)
    (tmp_path / "shop.json").write_text(world.config.model_dump_json(exclude={"sources", "router"}))
    world.router.set_weight(10)

    def follow(*hooks):
        with Runs(
            tmp_path,
            tmp_path / "judge.db",
            workers=0,
            sources=lambda *_: {"default": world.source},
            now=world.clock.now,
        ) as runs:
            runs.on_ended += [hook(runs.store) for hook in hooks]
            for _ in range(30):
                answer = runs.look("shop", canary={"version": "2"}, baseline={"version": "1"}, horizon="30m")
                world.clock.seconds += 60
                if answer.verdict == "fail":
                    return answer
        raise AssertionError("the canary did not fail")

    return follow


def test_a_run_that_has_ended_is_archived_and_says_the_same_again(ended, tmp_path):
    url = str(tmp_path / "archive")
    answer = ended(lambda store: Archive(store, url))
    (canary,) = History(url)
    assert (canary.ended_by, canary.did) == ("this judge", "failed")
    assert canary.settings().canary == {"version": "2"}
    *_, (_, last) = replay(canary.settings(), canary)
    assert last.to_json() == canary.judgement
    assert last.verdict == answer.verdict


def test_an_archive_that_fails_is_logged_and_answers_go_on(ended, tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("canary_judge.history.objects._put_file", full)
    with caplog.at_level(logging.ERROR):
        assert ended(lambda store: Archive(store, str(tmp_path / "archive"))).verdict == "fail"
    assert "is not archived: " in caplog.text
