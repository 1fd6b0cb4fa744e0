"""What a shared table of assignments calls its sides: those of other experiments are not ours."""

import pandas as pd
import pytest
import sqlalchemy as sa

from canary_judge.series import PerUser, Query, Reading, Side, Window
from canary_judge.sources import SqlSource
from canary_judge.sources.sql_tables import Activity, Assignments

START = pd.Timestamp("2026-03-01", tz="UTC")
HOUR = 3600


@pytest.mark.parametrize(("seen_lately", "told"), [(False, False), (True, True)])
def test_sides_of_another_experiment_are_told_only_where_its_users_did_something(seen_lately, told, tmp_path):
    url, begun = f"sqlite:///{tmp_path}/shared.db", int(START.timestamp())
    database = sa.create_engine(url, poolclass=sa.NullPool)
    ours = pd.DataFrame({"user": range(1, 601), "side": ["control", "control", "new"] * 200, "at": begun})
    others = pd.DataFrame({"user": range(1000, 2000), "side": "Control", "at": begun - 200 * 24 * HOUR})
    pd.concat([ours, others]).to_sql("exposures", database, index=False)
    users = [*range(1, 601), *(range(1000, 1100) if seen_lately else [])]
    pd.DataFrame({"user": users, "at": begun + HOUR, "clicks": 1}).to_sql("events", database, index=False)
    assigned = Assignments(table="exposures", user="user", side="side", timestamp="at")
    source = SqlSource(url, activity=Activity(table="events", user="user", timestamp="at", assignments=assigned))
    since = START.to_pydatetime()
    window = Window(since, since + pd.Timedelta("1D").to_pytimedelta())
    labels = {Side.BASELINE: {"side": "control"}, Side.CANARY: {"side": "new"}}
    asked = [
        Query(
            metric="m",
            part="value",
            side=side,
            reading=Reading.COUNTS,
            expression="m",
            step=window.duration,
            labels=labels[side],
            users=PerUser(numerator="clicks", since=since),
        )
        for side in Side
    ]
    answers = source.fetch(asked, window)
    assert all((one.error is not None) is told for one in answers)
    assert not told or "'Control' (100 rows) are left out" in answers[0].error
    assert told or [one.moments.rows for one in answers] == [400, 200]
