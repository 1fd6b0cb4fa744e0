"""What can go wrong, as one tree.

```
CanaryJudgeError
├── ConfigError          what the user wrote cannot be judged (also a ValueError)
├── DataError            a table or file that was handed in is malformed (also a ValueError)
└── SourceError          the world's fault: a metric store failed
    ├── QueryError       the store refused this query; asking again will not help
    └── SourceUnavailable  no answer, or none that can be trusted; asking later may help
```

What the *data look like* is never an error: too few samples, NaN or an empty side are outcomes.
"""

__all__ = ["CanaryJudgeError", "ConfigError", "DataError", "QueryError", "SourceError", "SourceUnavailable"]


class CanaryJudgeError(Exception):
    """Base of every error this library raises on purpose."""


class ConfigError(CanaryJudgeError, ValueError):
    """The configuration is wrong; the message names the field, the value and the remedy."""


class DataError(CanaryJudgeError, ValueError):
    """A table, file or window that was handed in is malformed."""


class SourceError(CanaryJudgeError):
    """A metric store failed."""


class QueryError(SourceError):
    """The store refused the query: the user's fault, never worth a retry."""


class SourceUnavailable(SourceError):  # noqa: N818  (reads as the state it reports)
    """The store gave no answer that can be trusted; a later attempt may succeed."""
