"""What can go wrong, as one tree.

::

    CanaryJudgeError
    ├── ConfigError          what the user wrote cannot be judged (also a ValueError)
    ├── DataError            a table or file that was handed in is malformed (also a ValueError)
    ├── SourceError          the world's fault: a metric store failed
    │   ├── QueryError       the store refused this query; asking again will not help
    │   └── SourceUnavailable  no answer, or none that can be trusted; asking later may help
    └── RouterError          a traffic router failed, or cannot do what it is asked to
        ├── RouterUnavailable  no answer; whether a write took effect is not known
        ├── Conflict         somebody else changed the object between reading and writing
        ├── DriftDetected    the weight is not the one that was set
        ├── DestinationNotFound  the stable or the canary destination is not in the route
        ├── RouteNotFound    the object or the named route does not exist
        ├── AmbiguousRoute   several routes fit, and none was named
        ├── NotACanaryIngress  the Ingress is not marked as a canary
        ├── NotWeighted      the route has no weights that could be set
        └── NotEnoughWeight  the weight cannot be written: other destinations need it, or the router's steps are coarser

What the *data look like* is never an error: too few samples, NaN or an empty side are outcomes.
"""

__all__ = [
    "AmbiguousRoute",
    "CanaryJudgeError",
    "ConfigError",
    "Conflict",
    "DataError",
    "DestinationNotFound",
    "DriftDetected",
    "NotACanaryIngress",
    "NotEnoughWeight",
    "NotWeighted",
    "QueryError",
    "RouteNotFound",
    "RouterError",
    "RouterUnavailable",
    "SourceError",
    "SourceUnavailable",
]


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


class SourceUnavailable(SourceError):  # reads as the state it reports
    """The store gave no answer that can be trusted; a later attempt may succeed."""


class RouterError(CanaryJudgeError):
    """A traffic router failed, or cannot do what it is asked to."""


class RouterUnavailable(RouterError):  # reads as the state it reports
    """The router gave no answer; whether a write took effect is not known until the weight is read back."""


class Conflict(RouterError):
    """Somebody else changed the object between reading and writing; nothing was written."""


class DriftDetected(RouterError):
    """The weight in force is not the one that was set last; nothing was written."""


class DestinationNotFound(RouterError):
    """The stable or the canary destination is not in the route; none is invented."""


class RouteNotFound(RouterError):
    """The object, or a route that was named, does not exist."""


class AmbiguousRoute(RouterError):
    """Several routes split between stable and canary, and none was named."""


class NotACanaryIngress(RouterError):
    """The Ingress is not marked as a canary: it would clash with the stable one."""


class NotWeighted(RouterError):
    """The route has no weights that could be set."""


class NotEnoughWeight(RouterError):
    """The weight cannot be written: other destinations need it, or the router's steps are coarser."""
