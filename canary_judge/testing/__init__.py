"""For whoever writes a source or a router: contracts as plain functions, and a simulated world. No test framework.

@pytest.mark.parametrize("check", router_checks(), ids=lambda check: check.__name__)
def test_my_router_keeps_the_contract(check):
check(MyHarness())
"""

from canary_judge.testing.people import People, Visits
from canary_judge.testing.routers import MemoryStore, OddRouterHarness, RouterHarness, router_checks
from canary_judge.testing.sources import KnownSeries, SourceHarness, known_data, source_checks
from canary_judge.testing.world import SimulatedClock, SimulatedWorld, simulated_world

__all__ = [
    "KnownSeries",
    "MemoryStore",
    "OddRouterHarness",
    "People",
    "RouterHarness",
    "SimulatedClock",
    "SimulatedWorld",
    "SourceHarness",
    "Visits",
    "known_data",
    "router_checks",
    "simulated_world",
    "source_checks",
]
