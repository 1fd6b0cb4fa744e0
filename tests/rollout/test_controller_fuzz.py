"""A rollout among faults of every kind at once, killed and taken up again: it ends, and never rises unjudged."""

import random

import pytest

from canary_judge.errors import Conflict, RouterError, RouterUnavailable, SourceUnavailable
from canary_judge.rollout import Phase, RolloutPlan
from canary_judge.rollout.controller import Controller
from canary_judge.routers.kubernetes import Forbidden
from canary_judge.testing import simulated_world
from tests.rollout.test_controller import check_journal, half, incomplete, weights

PLAN = RolloutPlan(stages=[5, 25, 50, 100], minimum="2m", patience="5m", aftercare="1m")


class Unreliable:
    """A router that fails before or after it has done what it was asked to."""

    def __init__(self, router, rng):
        self.router, self.rng = router, rng

    def perhaps(self):
        if self.rng.random() < 0.08:
            raise self.rng.choice([Conflict("409"), Forbidden("403"), RouterUnavailable("timed out")])

    def get_weight(self):
        self.perhaps()
        return self.router.get_weight()

    def set_weight(self, percent, *, expect=None):
        before = self.rng.random() < 0.5
        if before:
            self.perhaps()
        written = self.router.set_weight(percent, expect=expect)
        if not before:
            self.perhaps()
        return written

    def rollback(self):
        self.perhaps()
        return self.router.rollback()

    def verify(self, percent, *, timeout=10.0):
        self.perhaps()
        return self.router.verify(percent)


class Moody:
    """A store that is down, or answers by halves, now and then."""

    def __init__(self, world, rng):
        self.world, self.rng = world, rng

    def fetch(self, queries, window):
        mood = self.rng.random()
        if mood < 0.05:
            raise SourceUnavailable("down")
        if mood < 0.10:
            return (incomplete if mood < 0.08 else half)(self.world, queries, window)
        return self.world.fetch(queries, window)


@pytest.mark.parametrize("seed", range(24))
def test_a_rollout_among_faults_ends_where_it_should(seed, tmp_path):
    rng = random.Random(seed)
    onset = rng.choice([0, 300, 600, 1e9])
    world = simulated_world(
        error_rate=0.005, canary_error_rate=lambda t: 0.05 if t >= onset else 0.005, seed=seed, requests_per_second=3000
    )
    path = tmp_path / "journal"
    for _ in range(200):
        controller = Controller(
            world.config, Moody(world, rng), Unreliable(world.router, rng), PLAN, clock=world.clock, journal=path
        )
        lives = rng.choice([3, 10, 40, 10**9])
        try:
            for number, _ in enumerate(controller.events()):
                if rng.random() < 0.01:
                    controller.pause()
                if rng.random() < 0.05:
                    controller.resume()
                assert world.clock.seconds < 3e5
                if number > lives:
                    break  # as if it were killed: nobody tells it
        except RouterError:
            assert weights(world) == []  # before anything was touched
        if controller.state.phase.ended:
            break
        world.clock.seconds += rng.choice([1, 60, 600])
    check_journal(path, world)
    assert controller.state.phase in (Phase.PROMOTED, Phase.ROLLED_BACK)
    assert weights(world)[-1] == (100 if controller.state.phase is Phase.PROMOTED else 0)
    if onset == 0:
        assert controller.state.phase is Phase.ROLLED_BACK
