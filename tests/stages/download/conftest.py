from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loopback import Run, Web, serve

from stages.contract import Output, Shard
from stages.download.compute import Download
from stages.download.spec import DownloadRecipe, PlacedDownloadRun
from stages.io.shards import Artifact
from stages.tables import IMAGES, URLS


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as running:
        yield running


def urls_table(rows: list[dict[str, Any]], **columns: list[Any]) -> pa.Table:
    filled = [{"key": f"s-0-{i:04d}", "source": "s", **row} for i, row in enumerate(rows)]
    table = pa.Table.from_pylist(filled, schema=URLS)
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return table


@pytest.fixture
def download(tmp_path: Path) -> Run:
    """Download a shard of the rows given; recipe fields by name."""
    numbers = count()

    def download(
        rows: list[dict[str, Any]],
        *,
        images: str | None = None,
        columns: dict[str, list[Any]] | None = None,
        run: dict[str, Any] | None = None,
        **recipe: Any,
    ) -> Output:
        folder = tmp_path / f"run{next(numbers)}"
        scratch = folder / "scratch"
        scratch.mkdir(parents=True)
        table = urls_table(rows, **(columns or {}))
        pq.write_table(table, folder / "urls.parquet")
        compute = Download(
            DownloadRecipe(**{"timeout": 5, "allow_addresses": ["127.0.0.1"], **recipe}),
            PlacedDownloadRun(**{"threads": 8, "images": images, **(run or {})}),
        )
        output = compute(Shard({"urls": (Artifact(str(folder / "urls.parquet")),)}, "s-0", scratch))
        assert output.table.schema == IMAGES
        for name in ("key", "url"):
            assert output.table[name].to_pylist() == table[name].to_pylist()
        assert output.counts["urls"] == table.num_rows
        assert sorted(path.name for path in scratch.iterdir()) == sorted(path.name for path in output.sides.values())
        return output

    return download


@pytest.fixture
def commit(tmp_path: Path) -> Callable[[Output], Artifact]:
    """Write an output as the pipeline does, as far as `Artifact` reads it."""

    def write(output: Output) -> Artifact:
        sides = {f"side.{ending}": str(path) for ending, path in output.sides.items()}
        links = {f"side.{ending}": url for ending, url in output.links.items()}
        path = tmp_path / "images.parquet"
        pq.write_table(output.table.replace_schema_metadata(sides | links), path)
        return Artifact(str(path))

    return write
