"""A path is a name, whatever characters it has, on a local filesystem and on others."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings

from stages.io.files import (
    _beside,
    absolute,
    create_whole,
    locate,
    open_bytes,
    put_whole,
    remove,
    remove_leftovers,
    whole_file,
    write_whole,
)
from tests.odd_names import ODD, lookalikes, names


@pytest.fixture(scope="module", params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("names")) if request.param == "local" else "memory://names"


def there(url: str) -> bool:
    filesystem, path = locate(url)
    return bool(filesystem.exists(path))


@settings(max_examples=8, deadline=None)
@example("a::b")
@given(names())
def test_what_is_written_is_read_and_removed_alone(place: str, name: str) -> None:
    others = [f"{place}/{other}/x/a" for other in lookalikes(name)]
    for url in others:
        write_whole(url, b"another's")
    folder = f"{place}/{name}"
    write_whole(f"{folder}/x/a", b"content")
    assert not create_whole(f"{folder}/x/a", b"late")
    with open_bytes(f"{folder}/x/a") as file:
        assert file.read() == b"content"
    remove(f"{folder}/x")
    assert not there(f"{folder}/x/a")
    assert all(there(url) for url in others)


@pytest.mark.parametrize("name", [ODD, "é" * 127, "x" * 255])
def test_whole_files_and_folders_of_any_name(name: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    put_whole(source, f"{tmp_path}/{name}/{name}")
    assert [path.read_bytes() for path in (tmp_path / name).iterdir()] == [b"content"]
    with whole_file(f"{tmp_path}/made/{name}") as path:
        path.touch()
    assert [path.name for path in (tmp_path / "made").iterdir()] == [name]


def test_where_a_path_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert absolute("a/b") == f"{tmp_path}/a/b"
    assert absolute("~/a") == "/home/me/a"
    assert absolute("./~/a") == f"{tmp_path}/~/a"
    assert absolute("~nobody-of-that-name/a") == f"{tmp_path}/~nobody-of-that-name/a"
    assert absolute("s3://bucket/~/a") == "s3://bucket/~/a"
    assert locate(f"{tmp_path}/a::b/file:x")[1] == f"{tmp_path}/a::b/file:x"
    assert locate("file:///x/a::b")[1] == "/x/a::b"
    filesystem, path = locate("memory://x/a")
    assert (filesystem.protocol, path) == ("memory", "/x/a")
    for name in ("a::b", "a::file", "::", "zip::a", "x::memory://y"):
        assert locate(f"s3://bucket/{name}.tar")[1] == f"bucket/{name}.tar"
    with pytest.raises(ValueError, match="Protocol not known"):
        locate("simplecache::memory://x/a")
    with pytest.raises(ValueError, match="taken for a version"):
        locate("s3://bucket/a?versionId=b")


@pytest.mark.parametrize("name", ["a", "é" * 127, "x" * 254])
def test_what_a_killed_writer_left_is_removed_and_nobody_elses(name: str, tmp_path: Path) -> None:
    own, other = tmp_path / name, tmp_path / f"{name[:-1]}y"
    for target in (own, other):
        with _beside(target) as temporary:
            pass
        temporary.touch()  # as after a kill
    remove_leftovers([str(own)])
    (left,) = tmp_path.iterdir()
    with _beside(other) as temporary:
        assert left.name.rpartition(".")[0] == temporary.name.rpartition(".")[0]
