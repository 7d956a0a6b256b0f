"""Downloads a list as img2dataset does by itself: `plain_img2dataset.py <list> <folder> <threads> <timeout>`.

In this one process, so that what keeps a test on the loopback (`guard`) holds. Prints JSON: every row's status and
words, the seconds, and the process's peak memory in MiB.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from img2dataset.downloader import Downloader
from img2dataset.resizer import Resizer
from img2dataset.writer import WebDatasetSampleWriter

sys.path.insert(0, str(Path(__file__).parents[1] / "stages/download"))

from hostile import guard, peak_memory

SIZE, QUALITY = 384, 95


def main() -> None:
    """Download as the arguments say."""
    job, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    threads, timeout = int(sys.argv[3]), float(sys.argv[4])
    guard(job["guard"])
    urls = pa.table({"url": pa.array(job["urls"], pa.string())})
    feed = str(folder / "feed.arrow")
    with pa.OSFile(feed, "wb") as file, pa.ipc.new_file(file, urls.schema) as writer:
        writer.write_table(urls)
    started = time.monotonic()
    _downloader(folder, len(urls), threads, timeout).download_shard((0, feed))
    seconds = time.monotonic() - started
    rows = pq.read_table(folder / "00000.parquet", columns=["key", "status", "error_message", "sha256"]).to_pylist()
    rows.sort(key=lambda row: row["key"])
    print(json.dumps({"rows": rows, "seconds": seconds, "memory": peak_memory()}))


def _downloader(folder: Path, count: int, threads: int, timeout: float) -> Downloader:
    """With the settings that capfilt gives it, and its own opener, resizer and writer."""
    return Downloader(
        sample_writer_class=WebDatasetSampleWriter,
        resizer=Resizer(
            image_size=SIZE,
            resize_mode="keep_ratio",
            resize_only_if_bigger=True,
            encode_quality=QUALITY,
            encode_format="jpg",
            skip_reencode=True,
        ),
        thread_count=min(threads, count),
        save_caption=False,
        extract_exif=False,
        output_folder=str(folder),
        column_list=["url"],
        timeout=timeout,
        number_sample_per_shard=max(count, 2),
        oom_shard_count=5,
        compute_hash="sha256",
        verify_hash_type=None,
        encode_format="jpg",
        retries=0,
        user_agent_token="capfilt",
        disallowed_header_directives=["noai", "noimageai", "noindex", "noimageindex"],
    )


if __name__ == "__main__":
    main()
