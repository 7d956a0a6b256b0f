"""A source's `where:` condition, evaluated by DuckDB one batch at a time.

DuckDB sees only the columns that the condition names and gives back one boolean a row. So memory stays at a batch
whatever the file's size, the order of the rows is the file's, and the other columns never leave Arrow. What a
batch-wise answer could get wrong is refused: subqueries, aggregates, and functions that answer differently each time.
Columns that are text only because their format has no types are compared as what they say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from stages.errors import UserError
from stages.urls.damage import Damage
from stages.urls.types import PATTERNS, TEXT, UNKNOWN
from stages.words import first_line

TypesOf = Callable[[Sequence[str]], Mapping[str, str]]
"""Columns -> DuckDB's types of those that are text because the format has none."""


class Where:
    """A condition over the columns of one file.

    Args:
        condition: a DuckDB expression.
        schema: the file's columns.
        types_of: finds the types of columns that are text.
        place: the file, for messages.

    Raises:
        UserError: the condition is no DuckDB expression, names a column that is not there, does not fit a column's
            type, or is one that batches cannot answer.
    """

    def __init__(self, condition: str, schema: pa.Schema, types_of: TypesOf, *, place: str) -> None:
        self._condition = condition
        self._schema = schema
        self._place = place
        self._types: Mapping[str, str] = {}
        self._connection = duckdb.connect(":memory:", config={"threads": 1})
        self._connection.execute("SET enable_external_access = false")
        nodes = list(_nodes(self._parsed()))
        self._refuse_unstable(nodes)
        self.columns = self._columns(nodes)
        """The columns that the condition needs; never none, so that a batch of them knows its length."""
        self._types = types_of(self.columns)
        self._bind()

    def mask(self, batch: pa.RecordBatch, numbers: Sequence[int], damage: Damage) -> pa.BooleanArray:
        """Return which rows the condition holds for; null counts as false.

        Args:
            batch: rows of the file.
            numbers: which entry of the file each is.
            damage: is told of texts that are not what their column's first rows are.

        Raises:
            UserError: a value does not fit, as in a CAST of a text that is no number.
        """
        rows = pa.Table.from_batches([batch.select(self.columns)])
        self._register(rows)
        for name, kind in self._types.items():
            for row in np.flatnonzero(self._misfits(rows, name)).tolist():
                damage.emptied(numbers[row], f"{name!r} is no {kind}, which `where` takes it for")
        return pa.array(self._asked(f"({self._condition}\n)", f"({self._relation()})"))

    def _misfits(self, rows: pa.Table, name: str) -> Any:
        """Return in which rows a column has a text that is not of the column's type, as a NumPy array."""
        if self._types[name] == UNKNOWN:
            return rows.column(name).is_valid().to_numpy()
        column = _quoted(name)
        return self._asked(f"({column} IS NOT NULL AND {self._typed(name)} IS NULL)", "batch")

    def _asked(self, condition: str, relation: str) -> Any:
        """Return for which rows of a relation a condition holds, as a NumPy array."""
        query = f"SELECT CAST({condition} AS BOOLEAN) AS holds FROM {relation}"  # noqa: S608  # the user's own
        try:
            holds = self._connection.execute(query).fetchnumpy()["holds"]
        except duckdb.Error as error:
            raise self._mistake(first_line(error)) from error
        return np.ma.filled(holds, fill_value=False).astype(bool)

    def _register(self, rows: pa.Table) -> None:
        for at, name in enumerate(self.columns):
            if self._types.get(name) == UNKNOWN:
                rows = rows.set_column(at, name, pa.nulls(rows.num_rows))
        self._connection.register("batch", rows)

    def _relation(self) -> str:
        typed = ", ".join(f"{self._typed(name)} AS {_quoted(name)}" for name in self.columns)
        return f"SELECT {typed} FROM batch"  # noqa: S608  # names of columns, quoted

    def _typed(self, name: str) -> str:
        """Return the SQL of a column as what its texts say."""
        kind, column = self._types.get(name, TEXT), _quoted(name)
        if kind not in PATTERNS:
            return column
        return f"CASE WHEN regexp_full_match({column}, '{PATTERNS[kind]}') THEN TRY_CAST({column} AS {kind}) END"

    def _parsed(self) -> Any:
        query = "SELECT json_serialize_sql(?)"
        # The line break ends a `--` comment, which would otherwise swallow the bracket.
        ((text,),) = self._connection.execute(query, [f"SELECT 1 WHERE ({self._condition}\n)"]).fetchall()
        parsed = json.loads(text)
        if parsed["error"]:
            raise self._mistake(parsed["error_message"])
        return parsed

    def _bind(self) -> None:
        self._register(self._schema.empty_table().select(self.columns))  # DuckDB need not know the others' types
        query = f"SELECT 1 FROM ({self._relation()}) WHERE ({self._condition}\n)"  # noqa: S608  # the user's, on no data
        try:
            self._connection.execute(query)
        except duckdb.Error as error:
            raise self._mistake(first_line(error)) from error

    def _refuse_unstable(self, nodes: list[dict[str, Any]]) -> None:
        unstable = _unstable_functions()
        known = {name.casefold() for name in self._schema.names}
        for node in nodes:
            if node.get("class") == "SUBQUERY":
                raise self._mistake("a subquery is not possible here; use a list, as in x IN ('a', 'b')")
            # `current_date` stands without brackets and is parsed as a column.
            names = [node.get("function_name"), *(set(node.get("column_names", [])) - known)]
            if found := unstable.intersection(names):
                raise self._mistake(f"{min(found)} answers differently each time; to sample use hash(column) % 10 = 0")

    def _columns(self, nodes: list[dict[str, Any]]) -> list[str]:
        named = {part.casefold() for node in nodes for part in node.get("column_names", [])}
        found: dict[str, str] = {}
        for name in self._schema.names:
            if (folded := name.casefold()) in named and found.setdefault(folded, name) != name:
                raise self._mistake(f"{found[folded]!r} and {name!r} are two columns, which SQL takes for one")
        return list(found.values()) or self._schema.names[:1]

    def _mistake(self, what: str) -> UserError:
        names = ", ".join(f"{field.name} ({self._types.get(field.name, field.type)})" for field in self._schema)
        if "explicit cast is required" in what:
            what += "; TRY_CAST(column AS DOUBLE) makes a number of a text"
        elif "No function matches" in what:
            what += "; CAST(column AS VARCHAR) makes a text of a number or a date"
        return UserError(f"where: {self._condition!r} on {self._place}: {what}; its columns are {names}")


@cache
def _unstable_functions() -> frozenset[str]:
    """Return the names of DuckDB's functions that answer differently each time."""
    query = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        return frozenset(name.removeprefix("get_") for (name,) in connection.execute(query).fetchall())


def _quoted(name: str) -> str:
    """Return a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a parsed query, at any depth."""
    if isinstance(tree, dict):
        yield tree
    if isinstance(tree, dict | list):
        for child in tree.values() if isinstance(tree, dict) else tree:
            yield from _nodes(child)
