"""What is asked of a run that cannot be judged any more: a side whose data end, and evidence that is dropped."""

from dataclasses import replace

import pytest

from canary_judge.results import Side
from canary_judge.series import nanoseconds
from tests.service.house import house


@pytest.fixture
def shop(tmp_path):
    with house(tmp_path) as found:
        yield found


class Gone:
    """A source of which a side's series end at a moment, as where a scrape stops."""

    def __init__(self, source, side, moment):
        self.source, self.side, self.moment = source, side, nanoseconds(moment)

    def fetch(self, queries, window):
        return [
            self._cut(answer) if query.side is self.side else answer
            for query, answer in zip(queries, self.source.fetch(queries, window), strict=True)
        ]

    def _cut(self, answer):
        kept = []
        for one in answer.series:
            before = one.timestamps <= self.moment
            if before.any():
                kept.append(replace(one, timestamps=one.timestamps[before], values=one.values[before]))
        return replace(answer, series=tuple(kept))


def end(shop, side):
    """From now on."""
    shop.sources["shop"].source = Gone(shop.sources["shop"].source, side, shop.now())


@pytest.mark.parametrize("side", list(Side))
def test_a_pass_does_not_outlive_the_data_of_a_side(shop, side):
    for _ in range(40):
        shop.pass_time()
        summary = shop.look()
    assert summary["verdict"] == "pass"
    end(shop, side)
    seen = []
    for _ in range(8):
        shop.pass_time()
        seen.append(shop.look())
    assert [one["verdict"] for one in seen[:2]] == ["pass", "pass"]  # as late as data may be
    assert {one["verdict"] for one in seen[2:]} == {"marginal"}
    assert all(one["stale"] for one in seen[4:])
    assert seen[-1]["reason"] == f"no data of the {side} came for 8m"


@pytest.mark.parametrize("side", list(Side))
def test_flagger_raises_no_weight_on_one_side_alone(shop, side):
    def gate():
        body = {
            "name": "web",
            "namespace": "prod",
            "phase": "Progressing",
            "checksum": "a",
            "metadata": {"config": "shop", "require": "no_regression"},
        }
        return shop.api("POST", "/flagger/gate", json=body).status

    for _ in range(3):
        shop.pass_time()
        assert gate() == 200
    end(shop, side)
    granted = []
    for _ in range(12):
        shop.pass_time()
        granted.append(gate())
    assert granted[:2] == [200, 200]
    assert set(granted[3:]) == {412}


def test_a_restart_that_is_left_in_a_template_is_told(shop):
    for _ in range(3):
        shop.pass_time()
        first = shop.look()
    assert not first["stale"]
    shop.pass_time()
    assert not shop.look(restart=True)["stale"]  # for one question
    shop.pass_time()
    again = shop.look(restart=True)
    assert (again["verdict"], again["stale"]) == ("marginal", True)
    assert "`restart: true` drops the evidence at each question, last 1m ago" in again["reason"]
    for _ in range(12):
        shop.pass_time()
        after = shop.look()
    assert not after["stale"]
    shop.pass_time()
    assert not shop.look(restart=True)["stale"]
