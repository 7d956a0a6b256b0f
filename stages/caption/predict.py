"""Write one caption for every image that is measured on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from stages.caption.compute import Caption, Written
from stages.caption.spec import PredictRecipe
from stages.contract import ModelRunOptions, Output, Shard
from stages.io.shards import Artifact
from stages.results import coco_results, result_id
from stages.tables import PREDICTIONS


class Predict:
    """The predict stage's compute."""

    def __init__(self, recipe: PredictRecipe, run: ModelRunOptions) -> None:
        self._captions = Caption(recipe.writing(), run, "predict")

    def __call__(self, shard: Shard) -> Output:
        """Predict for one shard; beside the table lies the same in COCO's result format.

        Raises:
            UserError: the captioner's numbers are not finite for too many of the images (`stages.models.finite`).
        """
        written = self._captions.write(shard.one("images"))
        rows = [_row(row, written[row["key"]]) for row in _listed(shard.one("urls")) if row["key"] in written]
        table = pa.Table.from_pylist(rows, schema=PREDICTIONS)
        (shard.scratch / "results.json").write_bytes(coco_results(table))
        failed = len(rows) - table["error"].null_count
        return Output(table, {"json": shard.scratch / "results.json"}, counts={"images": len(rows), "failed": failed})


def _listed(urls: Artifact) -> list[dict[str, Any]]:
    """The list's rows with the columns of its own that say what an image is called, where it carries them."""
    table = urls.table()
    columns = [name for name in ("key", "url", "file", "id", "cocoid", "domain") if name in table.column_names]
    rows: list[dict[str, Any]] = table.select(columns).to_pylist()
    return rows


def _row(listed: Mapping[str, Any], written: Written) -> dict[str, Any]:
    numbers = [listed[name] for name in ("id", "cocoid") if listed.get(name) is not None]
    row = {
        "key": listed["key"],
        "result_id": str(numbers[0]) if numbers else result_id(listed["file"] or listed["url"]),
        "subset": listed.get("domain"),
    }
    if isinstance(written, str):
        return {**row, "caption": "", "logprob": None, "error": written}
    return {**row, "caption": written[0].text, "logprob": written[0].logprob, "error": None}
