"""Several routers as one: the contract, and what becomes of the others when one refuses."""

import pytest

from canary_judge import Controller, RolloutPlan
from canary_judge.errors import ConfigError, DriftDetected, RouterError, RouterUnavailable
from canary_judge.rollout import Phase
from canary_judge.routers import MemoryRouter, from_config
from canary_judge.routers.several import SeveralRouters
from canary_judge.routing import Residual, RollbackReport, leftovers
from canary_judge.testing import router_checks, simulated_world


class Harness:
    def router(self, percent):
        return SeveralRouters({name: MemoryRouter(percent) for name in "abc"})


@pytest.mark.parametrize("check", router_checks(), ids=lambda check: check.__name__)
def test_it_is_a_router_like_others(check):
    check(Harness())


class Refusing(MemoryRouter):
    """Refuses to be raised beyond a weight, or to be lowered at all."""

    def __init__(self, percent=0.0, *, most=100.0, lowers=True):
        super().__init__(percent)
        self.most, self.lowers = most, lowers

    def set_weight(self, percent, *, expect=None):
        if percent > self.most or (percent < self.get_weight().percent and not self.lowers):
            raise RouterUnavailable("no answer")
        return super().set_weight(percent, expect=expect)

    def rollback(self):
        self.set_weight(0.0)
        return RollbackReport(changed=True, residuals=(Residual(place="rule 1", reason="cookie"),))


@pytest.mark.parametrize("position", range(3))
def test_when_one_refuses_a_raise_the_others_get_back_what_they_had(position):
    routers = [MemoryRouter(5), MemoryRouter(5)]
    routers.insert(position, Refusing(5, most=10))
    both = SeveralRouters(dict(zip("abc", routers, strict=True)))
    with pytest.raises(RouterUnavailable, match=f"{'abc'[position]}: no answer"):
        both.set_weight(25)
    assert [router.get_weight().percent for router in routers] == [5, 5, 5]
    assert both.set_weight(10)


def test_a_raise_that_some_have_already_is_one():
    """As after a driver that was killed half-way."""
    routers = {"a": MemoryRouter(25), "b": MemoryRouter(5), "c": Refusing(5, most=10), "d": MemoryRouter(50)}
    with pytest.raises(RouterUnavailable, match="c: no answer"):
        SeveralRouters(routers).set_weight(25)
    assert [router.get_weight().percent for router in routers.values()] == [25, 5, 5, 50]


class Odd(MemoryRouter):
    def leftovers(self):
        raise KeyError("of a plug-in")


def test_a_router_that_cannot_tell_what_is_left_says_so():
    (one,) = leftovers(Odd())
    assert str(one) == "leftovers: cannot be told: KeyError: 'of a plug-in'"


@pytest.mark.parametrize("lower", [lambda both: both.set_weight(1), lambda both: both.rollback()])
@pytest.mark.parametrize("position", range(3))
def test_when_one_refuses_to_be_lowered_the_others_are(position, lower):
    routers = [MemoryRouter(50), MemoryRouter(50)]
    routers.insert(position, Refusing(50, lowers=False))
    both = SeveralRouters(dict(zip("abc", routers, strict=True)))
    with pytest.raises(RouterUnavailable, match=f"{'abc'[position]}: no answer"):
        lower(both)
    assert sum(router.get_weight().percent <= 1 for router in routers) == 2
    assert both.get_weight().percent is None
    assert "50 %" in str(both.get_weight())


def test_a_drift_of_one_writes_nothing():
    routers = {"a": MemoryRouter(5), "b": MemoryRouter(7)}
    with pytest.raises(DriftDetected, match="b: "):
        SeveralRouters(routers).set_weight(25, expect=5)
    assert [router.get_weight().percent for router in routers.values()] == [5, 7]


def test_what_is_left_is_told_with_the_name_of_its_router():
    report = SeveralRouters({"a": MemoryRouter(5), "b": Refusing(5)}).rollback()
    assert [str(one) for one in report.residuals] == ["b: rule 1: cookie"]


def test_a_rollout_over_two_whose_second_refuses_leaves_neither_raised():
    world = simulated_world(error_rate=0.005, seed=3)
    second = Refusing(most=10)
    both = SeveralRouters({"first": world.router, "second": second})
    plan = RolloutPlan(stages=[5, 25, 100], minimum="1m", maximum="2h", at_deadline="roll_back")
    seen = []
    for event in Controller(world.config, world.source, both, plan, clock=world.clock).events():
        seen.append(event.text)
        if any("25 % could not be set" in text for text in seen):
            break
    assert [world.router.get_weight().percent, second.get_weight().percent] == [5, 5]
    assert "second: no answer" in seen[-1]


def test_a_rollout_over_two_rolls_both_back():
    world = simulated_world(error_rate=0.005, canary_error_rate=0.1, seed=3)
    second = MemoryRouter()
    both = SeveralRouters({"first": world.router, "second": second})
    result = Controller(world.config, world.source, both, RolloutPlan(minimum="1m"), clock=world.clock).run()
    assert result.phase is Phase.ROLLED_BACK
    assert [world.router.get_weight().percent, second.get_weight().percent] == [0, 0]


def test_from_a_list_in_a_config():
    both = from_config([{"type": "memory"}, {"type": "memory"}])
    both.set_weight(5)
    assert list(both.get_weight().per_route) == ["[0] memory memory", "[1] memory memory"]
    with pytest.raises(ConfigError, match=r"router\[1\].type: 'nope' is no router"):
        from_config([{"type": "memory"}, {"type": "nope"}])
    with pytest.raises(ValueError, match="no router"):
        SeveralRouters({})
    assert issubclass(RouterUnavailable, RouterError)
