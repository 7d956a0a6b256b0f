"""Which rows and which own columns of a file go on: `where:` and `keep:` of its source, checked against its schema."""

from __future__ import annotations

import pyarrow as pa

from stages.errors import UserError
from stages.own_columns import own_names
from stages.tables import URLS
from stages.urls.batch import Batch, required_column
from stages.urls.damage import Damage
from stages.urls.settings import SourceSettings
from stages.urls.where import TypesOf, Where


class Selection:
    """`where:` and `keep:` applied to the batches of one file.

    Args:
        source: whose settings.
        schema: the file's own columns.
        types_of: finds DuckDB's types of those that are text because the format has none.
        damage: names the file, and is told of values that do not fit.

    Raises:
        UserError: one of the settings does not fit the file's columns.
    """

    def __init__(self, source: SourceSettings, schema: pa.Schema, types_of: TypesOf, damage: Damage) -> None:
        place = damage.place
        self._damage = damage
        self._where = None if source.where is None else Where(source.where, schema, types_of, place=place)
        self._keep = [required_column(schema.names, [name], key="keep:", place=place) for name in source.keep]
        if len(set(self._keep)) < len(self._keep):
            raise UserError(f"keep: {', '.join(source.keep)}: two of these are one column of {place}; name it once")
        asked = {*self._keep, *(self._where.columns if self._where is not None else [])}
        self.columns = [name for name in schema.names if name in asked]
        """The own columns that have to be read."""
        names = own_names(source.keep).values()
        kept = [schema.field(own).with_name(name) for own, name in zip(self._keep, names, strict=True)]
        self.schema = pa.schema([*URLS, *kept])
        """The columns of the URL table."""

    def __call__(self, batch: Batch) -> pa.RecordBatch:
        """Return the content columns and the kept ones of the rows that the condition holds for."""
        arrays = [*batch.content.columns, *(batch.own.column(name) for name in self._keep)]
        names = self.schema.names[2:]  # key and source come with the shard
        rows = pa.RecordBatch.from_arrays(arrays, names=names)
        if self._where is None:
            return rows
        return rows.filter(self._where.mask(batch.own, batch.numbers, self._damage))
