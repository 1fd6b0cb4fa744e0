"""The tables of a service. Moments are seconds since the epoch, but those that are read by people or by a judge."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = ["configs", "executions", "looks", "metadata", "records", "runs", "targets"]

metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("key", String(400), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("config_name", String(200), nullable=False),
    Column("config_hash", String(64), nullable=False),
    Column("config", Text, nullable=False),  # as it was when the run began, without sources
    Column("interval", Double, nullable=False),  # seconds
    Column("baseline", JSON, nullable=False),
    Column("canary", JSON, nullable=False),
    Column("start", String(40), nullable=False),
    Column("horizon", Double),  # seconds
    Column("created", Double, nullable=False),
    Column("owner", String(100), nullable=False),
    Column("watched", Boolean, nullable=False),  # the service itself looks every interval
    Column("state", String(12), nullable=False),
    Column("error", Text, nullable=False),
    Column("weight", Double),
    Column("sequence", Integer, nullable=False),  # records of the log
    Column("looked", Double),  # when the last look ended well
    Column("asked", Double, nullable=False),
    Column("verdict", String(10)),
    Column("summary", JSON),
    Column("judgement", Text),
    Column("seen", Boolean, nullable=False),  # requests of the canary
    Column("ended", Boolean, nullable=False),  # no look can change it any more
    Column("granted", Double),  # when a first step was granted without evidence
    UniqueConstraint("key", "attempt"),
    Index("runs_by_state", "state", "watched"),
)

# The log of a run: its lines are those of a state file. Who writes a line second has lost.
records = Table(
    "records",
    metadata,
    Column("run", String(32), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

# What each look said, for people.
looks = Table(
    "looks",
    metadata,
    Column("run", String(32), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("moment", Double, nullable=False),
    Column("verdict", String(10), nullable=False),
    Column("score", Double, nullable=False),
    Column("weight", Double),
    Column("reason", Text, nullable=False),
)

# Deployments of Flagger: which run is theirs, and the weight that it told.
targets = Table(
    "targets",
    metadata,
    Column("key", String(400), primary_key=True),
    Column("checksum", String(200), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("weight", Double),
    Column("heard", Boolean, nullable=False),  # events come, so that a weight above 0 would have been told
    Column("rolled_back", Double),  # when a rollback was answered with yes
    Column("called", Double, nullable=False),
)

# Kayenta's canary configs, and what was asked of them.
configs = Table(
    "canary_configs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("body", JSON, nullable=False),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
)

executions = Table(
    "executions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("kind", String(12), nullable=False),  # canary, standalone
    Column("application", String(200), nullable=False),
    Column("about", String(64), nullable=False),  # hash of config and sides: the same canary, asked again
    Column("asked", JSON, nullable=False),
    Column("status", String(12), nullable=False),
    Column("created", Double, nullable=False),
    Column("started", Double, nullable=False),
    Column("ended", Double),
    Column("result", JSON),
    Column("error", Text, nullable=False),
    Index("executions_by_application", "application", "created"),
    Index("executions_by_about", "about", "created"),
)
