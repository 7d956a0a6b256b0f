"""What a command says of captions: a line for every source and part, and why something is missing."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from pipeline.sql.catalog import Catalog
from pipeline.sql.measures import MEASURES
from pipeline.store import Store
from pipeline.watch.captioning import captioning, print_captioning
from pipeline.watch.console import Console
from stages.evaluate.tables import CAPTIONING


def rows(*found: tuple[str, str, str, float | None, str | None]) -> pa.Table:
    names = ("source", "subset", "measure", "value", "error")
    listed = [{**dict(zip(names, row, strict=True)), "images": 1_200, "texts": 6_000} for row in found]
    table = pa.Table.from_pylist(listed, schema=CAPTIONING)
    return table.append_column("made_by", pa.array(["evaluate_captions"] * len(listed)))


def said(capsys, table: pa.Table) -> list[str]:
    connection = duckdb.connect()
    connection.register("raw_captioning", table)
    connection.sql(f"CREATE VIEW captioning AS {MEASURES['captioning']}")
    print_captioning(Console(), captioning(Catalog(connection, Store.open("out"), ())))
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_a_line_each_the_whole_before_its_parts(capsys):
    told = said(
        capsys,
        rows(
            ("nocaps", "in-domain", "CIDEr-D", 1.0, None),
            ("nocaps", "all", "CIDEr-D", 1.132, None),
            ("nocaps", "all", "BLEU-1", 0.8, None),
            ("nocaps", "all", "CLIPScore", 0.75, None),
        ),
    )
    assert told == [
        "captioning source images CIDEr-D CLIPScore",
        "evaluate_captions nocaps 1,200 113.2 75.0",
        "evaluate_captions nocaps in-domain 1,200 100.0",
    ]


def test_what_is_missing_is_said_once(capsys):
    told = said(capsys, rows(*(("a", "all", name, None, "not installed") for name in ("CIDEr-D", "BLEU-4"))))
    assert told == ["captioning source images", "evaluate_captions a 1,200", "not installed"]
    assert said(capsys, rows()) == []
