"""What failed for a reason that passes is tried again in a shard of its own, and nothing else is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from picture_web import Web
from test_cli import LOCAL, capfilt

from pipeline.store import Store

RUN = (*LOCAL, "--until", "annotate")
RETRY = ("retry", *RUN[1:])
PATHS = [f"/{number}" for number in range(1, 10)]
SICK = {"/2", "/6"}
"""One in each of the first two shards."""


@pytest.fixture
def folder(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A download of three rows a shard, two of which failed, and the texts of the others."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{web.url(path)},text of {path}" for path in PATHS]
    Path("list.csv").write_text("\n".join(["URL,TEXT", *rows, "file:///etc/passwd,no address"]) + "\n")
    Path("m.yaml").write_text("""\
output: out
sources: {web: {format: csv, path: list.csv}}
urls: {shard_size: 3}
download: {image_size: 32, encode_format: png, encode_quality: 1, allow_addresses: [127.0.0.1], retries: 0}
caption: {model: nowhere/model}
rank: {model: nowhere/model}
select: {itm_threshold: null}
""")
    web.down |= SICK
    assert capfilt(capsys, *RUN)[0] == 0
    web.down.clear()
    web.asked.clear()
    return tmp_path


def ask(capsys: pytest.CaptureFixture[str], sql: str) -> list[dict[str, Any]]:
    code, out, err = capfilt(capsys, "query", "m.yaml", sql, "--json")
    assert code == 0, err
    return json.loads(out)


def everything() -> dict[Path, bytes]:
    """What the stages have made, but for the listings and what is written anew at every end."""
    return {path: path.read_bytes() for path in Path("out").glob("*/*/web-*") if path.is_file()}


def statuses(capsys: pytest.CaptureFixture[str], web: Web) -> dict[str, tuple[str, int]]:
    """By address: how it ended, and by which retry."""
    rows = ask(capsys, "SELECT url, status, retry FROM images")
    return {row["url"].removeprefix(web.url("")): (row["status"], row["retry"]) for row in rows}


def test_failed_rows_come_and_all_others_stay(folder, web, capsys):
    before, keys = everything(), ask(capsys, "SELECT key, url FROM urls ORDER BY ALL")
    code, _, err = capfilt(capsys, *RETRY)
    assert code == 0
    assert "2 rows of 2 shards are tried again" in err
    assert web.asked == dict.fromkeys(SICK, 1)
    assert everything().items() > before.items()
    assert ask(capsys, "SELECT key, url FROM urls ORDER BY ALL") == keys
    found = statuses(capsys, web)
    assert {path: found.pop(path) for path in SICK} == dict.fromkeys(SICK, ("success", 1))
    assert found.pop("file:///etc/passwd") == ("invalid_url", 0)
    assert set(found.values()) == {("success", 0)}
    texts = ask(capsys, "SELECT caption FROM captions ORDER BY ALL")
    assert [row["caption"] for row in texts] == sorted(f"text of {path}" for path in PATHS)
    assert ask(capsys, "SELECT count FROM funnel WHERE step IN ('URLs', 'images') ORDER BY ALL") == [
        {"count": 9},
        {"count": 10},
    ]
    assert "nothing to do" in capfilt(capsys, *RUN)[1]
    assert "0 rows of 0 shards" in capfilt(capsys, *RETRY)[2]


def test_only_the_reasons_that_are_named_are_tried_again(folder, web, capsys):
    assert capfilt(capsys, *RETRY, "--status", "timeout,http_4xx")[2].startswith("0 rows of 0 shards")
    assert not web.asked
    assert capfilt(capsys, *RETRY, "--status", "http_5xx")[2].startswith("2 rows of 2 shards")
    assert web.asked == dict.fromkeys(SICK, 1)


def test_what_fails_again_can_be_tried_again(folder, web, capsys):
    web.down.add("/6")
    assert capfilt(capsys, *RETRY)[0] == 0
    assert {path: statuses(capsys, web)[path] for path in SICK} == {"/2": ("success", 1), "/6": ("http_5xx", 1)}
    losses = ask(capsys, "SELECT reason, count FROM losses ORDER BY reason")
    assert losses == [{"reason": "http_5xx", "count": 1}, {"reason": "invalid_url", "count": 1}]
    web.down.clear()
    web.asked.clear()
    assert "1 rows of 1 shards" in capfilt(capsys, *RETRY)[2]
    assert web.asked == {"/6": 1}
    assert statuses(capsys, web)["/6"] == ("success", 2)


class Death(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_retry_that_died_goes_on(folder, web, capsys, monkeypatch, number):
    """At its first commit, a new shard; at its second, the listing that counts it; at its third, the download."""
    commit, calls = Store.commit, iter(range(1, 100))

    def die(*arguments: Any, **options: Any) -> None:
        if next(calls) == number:
            raise Death
        commit(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "commit", die)
        with pytest.raises(Death):
            capfilt(capsys, *RETRY)
    capsys.readouterr()
    again = RUN if number == 3 else RETRY
    assert capfilt(capsys, *again)[0] == 0
    assert {path: statuses(capsys, web)[path][0] for path in SICK} == dict.fromkeys(SICK, "success")
    assert len(ask(capsys, "SELECT key FROM images")) == len(PATHS) + 1
    assert len(ask(capsys, "SELECT key FROM captions")) == len(PATHS)


@pytest.mark.parametrize("status", ["success", "removed", "late", "", " , "])
def test_a_status_that_cannot_be_tried_again_is_named(folder, capsys, status):
    code, _, err = capfilt(capsys, *RETRY, "--status", status)
    assert code == 2
    assert f"--status {status.strip(' ,')}: choose of" in err
