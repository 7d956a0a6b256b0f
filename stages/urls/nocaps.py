"""NoCaps as released: COCO's form, in which every image says how far its objects are from COCO's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from stages.urls.batch import Batch, Reader
from stages.urls.coco import RELEASED, read_released
from stages.urls.damage import Damage
from stages.urls.files import Files
from stages.urls.human import batches
from stages.urls.spec import NocapsSource

NOCAPS = pa.schema([*RELEASED, ("open_images_id", pa.string()), ("domain", pa.string())])


def schema(source: NocapsSource, files: Files) -> pa.Schema:  # noqa: ARG001 - there is one form
    """Return the columns."""
    return NOCAPS


def read(source: NocapsSource, files: Files, columns: Sequence[str], damage: Damage) -> Iterator[Batch]:
    """Yield one row per image."""
    yield from batches(source, read_released(files[0], damage), NOCAPS, columns, damage)


READER = Reader(schema, read)
