"""How fast a shard is downloaded, beside plain img2dataset: same URLs, threads and machine, one after the other.

    python tests/benchmarks/download.py [--images 2000] [--repeats 5]

A process serves photograph-like JPEGs on sixteen addresses of the loopback. Prints images per second of both and the
ratio of the medians. The bar: at least 1.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
WORKER = HERE.parent / "stages/download/hostile_worker.py"
HOSTS = [f"127.0.1.{number}" for number in range(1, 17)]
THREADS = 64
TIMEOUT = 10.0
SIZES = [(320, 240), (640, 480), (800, 600), (1024, 768), (384, 384)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rates: dict[str, list[float]] = {"img2dataset": [], "capfilt": []}
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    web = multiprocessing.Process(target=serve, args=(ports,), daemon=True)
    web.start()
    try:
        port = ports.get(timeout=60)
        urls = [f"http://{HOSTS[number % len(HOSTS)]}:{port}/{number}.jpg" for number in range(options.images)]
        for _ in range(options.repeats):
            for name, found in rates.items():
                done = download(name, urls)
                assert all(row["status"] == "success" for row in done["rows"]), done["rows"]
                found.append(options.images / done["seconds"])
    finally:
        web.terminate()
    medians = {name: statistics.median(found) for name, found in rates.items()}
    print(f"{options.images} images, {THREADS} threads, {len(HOSTS)} hosts, {options.repeats} repeats")
    for name, found in rates.items():
        print(f"{name:12} {medians[name]:8.1f} images/s ({min(found):.1f} to {max(found):.1f})")
    print(f"ratio        {medians['capfilt'] / medians['img2dataset']:8.2f} (capfilt / img2dataset)")


def download(name: str, urls: list[str]) -> dict[str, Any]:
    """What a process reports that downloads the list in the one way or the other."""
    with tempfile.TemporaryDirectory(prefix="cf-") as folder:
        listed = Path(folder, "list.json")
        listed.write_text(json.dumps({"urls": urls, "guard": {"names": {}, "canary": ["127.0.0.9", 9]}}))
        if name == "capfilt":
            recipe = {"allow_addresses": ["127.0.0.0/8"], "timeout": TIMEOUT}
            command = [WORKER, listed, folder, json.dumps(recipe), json.dumps({"threads": THREADS})]
        else:
            command = [HERE / "plain_img2dataset.py", listed, folder, THREADS, TIMEOUT]
        environment = {**os.environ, "no_proxy": "*", "PYTHONPATH": str(HERE.parents[1])}
        done = subprocess.run(
            [sys.executable, *map(str, command)], env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        return dict(json.loads(done.stdout.splitlines()[-1]))


def serve(ports: multiprocessing.Queue[int]) -> None:
    """A web that costs little: every answer lies ready in memory."""
    answers = [_answer(photograph(number, size)) for number, size in enumerate(SIZES)]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]
        writer.write(answers[int(path[1:].partition(b".")[0]) % len(answers)])
        await writer.drain()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, HOSTS[0], 0, backlog=1024)
        port = server.sockets[0].getsockname()[1]
        for host in HOSTS[1:]:
            await asyncio.start_server(answer, host, port, backlog=1024)
        ports.put(port)
        await asyncio.Event().wait()

    asyncio.run(run())


def _answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def photograph(seed: int, size: tuple[int, int]) -> bytes:
    """A JPEG with a photograph's detail: smooth noise at several scales."""
    rng, width_height = np.random.default_rng(seed), np.array(size)
    image = np.zeros((size[1], size[0], 3))
    for scale in (4, 16, 64):
        coarse = rng.integers(0, 255, (*reversed(width_height // scale + 1), 3), dtype=np.uint8)
        image += np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)) * (scale / 84)
    buffer = io.BytesIO()
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
