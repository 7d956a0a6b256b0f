"""A hostile list beside plain img2dataset, trap by trap.

    python tests/benchmarks/hostile_web.py

Both get the list of `tests/stages/download/hostile.py` (no packet leaves the loopback) with the same threads and
timeout. capfilt works all of it as one shard; so does img2dataset, and then every kind of trap by itself, since the
first one that holds it loses it all rows. A process is ended after a minute or at 3 GiB. A row is right if it has an
outcome, and that is a picture where one is to be had and none where not.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "stages/download"))

from hostile import Case, HostileWeb, cases, dump, hostile_web, resident_memory

ROOT = Path(__file__).parents[2]
DOWNLOAD = ROOT / "tests/stages/download"
THREADS = 64
TIMEOUT = 0.5
SECONDS = 60.0
MEMORY = 3 * 1024.0
RECIPE = {"timeout": TIMEOUT, "max_seconds": 1.5, "shard_seconds": 60, "allow_addresses": ["127.0.0.1"]}


@dataclass(frozen=True)
class Done:
    """What came of a list."""

    right: int
    end: str
    """How it ended, if not by itself."""
    hits: int
    """Requests that reached the canary, an address that must be refused."""
    read: int
    """Rows that hold a picture of the local disk."""
    seconds: float
    memory: float
    """MiB at the largest."""


def main() -> None:
    """Run both and print."""
    with hostile_web(Path(tempfile.mkdtemp(prefix="cf-"))) as web:
        listed = cases(web)
        kinds: dict[str, list[Case]] = {}
        for case in listed:
            kinds.setdefault(case.kind.partition(":")[0], []).append(case)
        ours, rows = capfilt(web, listed)
        theirs = img2dataset(web, listed)
        print(f"{len(listed)} URLs as one shard, {THREADS} threads, timeout {TIMEOUT} s")
        for name, done in (("capfilt", ours), ("img2dataset", theirs)):
            print(
                f"{name:12} {done.right:4} right, {done.hits} requests to refused addresses, "
                f"{done.read} local files read, {done.seconds:.1f} s, {done.memory:.0f} MiB {done.end}"
            )
        print(f"\n{'one kind of trap at a time':28} {'URLs':>5} {'capfilt':>8} {'img2dataset':>12}")
        for kind, own in kinds.items():
            good = sum(right(case, row) for case, row in zip(listed, rows, strict=True) if case in own)
            plain = img2dataset(web, own)
            print(f"{kind:28} {len(own):5} {good:8} {plain.right:12}  {harm(plain)}", flush=True)


def harm(done: Done) -> str:
    """What else a trap has done, in words."""
    told = [
        (done.hits, f"{done.hits} reached"),
        (done.read, f"{done.read} local files"),
        (done.end, done.end),
        (done.memory > 1024, f"{done.memory / 1024:.1f} GiB"),
    ]
    return ", ".join(words for happened, words in told if happened)


def right(case: Case, row: dict[str, Any]) -> bool:
    """Whether a row may have the picture, or may have none."""
    return any((status == "success") == (row["status"] == "success") for status in case.statuses)


def capfilt(web: HostileWeb, listed: Sequence[Case]) -> tuple[Done, list[dict[str, Any]]]:
    """The list by capfilt's download stage."""
    command = [DOWNLOAD / "hostile_worker.py", "LIST", "FOLDER", json.dumps(RECIPE), json.dumps({"threads": THREADS})]
    return work(web, listed, command)


def img2dataset(web: HostileWeb, listed: Sequence[Case]) -> Done:
    """The list by img2dataset itself."""
    command = [ROOT / "tests/benchmarks/plain_img2dataset.py", "LIST", "FOLDER", THREADS, TIMEOUT]
    return work(web, listed, command)[0]


def work(web: HostileWeb, listed: Sequence[Case], command: Sequence[Any]) -> tuple[Done, list[dict[str, Any]]]:
    """Run a command on a list, within its bounds."""
    hits = web.hits
    with tempfile.TemporaryDirectory(prefix="cf-") as folder:
        dump(web, [case.url for case in listed], Path(folder, "list.json"))
        places = {"LIST": f"{folder}/list.json", "FOLDER": folder}
        words = [sys.executable, *(places.get(str(word), str(word)) for word in command)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": folder, "no_proxy": "*"}
        with Path(folder, "said").open("w") as said:
            process = subprocess.Popen(words, env=environment, stdout=said, stderr=subprocess.DEVNULL)
            seconds, memory, end = _watch(process)
        told = Path(folder, "said").read_text().splitlines()
    if not end and process.returncode:
        end = "all rows lost: it raised"
    rows = [] if end else json.loads(told[-1])["rows"]
    good = sum(right(case, row) for case, row in zip(listed, rows, strict=False))
    return Done(good, end, web.hits - hits, _read(web, rows), seconds, memory), rows


def _watch(process: subprocess.Popen[bytes]) -> tuple[float, float, str]:
    """Seconds, MiB at the largest, and why it was ended."""
    started, memory, end = time.monotonic(), 0.0, ""
    while process.poll() is None:
        memory = max(memory, resident_memory(process.pid))
        seconds = time.monotonic() - started
        end = f"held for {SECONDS:g} s" if seconds > SECONDS else "memory" if memory > MEMORY else ""
        if end:
            end = f"all rows lost: {end}"
            process.kill()
            process.wait()
        time.sleep(0.05)
    return time.monotonic() - started, memory, end


def _read(web: HostileWeb, rows: Sequence[dict[str, Any]]) -> int:
    secret = hashlib.sha256(web.secret.read_bytes()).hexdigest()
    return sum(row["sha256"] == secret for row in rows)


if __name__ == "__main__":
    main()
