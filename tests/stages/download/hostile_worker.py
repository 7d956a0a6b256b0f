"""Downloads a list in a process of its own: `python hostile_worker.py <list> <folder> <recipe> <run>`.

Prints JSON: the status and the words of every row, the seconds, and the process's peak memory in MiB.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
from hostile import guard, peak_memory

from stages.contract import Shard
from stages.download.compute import Download
from stages.download.spec import DownloadRecipe, PlacedDownloadRun
from stages.io.shards import Artifact
from stages.tables import URLS


def main() -> None:
    """Download as the arguments say."""
    job = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(sys.argv[2])
    guard(job["guard"])
    rows = [{"key": f"s-{row:05d}", "source": "s", "url": url} for row, url in enumerate(job["urls"])]
    pq.write_table(URLS.empty_table().from_pylist(rows, schema=URLS), folder / "urls.parquet")
    scratch = folder / "scratch"
    scratch.mkdir()
    compute = Download(DownloadRecipe(**json.loads(sys.argv[3])), PlacedDownloadRun(**json.loads(sys.argv[4])))
    started = time.monotonic()
    output = compute(Shard({"urls": (Artifact(str(folder / "urls.parquet")),)}, "s", scratch))
    print(
        json.dumps(
            {
                "rows": output.table.select(["status", "error", "sha256"]).to_pylist(),
                "seconds": time.monotonic() - started,
                "memory": peak_memory(),
            }
        )
    )


if __name__ == "__main__":
    main()
