"""Canaries that are followed for others: Argo Rollouts, Flagger, Spinnaker, CI, and operators of one's own.

`Runs` is the library; `canary_judge.service.app` is FastAPI around it (`canary-judge serve`).
"""

from canary_judge.service.answers import Answer, key_of
from canary_judge.service.problems import Busy, Clash, StoreDown, UnknownConfig, UnknownRun
from canary_judge.service.runs import Runs
from canary_judge.service.store import Store

__all__ = ["Answer", "Busy", "Clash", "Runs", "Store", "StoreDown", "UnknownConfig", "UnknownRun", "key_of"]
