"""How fast a LAION part is cut into URL shards, and that memory does not grow with its rows.

    python tests/benchmarks/sharding.py [--rows 13000000] [--small 1000000]

One part of LAION-400M has about 13 million rows. Both sizes are generated and cut in processes of their own, so that
each peak is the peak of one job. Needs about 300 bytes of temporary disk a row.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
WHERE = "WIDTH >= 256 AND HEIGHT >= 256 AND NSFW = 'UNLIKELY'"
ROWS_AT_ONCE = 100_000
ROW_GROUP_ROWS = 1_000_000


def generate(path: Path, rows: int) -> None:
    """Write a Parquet file in LAION-400M's layout, a chunk at a time, in row groups as large as Spark's."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(0)
    words = np.array([f"{a}{b}" for a in ("sun", "red", "old", "cat", "art", "low") for b in ("set", "dish", "", "er")])

    def chunk(first: int, number: int) -> pa.Table:
        texts = [" ".join(words[picks]) for picks in random.integers(0, len(words), (number, 10))]
        hosts = random.integers(0, 5_000, number)
        names = random.integers(0, 1 << 62, (number, 2))
        urls = [
            f"https://cdn{host}.example-shop.com/wp-content/uploads/2019/07/{a:x}-{b:x}-600x400.jpg"
            for host, (a, b) in zip(hosts, names, strict=True)
        ]
        return pa.table(
            {
                "SAMPLE_ID": pa.array(np.arange(first, first + number, dtype=np.float64)),
                "URL": urls,
                "TEXT": texts,
                "HEIGHT": pa.array(random.integers(100, 1200, number).astype(np.int32)),
                "WIDTH": pa.array(random.integers(100, 1600, number).astype(np.int32)),
                "LICENSE": random.choice(["?", "cc-by-4.0"], number, p=[0.98, 0.02]),
                "NSFW": random.choice(["UNLIKELY", "UNSURE", "NSFW"], number, p=[0.94, 0.04, 0.02]),
                "similarity": random.random(number) * 0.2 + 0.28,
            }
        )

    first = chunk(0, 1)
    with pq.ParquetWriter(path, first.schema) as writer:
        for start in range(0, rows, ROW_GROUP_ROWS):
            size = min(ROW_GROUP_ROWS, rows - start)
            pieces = [chunk(start + at, min(ROWS_AT_ONCE, size - at)) for at in range(0, size, ROWS_AT_ONCE)]
            writer.write_table(pa.concat_tables(pieces), row_group_size=ROW_GROUP_ROWS)


def shard(path: Path, output: Path) -> dict[str, float]:
    """Cut the file as the urls stage does, writing every table as the store would."""
    import pyarrow.parquet as pq

    from stages.urls.compute import Urls
    from stages.urls.damage import Damage
    from stages.urls.known import Known
    from stages.urls.parts import find_parts
    from stages.urls.spec import LaionSource, UrlsRecipe, UrlsRun

    source = LaionSource(format="laion", path=str(path), where=WHERE, keep=("NSFW", "similarity"))
    start = time.perf_counter()
    (part,) = find_parts("laion", source)
    found = time.perf_counter() - start
    kept = shards = 0
    for name, table in Urls(UrlsRecipe(), UrlsRun())(part, Damage(part.place), Known(part.file)):
        pq.write_table(table, output / f"{name}.parquet", compression="zstd")
        kept += table.num_rows
        shards += 1
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"kept": kept, "shards": shards, "seconds": seconds, "digest_ms": found * 1000, "peak_mib": peak}


def measure(rows: int) -> dict[str, float]:
    """Generate and cut a part of so many rows, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "part-00000.parquet")
        _child("generate", path, rows)
        result = _child("shard", path, Path(folder))
        result |= {"rows": rows, "mib": path.stat().st_size / 2**20}
        print(
            "{rows:>11,} rows ({mib:,.0f} MiB): {kept:,} kept in {shards:,} shards, {seconds:.1f} s, "
            "{rate:,.0f} rows/s, digest {digest_ms:.1f} ms, peak {peak_mib:.0f} MiB".format(
                rate=rows / result["seconds"], **result
            ),
            flush=True,
        )
        return result


def _child(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT, text=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=13_000_000)
    parser.add_argument("--small", type=int, default=1_000_000)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is None:
        small, large = measure(options.small), measure(options.rows)
        growth = large["peak_mib"] / small["peak_mib"]
        print(f"peak memory {growth:.2f} x at {options.rows / options.small:.0f} x the rows")
        return
    job, path, argument = options.child
    sys.path.insert(0, str(ROOT))
    if job == "generate":
        generate(Path(path), int(argument))
        print("{}")
    else:
        print(json.dumps(shard(Path(path), Path(argument))))


if __name__ == "__main__":
    main()
