"""What the commands take on an output of a LAION's size: 40,000 shards, a small table for each stage and shard.

    python tests/benchmarks/scale.py [--shards 40000] [--steps 6] [--plan]

More steps than six are further captioners, whose captions are ranked and selected with the others. Every command is a
process of its own; its seconds and its peak memory are printed, the queries before and after the tables are compacted.
It ends with code 1 if the plan of the finished run takes more than 20 s, a query after the compaction more than 10 s,
or a command more than 1 GB. What the run itself takes: `scheduling.py --shards 40000`.
With `--plan` nothing but the plan is measured, which reads the names of tables alone: they are links to one a step.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import Pool
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.dag.listing import PARTS, listing_table
from pipeline.session import open_session
from stages import tables
from stages.urls.known import Counted

ROWS = 10
"""Images of a shard."""
HOSTS = 50
PLAN, QUERY, MEMORY = 20.0, 10.0, 1.0
"""Bounds: seconds, seconds, GB."""

MANIFEST = """\
output: out
sources:
  web: {format: csv, path: list.csv}
CAPTIONERS
rank: {model: none/none}
select: {itm_threshold: null}
"""
USUAL = 6
"""Steps of which one is a captioner: urls, download, annotate, caption, rank, select."""

QUERIES = {
    "count": "SELECT count(*) FROM captions WHERE kept",
    "group by": "SELECT status, count(*) FROM images GROUP BY status ORDER BY 2 DESC",
    "scores by origin": "SELECT origin, count(*), avg(clip_score) FROM captions GROUP BY origin",
}


def captioners(steps: int) -> list[str]:
    """The names of the steps that write captions."""
    return ["caption", *(f"caption{number}" for number in range(2, steps - USUAL + 2))]


def shard_tables(shard: str, writers: list[str]) -> dict[str, pa.Table]:
    """The tables of one shard, by step; one image in ten is missing."""
    keys = [f"{shard}-{row:05d}" for row in range(ROWS)]
    urls = [f"http://host{row % HOSTS}.example/{key}.jpg" for row, key in enumerate(keys)]
    images = [
        dict.fromkeys(tables.IMAGES.names)
        | {"key": key, "url": url, "status": "success" if row else "timeout", "retry": 0}
        for row, (key, url) in enumerate(zip(keys, urls, strict=True))
    ]
    by_step = {
        step: [{"key": key, "writer": f"{number:016d}", "candidate": number} for key in keys[1:]]
        for number, step in enumerate(["annotate", *writers])
    }
    candidates = [row for rows in by_step.values() for row in rows]
    captions = {
        step: [row | {"caption": "a picture", "origin": "synthetic" if step in writers else "web"} for row in rows]
        for step, rows in by_step.items()
    }
    return {
        **{step: pa.Table.from_pylist(rows, tables.CAPTIONS) for step, rows in captions.items()},
        "urls": pa.Table.from_pylist(
            [
                {"key": key, "source": "web", "url": url, "text": "a text", "texts": None, "file": None}
                for key, url in zip(keys, urls, strict=True)
            ],
            tables.URLS,
        ),
        "download": pa.Table.from_pylist(images, tables.IMAGES),
        "rank": pa.Table.from_pylist([row | {"clip_score": 0.25} for row in candidates], tables.SIMILARITIES),
        "select": pa.Table.from_pylist(
            [row | {"rank": 1, "kept": True, "reason": "kept"} for row in candidates], tables.SELECTION
        ),
    }


def write_shard(work: tuple[dict[str, str], str]) -> None:
    """Write the tables of one shard, without the care of a commit."""
    folders, shard = work
    for step, table in shard_tables(shard, [step for step in folders if step.startswith("caption")]).items():
        described = table.replace_schema_metadata({"stage": step.rstrip("0123456789"), "attempt": "0" * 12})
        pq.write_table(described, f"{folders[step]}/{shard}.parquet", compression="zstd")


def link_shards(folders: dict[str, str], names: list[str]) -> None:
    """Put the tables of the first shard under the names of all others."""
    write_shard((folders, names[0]))
    for folder in folders.values():
        for name in names[1:]:
            os.link(f"{folder}/{names[0]}.parquet", f"{folder}/{name}.parquet")


def write_shards(folders: dict[str, str], names: list[str]) -> None:
    """Write the tables of all shards."""
    with Pool(os.cpu_count()) as pool:
        for _ in pool.imap_unordered(write_shard, ((folders, name) for name in names), chunksize=100):
            pass


def make_output(shards: int, steps: int, write: Callable[[dict[str, str], list[str]], None]) -> None:
    """A finished run in the working folder."""
    sections = [
        f"{step}: {{stage: caption, model: none/none, seed: {at}}}" for at, step in enumerate(captioners(steps))
    ]
    Path("list.csv").write_text("URL,TEXT\nhttp://host/1,a text\n")
    Path("m.yaml").write_text(MANIFEST.replace("CAPTIONERS", "\n".join(sections)))
    session = open_session(Path("m.yaml"))
    nodes = {node.step: node for node in session.graph.nodes.values()}
    folders = {step: session.store.folder_of(node) for step, node in nodes.items()}
    for folder in folders.values():
        Path(folder).mkdir(parents=True)
    (part,) = (part.name for part in nodes["urls"].parts)
    names = [f"{part}-{index:05d}" for index in range(shards)]
    write(folders, names)
    listing = listing_table(Counted(name, ROWS) for name in names)
    Path(folders["urls"], PARTS).mkdir()
    pq.write_table(listing, f"{folders['urls']}/{PARTS}/{part}.parquet")


def measure(*command: str) -> tuple[float, float]:
    """Seconds and peak memory in GB of a command."""
    program = [str(Path(sys.executable).with_name("capfilt")), *command]
    started = time.perf_counter()
    with subprocess.Popen(program, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.perf_counter() - started, used.ru_maxrss * 1024 / 1e9


def report(name: str, seconds: float, memory: float, bound: float = float("inf")) -> list[str]:
    """Print a row; what is over its bound."""
    print(f"{name:32}{seconds:10.2f} s{memory:10.2f} GB", flush=True)
    over = [f"{name} takes {seconds:.1f} s; the bound is {bound:g}"] if seconds > bound else []
    return over + ([f"{name} takes {memory:.2f} GB; the bound is {MEMORY:g}"] if memory > MEMORY else [])


def measure_queries() -> list[str]:
    """Print a row for each query, before and after the tables are compacted; what is over its bound."""
    for name, sql in QUERIES.items():
        report(f"query: {name}", *measure("query", "m.yaml", sql))
    over = report("the end of the run, compacting", *measure("run", "m.yaml", "--executor", "local"))
    for name, sql in QUERIES.items():
        over += report(f"query: {name}, compacted", *measure("query", "m.yaml", sql), QUERY)
    return over + report("status, compacted", *measure("status", "m.yaml"))


def main() -> None:
    """Make the output and print a row per command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=40_000)
    parser.add_argument("--steps", type=int, default=USUAL)
    parser.add_argument("--plan", action="store_true")
    options = parser.parse_args()
    shards, steps = options.shards, options.steps
    over: list[str] = []
    with tempfile.TemporaryDirectory(prefix="cf-") as folder:
        os.chdir(folder)
        make_output(shards, steps, link_shards if options.plan else write_shards)
        print(f"{shards} shards of {ROWS} images, {steps * shards} tables", flush=True)
        over += report("plan", *measure("plan", "m.yaml"), PLAN)
        over += [] if options.plan else measure_queries()
        os.chdir("/")
    if over:
        sys.exit("\n".join(over))


if __name__ == "__main__":
    main()
