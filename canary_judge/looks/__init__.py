"""Repeated looks: evidence that stays valid whenever one looks."""

from canary_judge.looks.monitor import Monitor, MonitorState, observe

__all__ = ["Monitor", "MonitorState", "observe"]
