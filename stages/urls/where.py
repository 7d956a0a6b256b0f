"""A source's `where:` condition, evaluated by DuckDB one batch at a time.

DuckDB sees only the columns that the condition names and gives back one boolean a row. So memory stays at a batch
whatever the file's size, the order of the rows is the file's, and the other columns never leave Arrow. What a
batch-wise answer could get wrong is refused: subqueries, aggregates, and functions that answer differently each time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from stages.errors import UserError
from stages.urls.files import first_line


class Where:
    """A condition over the columns of one file.

    Raises:
        UserError: the condition is no DuckDB expression, names a column that is not there, does not fit a column's
            type, or is one that batches cannot answer.
    """

    def __init__(self, condition: str, schema: pa.Schema, *, place: str) -> None:
        self._condition = condition
        self._schema = schema
        self._place = place
        self._connection = duckdb.connect(":memory:", config={"threads": 1})
        self._connection.execute("SET enable_external_access = false")
        nodes = list(_nodes(self._parsed()))
        self._refuse_unstable(nodes)
        self.columns = self._columns(nodes)
        """The columns that the condition needs; never none, so that a batch of them knows its length."""
        self._bind()

    def mask(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Return which rows the condition holds for; null counts as false.

        Raises:
            UserError: a value does not fit, as in a CAST of a text that is no number.
        """
        self._connection.register("batch", pa.Table.from_batches([batch.select(self.columns)]))
        query = f"SELECT CAST(({self._condition}\n) AS BOOLEAN) AS holds FROM batch"  # noqa: S608  # the user's own
        try:
            holds = self._connection.execute(query).fetchnumpy()["holds"]
        except duckdb.Error as error:
            raise self._mistake(first_line(error)) from error
        return pa.array(np.ma.filled(holds, fill_value=False).astype(bool))

    def _parsed(self) -> Any:
        query = "SELECT json_serialize_sql(?)"
        # The line break ends a `--` comment, which would otherwise swallow the bracket.
        row = self._connection.execute(query, [f"SELECT 1 WHERE ({self._condition}\n)"]).fetchone()
        assert row is not None
        parsed = json.loads(row[0])
        if parsed["error"]:
            raise self._mistake(parsed["error_message"])
        return parsed

    def _bind(self) -> None:
        empty = self._schema.empty_table().select(self.columns)  # DuckDB need not know the types of the others
        self._connection.register("batch", empty)
        query = f"SELECT 1 FROM batch WHERE ({self._condition}\n)"  # noqa: S608  # the user's own, on no data
        try:
            self._connection.execute(query)
        except duckdb.Error as error:
            raise self._mistake(first_line(error)) from error

    def _refuse_unstable(self, nodes: list[dict[str, Any]]) -> None:
        query = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
        unstable = {name.removeprefix("get_") for (name,) in self._connection.execute(query).fetchall()}
        known = {name.casefold() for name in self._schema.names}
        for node in nodes:
            if node.get("class") == "SUBQUERY":
                raise self._mistake("a subquery is not possible here; use a list, as in x IN ('a', 'b')")
            # `current_date` stands without brackets and is parsed as a column.
            names = [node.get("function_name"), *(set(node.get("column_names", [])) - known)]
            if found := unstable.intersection(names):
                raise self._mistake(f"{found.pop()} answers differently each time; to sample use hash(column) % 10 = 0")

    def _columns(self, nodes: list[dict[str, Any]]) -> list[str]:
        named = {part.casefold() for node in nodes for part in node.get("column_names", [])}
        return [name for name in self._schema.names if name.casefold() in named] or self._schema.names[:1]

    def _mistake(self, what: str) -> UserError:
        names = ", ".join(f"{field.name} ({field.type})" for field in self._schema)
        return UserError(f"where: {self._condition!r} on {self._place}: {what}; its columns are {names}")


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a parsed query, at any depth."""
    if isinstance(tree, dict):
        yield tree
    if isinstance(tree, dict | list):
        for child in tree.values() if isinstance(tree, dict) else tree:
            yield from _nodes(child)
