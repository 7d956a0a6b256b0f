from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import Run, Web, encoded, picture
from PIL import Image

from stages.contract import Output
from stages.download import web as web_module
from stages.download.urls import request_url
from stages.io.shards import Artifact, read_images
from tests.ports import free_port


def members(output: Output) -> dict[str, bytes]:
    with tarfile.open(output.sides["tar"]) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


ANSWERS = [
    ("/good.jpg", "success"),
    ("/good.png", "success"),
    ("/good.webp", "success"),
    ("/big.jpg", "success"),
    ("/moved.jpg", "success"),
    ("/chunked.jpg", "success"),
    ("/flaky.jpg", "success"),
    ("/other-bot.jpg", "success"),
    ("/good.jpg", "success"),
    ("/nothing-here.jpg", "http_4xx"),
    ("/500", "http_5xx"),
    ("/loop", "http_other"),
    ("/to-ftp", "http_other"),
    ("/to-file", "http_other"),
    ("/garbage", "http_other"),
    ("/odd-type", "error"),  # a TypeError in the standard library's parser of headers
    ("/reset.jpg", "connection"),
    ("/short.jpg", "connection"),
    ("/chunked-short.jpg", "connection"),
    ("/cut.jpg", "not_an_image"),
    ("/empty.jpg", "not_an_image"),
    ("/page.html", "not_an_image"),
    ("/noai.jpg", "opted_out"),
]


def test_every_answer_becomes_a_row_in_order(
    web: Web, download: Run, commit: Callable[[Output], Artifact], tmp_path: Path
) -> None:
    canary = tmp_path / "canary.jpg"
    canary.write_bytes(encoded(picture()))
    others = [
        (f"http://127.0.0.1:{free_port()}/x.jpg", "connection"),
        ("http://no-such-host.invalid/x.jpg", "dns"),
        (f"file://{canary}", "invalid_url"),
        (str(canary), "invalid_url"),
        ("ftp://127.0.0.1/x.jpg", "invalid_url"),
        ("data:image/png;base64,AAAA", "invalid_url"),
        ("http:///x.jpg", "invalid_url"),
        ("http://[::1/x.jpg", "invalid_url"),
        ("http://127.0.0.1:99999/x.jpg", "invalid_url"),
        (f"http://{'a' * 70}.invalid/x.jpg", "invalid_url"),
        ("", "invalid_url"),
        (None, "invalid_url"),
    ]
    cases = [*((web.url(path), status) for path, status in ANSWERS), *others]
    output = download([{"url": url, "text": f"text {i}"} for i, (url, _) in enumerate(cases)])

    found = output.table.select(["url", "status", "error"]).to_pylist()
    assert [(row["url"], row["status"]) for row in found] == cases, found
    assert all((row["error"] is None) == (row["status"] == "success") for row in found)
    assert output.counts["success"] == 9
    assert web.hits["/flaky.jpg"] == 2
    kept = [row["key"] for row in output.table.to_pylist() if row["status"] == "success"]
    images = dict(read_images(commit(output)))
    assert list(images) == kept
    for row in output.table.to_pylist():
        if row["key"] in images:
            assert Image.open(io.BytesIO(images[row["key"]])).convert("RGB").size == (row["width"], row["height"])


def test_a_silent_server_and_one_that_trickles_for_ever_time_out(web: Web, download: Run) -> None:
    rows = [{"url": web.url(path)} for path in ("/hang.jpg", "/trickle.jpg")]
    output = download(rows, timeout=0.3, max_seconds=1)
    assert output.table["status"].to_pylist() == ["timeout", "timeout"]


def test_a_body_that_is_too_large_is_refused(web: Web, download: Run) -> None:
    output = download([{"url": web.url("/big.jpg")}], max_bytes=500)
    assert output.table["status"].to_pylist() == ["too_large"]
    assert web.hits["/big.jpg"] == 1


def test_a_certificate_that_cannot_be_checked_is_tls(web: Web, download: Run) -> None:
    output = download([{"url": web.url("/good.jpg").replace("http:", "https:")}], retries=0)
    assert output.table["status"].to_pylist() == ["tls"]


def test_two_runs_are_equal_to_the_byte(web: Web, download: Run) -> None:
    rows = [{"url": web.url(path), "text": path} for path, _ in ANSWERS]
    first, second = download(rows), download(rows)
    assert first.table.equals(second.table)
    assert first.sides["tar"].read_bytes() == second.sides["tar"].read_bytes()


def test_the_tar_is_a_webdataset_in_row_order(web: Web, download: Run) -> None:
    rows = [{"url": web.url("/good.jpg"), "text": "Zürich"}, {"url": web.url("/500")}, {"url": web.url("/big.jpg")}]
    output = download(rows, columns={"similarity": [0.25, 0.5, 0.75]})
    content = members(output)
    assert list(content) == [f"s-0-{row}.{part}" for row in ("0000", "0002") for part in ("jpg", "txt", "json")]
    assert content["s-0-0000.txt"].decode() == "Zürich"
    assert content["s-0-0002.txt"] == b""
    described = json.loads(content["s-0-0000.json"])
    assert described["caption"] == "Zürich"
    assert described["similarity"] == 0.25
    first, _, third = output.table.to_pylist()
    assert first["member"] == "s-0-0000.jpg"
    assert first["sha256"] == described["sha256"] == hashlib.sha256(content["s-0-0000.jpg"]).hexdigest()
    assert (third["width"], third["height"]) == (480, 384)
    assert (third["original_width"], third["original_height"]) == (1000, 800)


def test_sizes_and_aspect_ratio_are_checked(web: Web, download: Run) -> None:
    small = web.image("/small.jpg", encoded(picture(40, 20)))
    wide = web.image("/wide.jpg", encoded(picture(400, 40)))
    output = download(
        [{"url": small}, {"url": wide}, {"url": web.url("/good.jpg")}], min_image_size=32, max_aspect_ratio=3
    )
    assert output.table["status"].to_pylist() == ["too_small", "bad_aspect", "success"]


@pytest.mark.parametrize(
    ("header", "recipe", "status"),
    [
        ("noai", {}, "opted_out"),
        ("noai", {"opt_out": ()}, "success"),
        ("nosnippet", {}, "success"),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST, noindex", {}, "opted_out"),
        ("capfilt: noai", {}, "opted_out"),
        ("mybot: noai", {}, "success"),
        ("mybot: nofollow, noai", {"user_agent": "MyBot"}, "opted_out"),
    ],
)
def test_opt_outs(web: Web, download: Run, header: str, recipe: dict[str, object], status: str) -> None:
    url = web.image("/x.jpg", encoded(picture()), X_Robots_Tag=header)
    assert download([{"url": url}], retries=0, **recipe).table["status"].to_pylist() == [status]


def test_spaces_and_letters_beyond_ascii_are_quoted(web: Web, download: Run) -> None:
    web.image("/a%20b/%C3%A9%2F.jpg", encoded(picture()))
    output = download([{"url": f" {web.url('/a b/é%2F.jpg')}?q=ü#x "}])
    assert output.table["status"].to_pylist() == ["success"]


def test_a_row_that_img2dataset_loses_is_an_error(web: Web, download: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write = web_module._Sink.write

    def lose_the_second(self: web_module._Sink, image: bytes | None, key: str, caption: None, meta: dict) -> None:
        if meta["row"] == 1:
            raise ValueError("nobody expects this")
        write(self, image, key, caption, meta)

    monkeypatch.setattr(web_module._Sink, "write", lose_the_second)
    output = download([{"url": web.url("/good.jpg")}] * 3)
    assert output.table["status"].to_pylist() == ["success", "error", "success"]
    assert "lost" in output.table["error"][1].as_py()


def test_a_full_disk_fails_the_shard(web: Web, download: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stages.download.spool.Spool.put", full)
    with pytest.raises(OSError, match="No space left"):
        download([{"url": web.url("/good.jpg")}])


def test_img2dataset_itself_raising_fails_the_shard(web: Web, download: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def download_shard(self, _: object) -> None:
            raise RuntimeError("broken")

    monkeypatch.setattr(web_module, "downloader", lambda *_, **__: Broken())
    with pytest.raises(RuntimeError, match="broken"):
        download([{"url": web.url("/good.jpg")}])


def test_no_rows_and_no_images(download: Run, commit: Callable[[Output], Artifact]) -> None:
    for rows in ([], [{"url": ""}]):
        output = download(rows)
        assert members(output) == {}
        assert list(read_images(commit(output))) == []


def test_nothing_is_printed(web: Web, download: Run, capfd: pytest.CaptureFixture[str]) -> None:
    download([{"url": web.url(path)} for path, _ in ANSWERS])
    assert capfd.readouterr() == ("", "")


@settings(deadline=None)
@given(st.text() | st.text("htps:/.[]@%?# \n\x00é0a").map(lambda rest: f"http://{rest}"))
def test_only_clean_http_addresses_are_asked(url: str) -> None:
    asked = request_url(url)
    assert asked is None or (
        asked.lower().startswith(("http://", "https://")) and asked.isprintable() and " " not in asked
    )
