"""From samples to a verdict, at one planned look."""

from canary_judge.judging.verdict import conclude, fetch, judge, judge_samples

__all__ = ["conclude", "fetch", "judge", "judge_samples"]
