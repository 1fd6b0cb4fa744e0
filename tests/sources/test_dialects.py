"""The statement that counts users as each dialect writes it: compared with what is recorded, on no server.

SQLite, DuckDB, PostgreSQL and MariaDB run it in test_sql_users.py; here it is what the others would be sent. The dialects
are installed by a step of .ci/run, in the versions that were recorded. To record: `python -m tests.sources.test_dialects`,
and read the difference.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.dialects import registry

from canary_judge.results import Side
from canary_judge.series import PerUser
from canary_judge.sources.sql_tables import Activity, Assignments
from canary_judge.sources.sql_users import Span, statement

pytest.importorskip("sqlalchemy_bigquery", reason="it comes with a step of .ci/run")
RECORDED = Path(__file__).parent.parent / "data" / "sql"
DIALECTS = ["mysql", "mssql", "bigquery", "snowflake", "redshift", "clickhouse", "trino", "databricks"]
START = datetime(2026, 11, 18, tzinfo=UTC)


def written(name: str) -> str:
    """Both ways of telling the side, with values where they are bound."""
    dialect = registry.load(name)()
    given = {"table": "shop.events", "user": "user_id", "timestamp": "happened at"}
    places = [
        Activity(**given, side="release"),
        Activity(**given, assignments=Assignments(table="exposures", user="user", side="variant", timestamp="since")),
    ]
    metrics = [
        PerUser(numerator="clicks", denominator="impressions", cap=50),
        PerUser(numerator="case when paid then amount end"),
    ]
    hours = [START + timedelta(hours=hour) for hour in (0, 30, 10, 20, 27.5)]
    span = Span(*hours, (START - timedelta(days=14), START))
    sides = {Side.BASELINE: "1.4.0", Side.CANARY: "1.5.0"}
    texts = [
        str(statement(place, metrics, span, sides, dialect=dialect.name).compile(dialect=dialect)) for place in places
    ]
    return ";\n\n".join(texts) + "\n"


@pytest.mark.parametrize("name", DIALECTS)
def test_each_dialect_writes_what_was_read_and_recorded(name):
    text = written(name)
    assert text == (RECORDED / f"{name}.sql").read_text()
    assert "covar" not in text.lower()
    assert "1.5.0" not in text  # it is bound


if __name__ == "__main__":
    RECORDED.mkdir(exist_ok=True)
    for name in DIALECTS:
        (RECORDED / f"{name}.sql").write_text(written(name))
