"""A history asked in SQL: DuckDB over its objects, with the newest version of each canary and its newest label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from canary_judge.errors import DataError
from canary_judge.history.labels import Given
from canary_judge.history.objects import NEEDS, Objects
from canary_judge.history.parquet import Place, schema
from canary_judge.untrusted import printable

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

__all__ = ["ask"]

# How a question begins; and what EXPLAIN runs instead of telling how it would.
_ASKS = re.compile(r"[\s(]*(pivot|unpivot|from|with|select)\b", re.IGNORECASE)
_RUNS = re.compile(r"\banaly[sz]e\b", re.IGNORECASE)
_LABEL = ("label", "label_by", "label_note")


def ask(objects: Objects, places: Sequence[Place], given: Given, sql: str) -> pd.DataFrame:
    """The answer to a query of `canaries`, `looks` and `consumed`.

    Raises:
        DataError: DuckDB is missing, or cannot answer it.
        FileNotFoundError: An object is gone.
    """
    try:
        import duckdb
    except ImportError as error:
        raise DataError(f"queries of a history need duckdb: {NEEDS}") from error
    with duckdb.connect() as connection:
        try:
            connection.execute("SET TimeZone = 'UTC'")  # as everywhere else
            # it is printed where our answer is; in Jupyter the setting may be refused, and is off
            if connection.execute("SELECT current_setting('enable_progress_bar')").fetchall() == [(True,)]:
                connection.execute("SET enable_progress_bar = false")
            _views(connection, objects, places, given)
            _shut(connection, objects, places)
            _refuse_what_writes(connection, sql)
            return connection.execute(sql).df()
        except duckdb.IOException as error:
            raise FileNotFoundError(str(error)) from error
        except duckdb.Error as error:
            if objects.local and not all(Path(objects.address(one.path)).exists() for one in places):
                raise FileNotFoundError(str(error)) from error  # which it tells as one that must not be read
            text = " ".join(str(error).split())
            raise DataError(f"the query cannot be answered: {printable(text)}") from error


def _views(connection: duckdb.DuckDBPyConnection, objects: Objects, places: Sequence[Place], given: Given) -> None:
    import pandas as pd
    import pyarrow as pa

    if places:
        told = [given.of(one) for one in places]
        addresses = [objects.address(one.path) for one in places]
        chosen = {
            "id": [one.id for one in places],
            "object": addresses,
            "row": [one.row for one in places],
            "label": [one.kind for one in told],
            "label_by": [one.by for one in told],
            "label_note": [one.note for one in told],
            "label_at": pd.to_datetime(pd.Series([one.at for one in told], dtype="object"), utc=True),
        }
        connection.register("chosen", pd.DataFrame(chosen).astype(dict.fromkeys(("id", "object", *_LABEL), "string")))
        if not objects.local:
            connection.register_filesystem(objects.system)
        listed = ", ".join(_quoted(address) for address in dict.fromkeys(addresses))
        connection.execute(
            f"CREATE VIEW every AS SELECT r.* EXCLUDE ({', '.join(_LABEL)}, filename, file_row_number), "  # noqa: S608
            f"{', '.join(f'c.{name}' for name in (*_LABEL, 'label_at'))} FROM read_parquet([{listed}], "
            "union_by_name = true, filename = true, file_row_number = true, hive_partitioning = false) r JOIN chosen c "
            "ON r.filename = c.object AND r.file_row_number = c.row"
        )
    else:
        nothing = schema().append(pa.field("label_at", pa.timestamp("us", tz="UTC"))).empty_table()
        connection.register("every", nothing)
    connection.execute("CREATE VIEW canaries AS SELECT * EXCLUDE (looks, consumed) FROM every")
    for name in ("looks", "consumed"):
        connection.execute(f"CREATE VIEW {name} AS SELECT id, unnest({name}, recursive := true) FROM every")  # noqa: S608


def _shut(connection: duckdb.DuckDBPyConnection, objects: Objects, places: Sequence[Place]) -> None:
    """A question reads the archive, and no other file; it writes none."""
    paths = ", ".join(_quoted(objects.address(one.path)) for one in places)
    connection.execute(f"SET allowed_paths = [{paths}]")
    for setting in (
        "python_enable_replacements = false",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")


def _refuse_what_writes(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """What may be read may be written, too, going by DuckDB: COPY ... TO would replace objects of the archive."""
    import duckdb

    kinds = duckdb.StatementType
    for one in connection.extract_statements(sql):
        # PIVOT makes a type of its columns before it asks, and so does what writes its answer down
        asks = one.type == kinds.SELECT or (one.type == kinds.MULTI and _ASKS.match(one.query) is not None)
        if not asks and not (one.type == kinds.EXPLAIN and _RUNS.search(one.query) is None):
            text = f"it is {one.type.name}, and a history is only asked, by SELECT"
            raise DataError(f"the query cannot be answered: {text}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
