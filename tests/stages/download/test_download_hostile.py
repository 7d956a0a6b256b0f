"""A list of hostile URLs: every row has its status, nobody inside is reached, memory and time stay bounded."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import hostile_worker
import pytest
from hostile import Case, HostileWeb, cases, dump, hostile_web, large_pictures, tree_memory
from loopback import encoded, picture
from traps import TRAPS

MAX_MEMORY = 1.5 * 1024
"""MiB of the process that downloads, and of those that decode for it."""


def download_apart(web: HostileWeb, urls: list[str | None], folder: Path, **recipe: Any) -> dict[str, Any]:
    """Download in a process of its own; killed if it lasts much longer than its limits allow.

    `memory` is the most that it and its children held at a time, as far as one sees that from outside.
    """
    dump(web, urls, folder / "list.json")
    limits = {"timeout": 0.5, "max_seconds": 1.5, "shard_seconds": 60, "allow_addresses": ["127.0.0.1"], **recipe}
    command = [sys.executable, hostile_worker.__file__, str(folder / "list.json"), str(folder)]
    options = [json.dumps(limits), json.dumps({"threads": 64})]
    hang = limits["shard_seconds"] + limits["max_seconds"] + 60  # for its start and for decoding
    with (folder / "said").open("w") as said:
        process = subprocess.Popen([*command, *options], stdout=said)
    until, memory = time.monotonic() + hang, 0.0
    while process.poll() is None and time.monotonic() < until:
        memory = max(memory, tree_memory(process.pid))
        time.sleep(0.02)
    process.kill()
    assert process.wait() == 0
    result = dict(json.loads((folder / "said").read_text()))
    return {**result, "memory": max(memory, result["memory"])}


def check(web: HostileWeb, listed: list[Case], result: dict[str, Any]) -> None:
    assert web.hits == 0, "somebody reached the canary"
    assert len(result["rows"]) == len(listed)
    wrong = [
        (case, row["status"], row["error"])
        for case, row in zip(listed, result["rows"], strict=True)
        if row["status"] not in case.statuses
    ]
    assert not wrong
    assert all((row["error"] is None) == (row["status"] == "success") for row in result["rows"])
    secret = hashlib.sha256(web.secret.read_bytes()).hexdigest()
    assert secret not in {row["sha256"] for row in result["rows"]}
    assert result["memory"] < MAX_MEMORY


def test_a_hostile_list(tmp_path: Path) -> None:
    with hostile_web(tmp_path) as web:
        listed = cases(web)
        result = download_apart(web, [case.url for case in listed], tmp_path)
    assert len(listed) >= 200
    check(web, listed, result)
    dead = [row["status"] for case, row in zip(listed, result["rows"], strict=True) if case.kind == "dead host"]
    assert Counter(dead)["host_down"] > 0
    print(f"{len(listed)} URLs, {result['seconds']:.1f} s, {result['memory']:.0f} MiB")


@pytest.mark.slow
def test_a_hostile_list_with_the_default_limits(tmp_path: Path) -> None:
    with hostile_web(tmp_path) as web:
        listed = [case for _ in range(3) for case in cases(web)]
        for content in large_pictures():
            page = web.page(lambda handler, content=content: handler.send(200, content))
            listed += [Case("large", page.replace("http://", f"http://{n}@"), ("success",)) for n in range(4)]
        limits = {"timeout": 10.0, "max_seconds": 60.0, "shard_seconds": 1800}
        result = download_apart(web, [case.url for case in listed], tmp_path, **limits)
    check(web, listed, result)
    print(f"{len(listed)} URLs, {result['seconds']:.1f} s, {result['memory']:.0f} MiB")


@pytest.mark.slow
def test_large_pictures_are_decoded_within_bounded_memory(tmp_path: Path) -> None:
    with hostile_web(tmp_path) as web:
        urls = [web.page(lambda h, content=content: h.send(200, content)) for content in large_pictures()]
        result = download_apart(web, list(urls) * 2, tmp_path, max_seconds=60, timeout=20)
    assert [row["status"] for row in result["rows"]] == ["success"] * len(result["rows"])
    assert result["memory"] < MAX_MEMORY
    print(f"{len(result['rows'])} pictures, {result['seconds']:.1f} s, {result['memory']:.0f} MiB")


@pytest.mark.slow
def test_traps_among_pictures_cost_their_own_rows(tmp_path: Path) -> None:
    with hostile_web(tmp_path) as web:
        listed: list[Case] = []
        for name, trap in TRAPS.items():
            for kind, content, status in ((name, trap.make(), trap.status), ("good", encoded(picture()), "success")):
                page = web.page(lambda handler, content=content: handler.send(200, content))
                listed += [Case(kind, page.replace("http://", f"http://{n}@"), (status,)) for n in range(2)]
        result = download_apart(web, [case.url for case in listed], tmp_path, timeout=30, max_seconds=60)
    check(web, listed, result)
    print(f"{len(listed)} URLs, {result['seconds']:.1f} s, {result['memory']:.0f} MiB")
