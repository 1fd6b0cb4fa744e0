"""What can stand in the way of an answer of the service, beside what is wrong with a config or with data."""

from canary_judge.errors import CanaryJudgeError, ConfigError

__all__ = ["Busy", "Clash", "StoreDown", "UnknownConfig", "UnknownRun"]


class UnknownConfig(ConfigError):
    """No config of that name is in the folder."""


class UnknownRun(CanaryJudgeError, LookupError):
    """No run has that id or key."""


class Clash(CanaryJudgeError):
    """The key belongs to a run of another config, of other versions, or with another plan."""


class Busy(CanaryJudgeError):
    """So much is asked at once that this question is not taken."""


class StoreDown(CanaryJudgeError):
    """The database gave no answer, so that nothing can be kept, and nothing is known."""
