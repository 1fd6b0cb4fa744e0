"""From samples to a verdict, at one planned look."""

from canary_judge.judging.fetching import fetch, judge
from canary_judge.judging.verdict import conclude, judge_samples

__all__ = ["conclude", "fetch", "judge", "judge_samples"]
