"""Manifests that share an output, and an output that was copied: whose a graph is, and where the removal list lies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.dag.named import location_of
from pipeline.dag.stored import stored_names
from pipeline.session import open_output
from pipeline.store import Store
from tests.pipeline.command import capfilt

MANIFEST = """\
output: {output}
{more}
sources: {{web: {{format: csv, path: {folder}/{list}.csv}}}}
caption: {{model: nowhere/model}}
rank: {{model: nowhere/model}}
select: {{itm_threshold: null}}
"""
CUT = ("--executor", "local", "--until", "urls")
URL = "http://127.0.0.1/b"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_scratch: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Path(f"{name}.csv").write_text(f"URL,TEXT\nhttp://127.0.0.1/{name},a dog\n")
    return tmp_path


def write(path: str, urls: str = "a", output: str = "out", more: str = "") -> str:
    Path(path).parent.mkdir(exist_ok=True, parents=True)
    Path(path).write_text(MANIFEST.format(output=output, more=more, list=urls, folder=Path.cwd()))
    return path


def test_a_name_that_another_manifest_has_is_refused_before_anything_is_done(folder, capsys):
    first, second, third = write("x/m.yaml"), write("y/m.yaml", "b"), write("x/m.yml", "b")
    assert capfilt(capsys, "run", first, *CUT)[0] == 0
    before = Path("out/graphs/m.json").read_bytes()
    for other in (second, third):
        for command in (("run", other, *CUT), ("plan", other), ("status", other), ("query", other, "SELECT 1")):
            code, _, err = capfilt(capsys, *command)
            assert (code, err) == (
                2,
                f"capfilt: {other}: its output {folder}/out has the results of another manifest of this name, "
                f"{folder}/{first}; rename one of the two, or give one another 'output'\n",
            )
    assert Path("out/graphs/m.json").read_bytes() == before
    assert len(list(Path("out/urls").iterdir())) == 1
    Path(third).unlink()
    Path(first).rename(folder / "x/own.yaml")
    assert capfilt(capsys, "run", second, *CUT)[0] == 0  # the name is free
    assert capfilt(capsys, "run", "x/own.yaml", *CUT)[0] == 0
    code, out, _ = capfilt(capsys, "clean", second, "--unused", "--dry-run", "--json")
    assert (code, json.loads(out)["unused"]) == (0, [])


def test_the_same_manifest_by_another_path_keeps_its_name(folder, capsys):
    first = write("x/m.yaml")
    Path("link.d").mkdir()
    Path("link.d/m.yaml").symlink_to(folder / first)
    for path in (first, folder / first, "x/../x/m.yaml", "link.d/m.yaml"):
        assert capfilt(capsys, "run", path, *CUT)[0] == 0


def test_a_job_that_ray_unpacks_anew_keeps_its_name():
    assert location_of(Path("/tmp/ray/session/working_dir_files/_ray_pkg_0a1b/m.yaml")) == ""
    assert location_of(Path("/lists/ray_pkg/m.yaml")) == "/lists/ray_pkg/m.yaml"


def test_of_a_copied_output_the_name_is_free(folder, capsys):
    assert capfilt(capsys, "run", write("x/m.yaml"), *CUT)[0] == 0
    shutil.copytree("out", "copy")
    assert capfilt(capsys, "run", write("y/m.yaml", "b", output="copy"), *CUT)[0] == 0


@pytest.mark.parametrize("name", [".hid.yaml", "m.json", ".m.json"])
def test_a_manifest_of_any_name_is_found_again(name, folder, capsys):
    write(name)
    if name.endswith(".json"):
        source = {"format": "csv", "path": f"{folder}/a.csv"}
        steps = {"caption": {"model": "nowhere/model"}, "rank": {"model": "nowhere/model"}, "select": {"k": 1}}
        steps["select"] |= {"itm_threshold": None}
        Path(name).write_text(json.dumps({"output": "out", "sources": {"web": source}, **steps}))
    assert capfilt(capsys, "run", name, *CUT)[0] == 0
    assert capfilt(capsys, "query", name, "SELECT url FROM urls", "--json")[1].count("http://127.0.0.1/a") == 1
    assert capfilt(capsys, "run", write("other.yaml", "b"), *CUT)[0] == 0
    assert set(stored_names(Store.open("out"))) == {Path(name).stem, "other"}
    code, out, _ = capfilt(capsys, "clean", "other.yaml", "--unused", "--dry-run", "--json")
    assert (code, json.loads(out)["unused"]) == (0, [])


@pytest.mark.parametrize(
    ("name", "why"), [("._m.yaml", "that of macOS's own files"), ("graphs/m.json", "the graph of")]
)
def test_a_name_that_would_not_be_found_again_is_told_at_once(name, why, folder, capsys):
    code, _, err = capfilt(capsys, "run", write(name), *CUT)
    assert (code, err.count("\n")) == (2, 1)
    assert why in err
    assert not Path("out").exists()


def test_the_removal_list_within_a_copy_is_the_copys(folder, capsys):
    path = write("m.yaml", "b", more="removed: out/removed.txt")
    Path("out").mkdir()
    Path("out/removed.txt").touch()
    assert capfilt(capsys, "run", path, *CUT)[0] == 0
    shutil.copytree("out", "copy")
    node = open_output("copy").graph.nodes["download/web"]
    assert node.run.removed == str(folder / "copy/removed.txt")
    for gone in (False, True):
        code, out, err = capfilt(capsys, "forget", "copy", URL, "--json")
        assert code == 0, err
        assert Path("copy/removed.txt").read_text().split() == [URL]
        assert json.loads(out)["added"] == ([] if gone else [URL])
        if not gone:
            assert Path("out/removed.txt").read_text() == ""
            shutil.rmtree("out")
    assert not Path("out").exists()
    assert open_output("copy").removed == str(folder / "copy/removed.txt")
    code, _, err = capfilt(capsys, "retry", "copy", *CUT)
    assert code == 0, err


def test_a_graph_that_cannot_be_read_is_told_with_what_helps(folder, capsys):
    path = write("m.yaml")
    assert capfilt(capsys, "run", path, *CUT)[0] == 0
    Path("out/graphs/m.json").write_text('{"nodes": []}')
    code, _, err = capfilt(capsys, "run", path, *CUT)
    assert (code, err.count("\n")) == (2, 1)
    assert "delete it, and `capfilt run` with the manifest writes it anew" in err
    Path("out/graphs/m.json").unlink()
    assert capfilt(capsys, "run", path, *CUT)[0] == 0
