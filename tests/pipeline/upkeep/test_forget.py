"""Images that people asked not to be used leave the tables and tars of every fingerprint, and stay away."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from picture_web import Web, picture
from test_cli import LOCAL, capfilt

from pipeline.session import open_session
from pipeline.store import Store
from pipeline.upkeep.forget import applied, forget
from stages.contract import Output
from stages.errors import UserError
from stages.io.shards import read_images
from stages.tables import CAPTIONS, SIMILARITIES

PATHS = ["/1", "/2", "/again/1", "/3", "/4", "/to/2"]


@pytest.fixture
def folder(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A run up to its download under two fingerprints, three rows a shard, and captions of the first."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{web.url(path)},text of {path},own {path}" for path in PATHS]
    Path("list.csv").write_text("\n".join(["URL,TEXT,ALT", *rows]) + "\n")
    for size in (32, 16):
        write_manifest(size)
        assert capfilt(capsys, *LOCAL, "--until", "download")[0] == 0
    write_manifest(32)
    commit_captions()
    return tmp_path


def write_manifest(size: int, removed: str = "removed: removed.txt") -> None:
    Path("removed.txt").touch()
    Path("m.yaml").write_text(f"""\
output: out
{removed}
sources:
  web: {{format: csv, path: list.csv, keep: [ALT]}}
urls: {{shard_size: 3}}
download: {{image_size: {size}, encode_format: png, encode_quality: 1, allow_addresses: [127.0.0.1]}}
caption: {{model: nowhere/model}}
rank: {{model: nowhere/model}}
select: {{itm_threshold: null}}
""")


def commit_captions() -> None:
    session = open_session(Path("m.yaml"))
    for stage, schema in (("caption", CAPTIONS), ("rank", SIMILARITIES)):
        node = session.graph.nodes[f"{stage}/web"]
        place = session.store.folder(stage, node.fingerprint)
        session.store.record_recipe(place, {"source": "web", "identity": node.identity})
        values = {"writer": "w", "candidate": 0, "origin": "web", "caption": "a text", "clip_score": 0.5}
        urls = session.store.folder_of(session.graph.nodes["urls/web"])
        for shard in sorted(session.store.committed(urls))[:2]:
            keys = session.store.artifact(urls, shard).table(["key"])["key"].to_pylist()
            rows = [{"key": key, **values} for key in keys]
            session.store.commit(place, shard, Output(pa.Table.from_pylist(rows, schema)), {"stage": stage})


def key_of(path: str) -> str:
    """The key of the row whose address ends so."""
    (key,) = {row["key"] for table in tables("urls") for row in table if urlsplit(row["url"] or "").path == path}
    return key


def everything(under: Path = Path("out")) -> dict[str, bytes]:
    """What lies in the output."""
    return {str(path.relative_to(under)): path.read_bytes() for path in under.rglob("*") if path.is_file()}


def tables(stage: str) -> list[list[dict]]:
    paths = sorted(Path("out", stage).glob("*/*.parquet"), key=lambda path: (path.parent.name, path.name))
    return [pq.read_table(path).to_pylist() for path in paths]


def holds(text: str) -> bool:
    """Whether any table or tar has this text."""
    values = {
        str(value)
        for path in Path("out").rglob("*.parquet")
        for row in pq.read_table(path).to_pylist()
        for value in row.values()
    }
    tars = b"".join(path.read_bytes() for path in Path("out").rglob("*.tar"))
    return any(text in value for value in values) or text.encode() in tars


def members() -> list[list[str]]:
    tars = sorted(Path("out/download").glob("*/*.tar"))
    return [tarfile.open(tar).getnames() for tar in tars]


def test_a_url_leaves_every_table_and_tar_and_nothing_else_changes(folder, web, capsys):
    before, rows_before = everything(), {stage: tables(stage) for stage in ("urls", "download", "caption", "rank")}
    samples_before = samples()
    assert holds("text of /2")
    code, out, _ = capfilt(capsys, "forget", "m.yaml", web.url("/2").replace("http://", "HTTPS://"), "--json")
    assert code == 0
    done = json.loads(out)
    assert (done["rows"], done["images"], len(done["added"])) == (1, 2, 1)
    key = key_of("/2")

    for stage, found in rows_before.items():
        for then, now in zip(found, tables(stage), strict=True):
            kept = [row for row in then if row["key"] != key]
            assert [row for row in now if row["key"] != key] == kept
    urls = [row for table in tables("urls") for row in table if row["key"] == key]
    assert urls == [
        {
            "key": key,
            "source": "web",
            "url": web.url("/2"),
            "text": None,
            "texts": None,
            "file": None,
            "questions": None,
            "ALT": None,
        }
    ]
    images = [row for table in tables("download") for row in table if row["key"] == key]
    assert [(row["status"], row["member"], row["width"]) for row in images] == [("removed", None, None)] * 2
    assert not [row for stage in ("caption", "rank") for table in tables(stage) for row in table if row["key"] == key]
    assert not [name for names in members() for name in names if key in name]
    assert len(members()) == 4  # no old tar beside a new one
    assert samples() == samples_before
    untouched = [name for name in before if "-00001-" in name and ".json" not in name]
    assert untouched
    assert {name: everything()[name] for name in untouched} == {name: before[name] for name in untouched}
    assert not holds("text of /2")
    assert not holds("own /2")
    assert holds("text of /4")


def samples() -> dict[str, bytes]:
    """The bytes of every file in a tar but those of /2, with its header."""
    found = {}
    for tar in sorted(Path("out/download").glob("*/*.tar")):
        content = tar.read_bytes()
        with tarfile.open(tar) as archive:
            for member in archive:
                if not member.name.startswith(f"{key_of('/2')}."):
                    end = member.offset_data + -(-member.size // 512) * 512
                    found[f"{tar.parent.name}/{member.name}"] = content[member.offset : end]
    return found


def test_the_tars_can_still_be_read_and_a_later_run_does_not_ask_again(folder, web, capsys):
    assert capfilt(capsys, "forget", "m.yaml", web.url("/2"))[0] == 0
    session = open_session(Path("m.yaml"))
    node = session.graph.nodes["download/web"]
    place = session.store.folder("download", node.fingerprint)
    for shard in session.store.committed(place):
        artifact = session.store.artifact(place, shard)
        keys = [key for key, _ in read_images(artifact)]
        assert keys == [row["key"] for row in artifact.table().to_pylist() if row["status"] == "success"]
    web.asked.clear()
    write_manifest(24)  # another recipe: everything is downloaded again
    assert capfilt(capsys, *LOCAL, "--until", "download")[0] == 0
    assert web.asked["/2"] == 0
    assert web.asked["/3"] == web.asked["/to/2"] == 1
    _, out, _ = capfilt(capsys, "query", "m.yaml", "SELECT url FROM images WHERE status = 'removed'", "--json")
    assert {row["url"] for row in json.loads(out)} == {web.url("/2"), web.url("/to/2")}


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_sum_removes_every_row_with_these_bytes_and_lists_their_urls(folder, web, capsys, kind):
    code, out, _ = capfilt(capsys, "forget", "m.yaml", hashlib.new(kind, picture(1)).hexdigest().upper(), "--json")
    assert code == 0
    assert set(json.loads(out)["added"][1:]) == {web.url("/1"), web.url("/again/1")}
    removed = {row["url"] for table in tables("download") for row in table if row["status"] == "removed"}
    assert removed == {web.url("/1"), web.url("/again/1")}
    assert not holds("text of /1")
    again = everything()
    assert capfilt(capsys, "forget", "m.yaml")[0] == 0
    assert everything() == again


def test_what_a_person_writes_into_the_list_takes_effect_with_the_next_run(folder, web, capsys):
    Path("removed.txt").write_bytes(f"# asked for on a Monday\n{web.url('/3')}\n".encode() + b"http://h/\xe4.jpg\n")
    _, out, _ = capfilt(capsys, "plan", "m.yaml", "--until", "download", "--json")
    assert {row["reason"] for row in json.loads(out)} == {""}  # a longer list makes nothing run again
    assert "nothing to do" in capfilt(capsys, *LOCAL, "--until", "download")[1]
    assert not holds("text of /3")


def test_a_list_that_is_cut_out_of_the_sources_own(folder, web, capsys):
    cut = {"URL": [web.url("/2"), "x.jpg", None], "TEXT": ["a", "b", "c"], "punsafe": [0.9, 1.0, 0.99]}
    cut["MD5"] = [None, None, hashlib.md5(picture(3)).hexdigest().upper()]
    pq.write_table(pa.table(cut), "unsafe.parquet")
    code, out, _ = capfilt(capsys, "forget", "m.yaml", "--list", "unsafe.parquet", "--json")
    assert code == 1  # for it says so where a line names nothing
    assert "row 2 'x.jpg'" in json.loads(out)["odd"][0]
    removed = {row["url"] for table in tables("download") for row in table if row["status"] == "removed"}
    assert removed == {web.url("/2"), web.url("/3")}
    assert "x.jpg" not in Path("removed.txt").read_text()
    Path("removed.txt").write_text(Path("removed.txt").read_text() + "y.jpg\n")
    _, _, err = capfilt(capsys, *LOCAL, "--until", "download")
    assert "neither an http(s) address nor a sum (64 or 32 hex digits): line 4 'y.jpg'" in " ".join(err.split())


def test_an_interrupted_forget_goes_on(folder, web, capsys, monkeypatch):
    commits = iter([True, False])
    commit = Store.commit

    def die(self, *arguments, **options):
        commit(self, *arguments, **options)  # the table is there, the old tar still lies beside it
        if not next(commits):
            raise KeyboardInterrupt

    monkeypatch.setattr(Store, "commit", die)
    with pytest.raises(KeyboardInterrupt):
        forget(Store.open("out"), str(folder / "removed.txt"), [web.url("/2")])
    monkeypatch.setattr(Store, "commit", commit)
    assert capfilt(capsys, "forget", "m.yaml")[0] == 0
    assert not [name for names in members() for name in names if key_of("/2") in name]
    assert len(members()) == 4
    assert not holds("text of /2")
    assert not holds("own /2")
    assert holds("text of /4")


def test_side_files_that_killed_attempts_left_are_cleared_too(folder, web, monkeypatch):
    place = next(Path("out/download").glob("*/*-00000-*.*.tar"))
    place.with_name(f"{place.name.split('.')[0]}.0123456789ab.tar").write_bytes(place.read_bytes())
    looked, names = [], Store.names
    monkeypatch.setattr(Store, "names", lambda self, folder: looked.append(folder) or names(self, folder))
    forget(Store.open("out"), "removed.txt", [web.url("/2"), web.url("/4")])  # of two shards
    assert len(members()) == 4
    for made in Path("out").resolve().glob("*/*/"):
        assert (made, looked.count(str(made))) == (made, 1)  # however many shards there are


def damage(path: Path, how: str) -> bytes:
    """Damage a file, and return what it was."""
    whole = path.read_bytes()
    if path.suffix == ".tar":
        with tarfile.open(path) as tar:
            edge = tar.getmembers()[3].offset
    if how == "a header":
        path.write_bytes(whole[:edge] + b"x" * 512 + whole[edge + 512 :])
    elif how == "cut at an edge":
        path.write_bytes(whole[:edge])
    else:
        path.write_bytes(whole[: len(whole) // 3 + 100])
    return whole


DAMAGED = [
    ("download/*/*-00000-*.*.tar", "a header"),
    ("download/*/*-00000-*.*.tar", "cut at an edge"),
    ("download/*/*-00000-*.*.tar", "cut within"),
    ("download/*/*-00000-*.parquet", "cut within"),
    ("urls/*/*-00000-*.parquet", "cut within"),
    ("caption/*/*-00000-*.parquet", "cut within"),
]


def test_what_is_damaged_is_told_and_all_else_is_cleared(folder, web, capsys):
    before = applied(Store.open("out"))
    for number, (pattern, how) in enumerate(DAMAGED):
        first = sorted(Path("out").glob(pattern))[0]
        whole = damage(first, how)
        broken = first.read_bytes()
        wanted = [web.url("/2"), web.url("/4")] if not number else []  # of the first shard, and of the second one
        code, _, err = capfilt(capsys, "forget", "m.yaml", *wanted)
        assert code == 1
        assert f"{first.absolute()} is damaged (" in err
        assert first.read_bytes() == broken
        hit = [
            row["status"]
            for table in tables_but(first)
            for row in table
            if row["url"] in {web.url("/2"), web.url("/4")}
        ]
        assert set(hit) == {"removed"}
        assert applied(Store.open("out")) == before
        code, _, err = capfilt(capsys, *LOCAL, "--until", "download")
        assert code in {1, 2}  # 2 where the views need the table
        assert f"{first.absolute()} is damaged (" in err
        first.write_bytes(whole)
    assert capfilt(capsys, "forget", "m.yaml")[0] == 0
    assert applied(Store.open("out")) != before
    assert not any(map(holds, ("text of /2", "text of /4")))
    assert holds("text of /1")


def tables_but(damaged: Path) -> list[list[dict]]:
    """The images tables but for one, and for the one that names it."""
    paths = [
        path
        for path in Path("out/download").glob("*/*.parquet")
        if damaged.parent != path.parent or "-00001-" in path.name
    ]
    return [pq.read_table(path).to_pylist() for path in paths]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ftp://x/1.jpg"], "'ftp://x/1.jpg' is neither an http(s) URL nor a sha256 or md5 sum"),
        (["a" * 40], "is neither an http(s) URL nor a sha256 or md5 sum (64 or 32 hex digits)"),
        (["http://x/1.jpg ; by X"], "write a blank within an address as %20, and a note behind ' #'"),
        (["http://x/\udce9.jpg"], r"'http://x/\udce9.jpg' is neither"),
        (["--list", "nowhere.txt"], "no removal list nowhere.txt"),
        (["http://x/1.jpg"], "it has no removal list; add a line such as 'removed: removed.txt'"),
    ],
)
def test_mistakes(arguments, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_manifest(32, removed="" if expected.startswith("it has no") else "removed: removed.txt")
    code, _, err = capfilt(capsys, "forget", "m.yaml", *arguments)
    assert code == 2
    assert expected in err


def test_a_folder_without_its_recipe_is_not_passed_over(folder, web):
    next(Path("out/download").glob("*/recipe.json")).unlink()
    with pytest.raises(UserError, match="has lost its recipe"):
        forget(Store.open("out"), str(folder / "removed.txt"), [web.url("/2")])
