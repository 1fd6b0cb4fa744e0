"""Repeated looks: evidence that stays valid whenever one looks."""

from canary_judge.looks.monitor import Monitor
from canary_judge.looks.observing import observe
from canary_judge.looks.state import MonitorState

__all__ = ["Monitor", "MonitorState", "observe"]
