"""A rollout judged by users: counted anew at each weight, by the weights that its own router was given."""

import numpy as np
import pytest

from canary_judge import Controller, JudgeConfig, RolloutPlan
from canary_judge.routers.memory import MemoryRouter
from canary_judge.series import Form, Result, nanoseconds
from canary_judge.sources.users import Rows, moments_by_side, span_of, totals_before
from canary_judge.testing import SimulatedClock

START = SimulatedClock().now()


class Crowd:
    """Users who come back all the time, on the side that their bucket has at that moment."""

    def __init__(self, lift, users=60_000, hours=60, seed=1):
        rng = np.random.default_rng(seed)
        busy = np.exp(0.8 * rng.standard_normal(users))
        visits = rng.poisson(4 * busy)
        self.user = np.repeat(np.arange(users), visits)
        self.hour = np.sort(rng.uniform(0, hours, self.user.size))
        rng.shuffle(self.user)
        self.bucket = rng.random(users) * 100
        taste = np.exp(0.5 * rng.standard_normal(users))
        self.chance = np.clip(0.1 * taste[self.user], 0, 1)
        self.draw, self.lift, self.users = rng.random(self.user.size), lift, users
        self.clock, self.log = SimulatedClock(), [(0.0, 0.0)]
        self.router = MemoryRouter(on_change=lambda percent: self.log.append((self.clock.seconds / 3600, percent)))

    def fetch(self, queries, window):
        return [self.answer(query, window) for query in queries]

    def answer(self, query, window):
        asked, since, until = span_of(query, window)
        seen = int(np.searchsorted(self.hour, self.clock.seconds / 3600, side="right"))
        times, weights = (np.array(column) for column in zip(*self.log, strict=True))
        canary = self.bucket[self.user[:seen]] < weights[np.searchsorted(times, self.hour[:seen], side="right") - 1]
        clicked = self.draw[:seen] < self.chance[:seen] * np.where(canary, 1 + self.lift, 1.0)
        rows = Rows(
            times=nanoseconds(START) + (self.hour[:seen] * 3.6e12).astype(np.int64),
            canary=canary,
            users=self.user[:seen],
            count=self.users,
            numerator=clicked.astype(float),
            denominator=np.ones(seen),
            undefined=np.zeros(seen, dtype=bool),
        )
        moments = moments_by_side(rows, asked, totals_before(rows, asked), since=since, until=until)
        return Result(form=Form.MOMENTS, moments=moments[query.side])


CONFIG = JudgeConfig.from_mapping(
    {
        "name": "feed",
        "interval": "15m",
        "metrics": [
            {
                "name": "clicks",
                "kind": "ratio",
                "events": "clicks",
                "total": "impressions",
                "unit_of_replication": "user",
                "harm": "decrease",
                "margin": "15%",
            }
        ],
    }
)
PLAN = RolloutPlan.model_validate(
    {"stages": [5.0, 25.0, 50.0, 100.0], "minimum": "2h", "maximum": "2d", "patience": "6h"}
)


@pytest.mark.parametrize(("lift", "phase", "highest"), [(0.0, "promoted", 100.0), (-0.6, "rolled_back", 25.0)])
def test_a_rollout_is_decided_by_users(lift, phase, highest):
    crowd = Crowd(lift)
    controller = Controller(CONFIG, crowd, crowd.router, PLAN, clock=crowd.clock)
    final = controller.run()
    weights = [percent for _, percent in crowd.log]
    assert final.phase.value == phase, (weights, controller.judgement)
    assert max(weights) <= highest
    assert crowd.router.get_weight().percent == (100.0 if lift == 0 else 0.0)
    if lift == 0:
        assert weights == [0.0, 5.0, 25.0, 50.0, 100.0]
