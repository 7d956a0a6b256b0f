"""What may be written where: one rule for files and folders, on a disk and in an object store."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import fsspec
import pytest

from pipeline.dag.graph import build_graph
from pipeline.export import target as export_target
from pipeline.export.mark import Mark, ShardMark, Subject
from pipeline.export.place import Target
from pipeline.export.target import Export, claim
from pipeline.export.tars import number
from pipeline.manifest.load import load_manifest
from stages.errors import UserError

LIST = Subject("json", 1, "recipe", ("a", "b"))
MODEL = Subject("hf", 1, "recipe", ("a",))
MADE_OF = {"web-0-0": {"select/f": "1", "urls/g": "1"}}


class Killed(BaseException):
    """Nothing that an exporter could catch."""


def write(place: Path | str, subject: Subject = LIST, content: str = "[]", *, overwrite: bool = False) -> Export:
    one_file = subject.format in {"json", "lavis"}
    export = claim(Target.of(str(place), one_file=one_file), subject, overwrite=overwrite)
    with export.anew(MADE_OF) as path:
        if one_file:
            path.write_text(content)
        else:
            for name in ("config.json", "model.bin", "README.md"):
                (path / name).write_text(f"{name} {content}")
    return export


def again(place: Path | str, subject: Subject = LIST, *, overwrite: bool = False) -> Export:
    return claim(Target.of(str(place), one_file=subject.format == "json"), subject, overwrite=overwrite)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("subject", [LIST, MODEL])
@pytest.mark.parametrize("root", ["disk", "memory", "s3"])
def test_an_export_knows_itself_again(subject, root, tmp_path, request):
    roots = {
        "disk": lambda: tmp_path,
        "memory": lambda: "memory://targets",
        "s3": lambda: request.getfixturevalue("s3_folder"),
    }
    place = f"{roots[root]()}/{subject.format}"
    assert not again(place, subject).is_made_of(MADE_OF)
    write(place, subject)
    assert again(place, subject).is_made_of(MADE_OF)
    assert not again(place, subject).is_made_of({"web-0-0": {"select/f": "2", "urls/g": "1"}})
    assert not again(place, subject).is_made_of(MADE_OF | {"web-0-1": {}})
    write(place, subject, "other")
    with fsspec.open(place if subject is LIST else f"{place}/model.bin", "r") as file:
        assert file.read().endswith("other")


def make(kind: str, place: Path) -> None:
    """Something that is not the export that a test wants to write."""
    if kind in {"a file", "an empty file"}:
        place.write_text("url,text\n" if kind == "a file" else "")
    elif kind == "a folder":
        place.mkdir()
        (place / "notes.txt").write_text("mine")
    elif kind == "another format":
        write(place, Subject("lavis", 1, "recipe", ("a",)))
    elif kind == "another recipe":
        write(place, Subject("json", 1, "other", ("a", "b")))
    elif kind == "another list":
        write(place, Subject("json", 1, "recipe", ("c",)))
    elif kind == "an edited export":
        write(place)
        place.write_text("[1, 2, 3]")
    elif kind == "an export edited to the same size":
        write(place)
        place.write_text("{}")
    elif kind == "a file where a mark would lie":
        Path(f"{place}.export.json").write_text('{"mine": 1}')


OTHERS = {
    "a file": "is there already and is no export; name another file, or give --overwrite",
    "an empty file": "is there already and is no export",
    "a folder": "is a folder; name a file",
    "another format": "is an export to lavis; name another file, or give --overwrite",
    "another recipe": "is the export of another corpus",
    "another list": "is the export of another corpus",
    "an edited export": "is no longer what was exported; move it away, or give --overwrite",
    "an export edited to the same size": "is no longer what was exported",
    "a file where a mark would lie": "is there already and is no mark of an export",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_not_this_export_is_refused_and_stays(kind, tmp_path):
    place = tmp_path / "list.csv"
    make(kind, place)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=OTHERS[kind]) as told:
        write(place)
    assert "\n" not in str(told.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("kind", OTHERS)
def test_overwrite_replaces_a_file_and_never_a_folder(kind, tmp_path):
    place = tmp_path / "list.csv"
    make(kind, place)
    if kind in {"a folder", "a file where a mark would lie"}:
        with pytest.raises(UserError):
            write(place, overwrite=True)
        assert "mine" in next(path for path in tmp_path.rglob("*") if path.is_file()).read_text()
    else:
        write(place, content="[7]", overwrite=True)
        assert place.read_text() == "[7]"
        assert again(place).is_made_of(MADE_OF)


def subject(folder: Path, **select: object) -> Subject:
    """The corpus of all CSV files in a folder."""
    model = {"model": "nobody/nothing"}
    content = {
        "output": str(folder / "out"),
        "sources": {"mine": {"format": "csv", "path": str(folder / "*.csv")}},
        "caption": model,
        "rank": model,
        "select": {"itm_threshold": None, **select},
    }
    (folder / "m.yaml").write_text(json.dumps(content))
    manifest = load_manifest(folder / "m.yaml")
    graph = build_graph(manifest.steps, manifest.sources)
    return Subject.of(graph, graph.writing("selection"), "json", 1)


def test_a_corpus_is_the_same_while_its_recipe_is_and_its_list_grows(tmp_path):
    (tmp_path / "a.csv").write_text("URL,TEXT\nhttp://x/0,a dog\n")
    first = subject(tmp_path)
    (tmp_path / "b.csv").write_text("URL,TEXT\nhttp://x/1,a cat\n")
    assert first.is_same(subject(tmp_path))
    assert subject(tmp_path).is_same(first)
    assert not first.is_same(subject(tmp_path, k=1))
    (tmp_path / "a.csv").unlink()
    assert not first.is_same(subject(tmp_path))


def edited(**changes: object) -> bytes:
    """A mark of which something has been changed."""
    mark = json.loads(Mark(LIST, {"a.tar": {"bytes": 1, "broken": {}}}, {"s": ShardMark({"f/1": "x"}, "a.tar")}).dump())
    return json.dumps(mark | changes).encode()


NO_MARKS = [
    *({"files": {name: None}} for name in ("", ".", "..", "a/b", "../b", "/b")),
    *({"files": {"a.tar": record}} for record in ({"size": 1}, {"bytes": "1"}, {"bytes": 1, "broken": []}, [], 5)),
    *({"files": files} for files in ([], "a.tar", None)),
    *({"shards": {"s": shard}} for shard in ({}, {"tables": []}, {"tables": {"a": 1}, "file": None}, None)),
    {"shards": {"s": {"tables": {}, "file": ".."}}},
    *({"content": content} for content in ("ab", [1], None)),
    {"layout": "1"},
    {"complete": "no"},
]


@pytest.mark.parametrize("changes", NO_MARKS, ids=str)
def test_what_is_no_mark_is_not_taken_for_one(changes):
    assert json.loads(Mark.load(edited()).dump()) == json.loads(edited())
    assert Mark.load(edited(**changes)) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 9999, b"\xff", b"null", b"[]"])
def test_what_is_no_json_is_no_mark(content):
    assert Mark.load(content) is None


def test_a_grown_or_shrunk_list_is_the_same_corpus(tmp_path):
    write(tmp_path / "a.json")
    for content in (("a", "b", "c"), ("b",)):
        write(tmp_path / "a.json", Subject("json", 1, "recipe", content))


def test_a_new_layout_is_written_anew(tmp_path):
    write(tmp_path / "a.json")
    assert not again(tmp_path / "a.json", Subject("json", 2, "recipe", ("a", "b"))).is_made_of(MADE_OF)


def test_of_a_folder_go_the_files_that_a_mark_lists_and_no_other(tmp_path):
    place = tmp_path / "hf"
    write(place, MODEL)
    (place / "notes.txt").write_text("mine")
    (place / "eval").mkdir()
    export = claim(Target.of(str(place), one_file=False), Subject("hf", 1, "other", ("z",)), overwrite=True)
    with export.anew(MADE_OF) as folder:
        (folder / "model.bin").write_text("new")
        (folder / "config.json").write_text("new")
    assert names(place) == {"export.json", "config.json", "model.bin", "notes.txt", "eval"}
    assert (place / "notes.txt").read_text() == "mine"
    assert (place / "model.bin").read_text() == "new"


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_file_of_others_in_a_folder_is_never_overwritten(overwrite, tmp_path):
    place = tmp_path / "hf"
    place.mkdir()
    (place / "model.bin").write_text("theirs")
    told = "no export wrote it; move it away" if overwrite else "holds something that is no export"
    with pytest.raises(UserError, match=told):
        write(place, MODEL, overwrite=overwrite)
    assert names(place) == {"model.bin"}
    assert (place / "model.bin").read_text() == "theirs"


def test_a_folder_with_other_files_takes_an_export_that_is_meant(tmp_path):
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf/notes.txt").write_text("mine")
    write(tmp_path / "hf", MODEL, overwrite=True)
    assert names(tmp_path / "hf") == {"notes.txt", "export.json", "config.json", "model.bin", "README.md"}
    assert again(tmp_path / "hf", MODEL).is_made_of(MADE_OF)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "hf").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="hf is a file; name a folder"):
            write(tmp_path / "hf", MODEL, overwrite=overwrite)
    with pytest.raises(UserError, match=r"hf/deep cannot be written"):
        write(tmp_path / "hf/deep", MODEL)


def test_a_listed_file_that_is_gone_is_written_again(tmp_path):
    write(tmp_path / "hf", MODEL)
    (tmp_path / "hf/README.md").unlink()
    assert not again(tmp_path / "hf", MODEL).is_made_of(MADE_OF)
    write(tmp_path / "hf", MODEL)
    assert (tmp_path / "hf/README.md").exists()


def test_a_card_that_somebody_has_edited_is_not_lost(tmp_path):
    write(tmp_path / "hf", MODEL)
    (tmp_path / "hf/README.md").write_text("my model card")
    with pytest.raises(UserError, match=r"hf/README\.md is no longer what was exported"):
        write(tmp_path / "hf", MODEL)
    assert (tmp_path / "hf/README.md").read_text() == "my model card"


def test_an_error_while_writing_leaves_nothing(tmp_path):
    for subject in (LIST, MODEL):
        export = again(tmp_path / "place", subject)
        with pytest.raises(ZeroDivisionError), export.anew(MADE_OF):
            raise ZeroDivisionError
        assert names(tmp_path) == set()


@pytest.mark.parametrize("step", ["model.bin", "config.json", "export.json"])
def test_a_folder_whose_export_was_killed_looks_like_no_model_and_is_gone_on_with(step, tmp_path, monkeypatch):
    place = tmp_path / "hf"
    write(place, MODEL, "old")
    saves: list[str] = []

    def kill(export: Export, name: str, record: object) -> None:
        if name == step:
            raise Killed
        saves.append(name)

    if step == "export.json":
        monkeypatch.setattr(Export, "end", lambda export, complete: (_ for _ in ()).throw(Killed))
    else:
        monkeypatch.setattr(Export, "wrote", kill)
    with pytest.raises(Killed):
        write(place, MODEL, "new")
    (place / ".model.bin.0123456789ab").write_text("half")  # what a SIGKILL would leave
    (place / ".hf.0123456789ab").mkdir()
    monkeypatch.undo()
    assert json.loads((place / "export.json").read_text())["complete"] is False
    if step == "model.bin":
        assert "config.json" not in names(place)
    assert not again(place, MODEL).is_made_of(MADE_OF)
    write(place, MODEL, "new")
    assert names(place) == {"export.json", "config.json", "model.bin", "README.md"}
    assert again(place, MODEL).is_made_of(MADE_OF)


def test_a_list_whose_export_was_killed_is_the_old_one_and_is_gone_on_with(tmp_path, monkeypatch):
    place = tmp_path / "a.json"
    write(place, content="[1]")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        write(place, content="[2]")
    monkeypatch.undo()
    (tmp_path / ".a.json.0123456789ab").write_text("half")
    assert place.read_text() == "[1]"
    write(place, content="[2]")
    assert place.read_text() == "[2]"
    assert names(tmp_path) == {"a.json", "a.json.export.json"}


def test_files_have_ordinary_permissions_whatever_a_library_gave_them(tmp_path):
    (tmp_path / "ordinary").touch()
    export = again(tmp_path / "hf", MODEL)
    with export.anew(MADE_OF) as folder:
        for name, mode in (("config.json", 0o600), ("model.bin", 0o777)):
            (folder / name).touch()
            (folder / name).chmod(mode)
    wanted = stat.S_IMODE((tmp_path / "ordinary").stat().st_mode)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "hf").iterdir()} == {wanted}


def test_no_such_storage_is_told_in_a_line(tmp_path):
    with pytest.raises(UserError, match=r"nowhere://x/a\.json cannot be reached \(Protocol not known"):
        write("nowhere://x/a.json")


def test_a_mark_is_what_was_marked():
    mark = Mark(LIST, {"0.tar": {"bytes": 7}, "1.tar": None}, {"s": ShardMark({"urls": "f/1"}, "0.tar")}, complete=True)
    assert Mark.load(mark.dump()) == mark
    for other in (b"", b"[]", b"{}", b"\xff", b'{"format": "json", "layout": 1, "recipe": "x", "content": 3}'):
        assert Mark.load(other) is None
    assert Mark.load(Mark(LIST, {"../mine": {"bytes": 7}}).dump()) is None


def test_the_mark_is_saved_now_and_then(tmp_path, monkeypatch):
    export = again(tmp_path / "tars", MODEL)
    export.begin(["0.tar", "1.tar"])
    export.wrote("0.tar", {"bytes": 1})
    assert json.loads((tmp_path / "tars/export.json").read_text())["files"] == {"0.tar": None, "1.tar": None}
    monkeypatch.setattr(export_target, "SAVED_EVERY", 0.0)
    export.wrote("1.tar", {"bytes": 2})
    files = json.loads((tmp_path / "tars/export.json").read_text())["files"]
    assert files == {"0.tar": {"bytes": 1}, "1.tar": {"bytes": 2}}


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        ({}, "abc", {"a": "0.tar", "b": "1.tar", "c": "2.tar"}),
        ({"a": "0.tar", "b": "1.tar", "c": "2.tar"}, "ac", {"a": "0.tar", "c": "1.tar"}),
        ({"a": "0.tar", "b": "1.tar", "c": "2.tar"}, "bc", {"b": "1.tar", "c": "0.tar"}),
        ({"b": "0.tar"}, "abc", {"b": "0.tar", "a": "1.tar", "c": "2.tar"}),
        ({"a": None, "b": "0.tar"}, "ab", {"b": "0.tar", "a": "1.tar"}),
        ({"a": "0.tar"}, "", {}),
    ],
)
def test_tars_are_numbered_without_a_gap_and_keep_their_numbers(before, wanted, after):
    mark = Mark(LIST, shards={shard: ShardMark({}, name) for shard, name in before.items()})
    assert number(mark, list(wanted), digits=1) == after


def test_a_place_that_cannot_be_looked_at_is_not_taken_for_an_empty_one(tmp_path, monkeypatch):
    def refuse(_self, path, **_options):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(fsspec.get_filesystem_class("file"), "info", refuse)
    with pytest.raises(UserError, match="cannot be reached"):
        Target.of(str(tmp_path / "corpus.json"), one_file=True).look()
