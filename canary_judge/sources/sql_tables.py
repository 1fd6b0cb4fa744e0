"""The tables of what users did, and of who was assigned where; what of their columns can be added up."""

from __future__ import annotations

import re
from collections.abc import Sequence

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from canary_judge.series import PerUser

__all__ = ["Activity", "Assignments", "divisions", "is_column", "plain_columns", "table_of"]

_NAME = re.compile(r"[^\W\d]\w*")
_TEXTS = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|--.*?$|/\*.*?\*/", re.DOTALL | re.MULTILINE)
_DIVIDES = re.compile(r"[\w)]\s*/\s*[\w(]")
_WHOLE_IS_MEANT = re.compile(
    r"//|::|[<>=]|\b(case|like|cast|convert|floor|ceil|ceiling|round|trunc|truncate|div)\b", re.IGNORECASE
)


class Assignments(BaseModel):
    """A table that says since when each user is on which side."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str = Field(min_length=1)
    user: str = Field(min_length=1)
    side: str = Field(min_length=1)
    timestamp: str = Field(min_length=1)


class Activity(BaseModel):
    """A table of what users did, one row each time; and where their side is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str = Field(min_length=1)
    user: str = Field(min_length=1)
    timestamp: str = Field(min_length=1)
    side: str | None = None
    assignments: Assignments | None = None
    starts: bool = False  # a time is the start of what its row counts


def is_column(text: str) -> bool:
    """Whether a text is the name of a column, and no expression."""
    return _NAME.fullmatch(text) is not None


def plain_columns(metrics: Sequence[PerUser]) -> list[str]:
    """Columns that are added up as they are, without an expression."""
    texts = [text for one in metrics for text in (one.numerator, one.denominator) if text is not None]
    return list(dict.fromkeys(text for text in texts if is_column(text)))


def divisions(metrics: Sequence[PerUser]) -> list[str]:
    """Expressions that divide, and do not say that whole numbers are to come of it."""
    texts = [text for one in metrics for text in (one.numerator, one.denominator) if text is not None]
    bare = {text: _TEXTS.sub(" ", text) for text in texts}
    return [text for text, one in bare.items() if _DIVIDES.search(one) and not _WHOLE_IS_MEANT.search(one)]


def table_of(name: str, *columns: str) -> sa.TableClause:
    """A table with these columns; its schema stands in front of it, with a dot."""
    schema, _, table = name.rpartition(".")
    return sa.table(table, *(sa.column(column) for column in dict.fromkeys(columns)), schema=schema or None)
