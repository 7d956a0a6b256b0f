"""The command as a person meets it: exit codes, one line for a mistake, JSON for programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.urls.keys import file_id
from tests.pipeline.command import capfilt


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A working folder with a list of five URLs that no server answers, cut only."""
    monkeypatch.chdir(tmp_path)
    rows = [f"http://127.0.0.1:9/{index}.jpg,text {index}" for index in range(5)]
    Path("list.csv").write_text("\n".join(["URL,TEXT", *rows]) + "\n")
    return tmp_path


def write(path: str = "list.csv", output: str = "out", more: str = "", shard_size: int = 2) -> None:
    Path("m.yaml").write_text(f"""\
output: {output}
sources:
  web:
    format: csv
    path: {path}
{more}
urls: {{shard_size: {shard_size}}}
download:
  allow_addresses: [127.0.0.1]
caption: {{model: nowhere/model}}
rank: {{model: nowhere/model}}
select: {{itm_threshold: null}}
""")


LOCAL = ("run", "m.yaml", "--executor", "local")


def make_stage_table() -> None:
    metadata = {"stage": "caption", "capfilt_version": "0.1.0"}
    table = pa.table({"URL": ["http://127.0.0.1:9/a"], "TEXT": ["a"]}).replace_schema_metadata(metadata)
    pq.write_table(table, "captions.parquet")


MISTAKES = {
    "a missing list": (lambda: write("nowhere.csv"), "no file matches"),
    "an empty list": (lambda: (Path("list.csv").write_text("URL,TEXT\n"), write()), "not one row is left of the list"),
    "nothing left of the list": (
        lambda: write(more="    where: \"TEXT = 'no'\""),
        "sources.web: not one row is left of the list; check its path and its 'where'",
    ),
    "a column that is not there": (lambda: write(more="    where: WIDTH > 5"), "WIDTH"),
    "an output below a file": (lambda: write(output="list.csv/out"), "is a file; name a folder"),
    "an output on a read-only file system": (lambda: write(output="/proc/capfilt"), "cannot be written"),
    "another manifest's stage": (
        lambda: (make_stage_table(), write("captions.parquet", more="    text: TEXT").__class__, use_parquet()),
        "is what the stage 'caption' made of another list; name that list in its place",
    ),
}


def use_parquet() -> None:
    path = Path("m.yaml")
    path.write_text(path.read_text().replace("format: csv", "format: parquet"))


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(name, folder, capsys):
    make, expected = MISTAKES[name]
    make()
    code, _, err = capfilt(capsys, *LOCAL, "--until", "urls")
    mistake = [line for line in err.splitlines() if line.startswith("capfilt: ")]
    assert code == 2
    assert len(mistake) == 1
    assert expected in mistake[0]
    assert "Traceback" not in err


def test_a_list_of_which_nothing_is_left_is_told_every_time(folder, capsys):
    write(more="    where: \"TEXT = 'no'\"")
    for _ in range(2):
        code, _, err = capfilt(capsys, *LOCAL, "--until", "download")
        assert code == 2
        assert "sources.web: not one row is left of the list" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("run", "m.yaml", "--until", "captoin"),
            "--until captoin: there is no such step; the steps are urls, download",
        ),
        (("run", "m.yaml", "--executor", "local", "--address", "auto"), "leave out --executor local"),
        (("plan", "nowhere.yaml"), "nowhere.yaml: no such file"),
        (("query", "m.yaml", "SELEC 1"), "the query is wrong: Parser Error"),
        (("query", "m.yaml", "SELECT capton FROM captions"), "the query is wrong: Binder Error"),
        (("status", "."), ".: it is no manifest, and no run has left a graph there; name either"),
        (("plan", "."), ".: this is a folder; name the manifest, a YAML file"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(arguments, expected, folder, capsys):
    write()
    code, _, err = capfilt(capsys, *arguments)
    assert code == 2
    assert expected in err
    assert err.count("capfilt: ") == 1
    assert "Traceback" not in err


def test_a_missing_model_stops_the_run_with_the_key_that_names_it(folder, capsys):
    write()
    code, _, err = capfilt(capsys, *LOCAL)
    assert code == 2
    assert err.splitlines()[-1].startswith("capfilt: caption.model:")


def test_a_run_its_plan_its_status_and_its_tables(folder, capsys):
    write()
    code, out, _ = capfilt(capsys, "plan", "m.yaml", "--json")
    assert code == 0
    assert [(row["node"], row["reason"]) for row in json.loads(out)][:2] == [
        ("urls/web", "not run yet"),
        ("download/web", "not run yet"),
    ]
    code, out, _ = capfilt(capsys, *LOCAL, "--until", "download", "--json")
    assert code == 0
    outcome = json.loads(out)
    assert outcome["shards_done"] == 4  # the one file, cut into three shards of two rows
    assert {"source": "web", "step": "URLs", "count": 5} in outcome["funnel"]
    code, out, _ = capfilt(capsys, *LOCAL, "--until", "download")
    assert code == 0
    assert "nothing to do: all 4 shards" in out
    code, out, _ = capfilt(capsys, "query", "m.yaml", "SELECT key, status FROM images ORDER BY key", "--json")
    assert code == 0
    rows = json.loads(out)
    assert all(row["key"].startswith(f"{file_id('web', 'list.csv')}-") for row in rows)
    assert len({row["key"] for row in rows}) == 5
    assert {row["status"] for row in rows} == {"connection"}
    code, out, _ = capfilt(capsys, "status", "m.yaml", "--json")
    assert json.loads(out)["losses"] == [{"stage": "download", "reason": "connection", "count": 5}]
    (host,) = json.loads(out)["hosts"]
    assert host == {"host": "127.0.0.1", "urls": 5, "images": 0, "failed": 5, "reason": "connection"}
    with duckdb.connect("out/catalog.duckdb", read_only=True) as catalog:
        assert catalog.sql("SELECT count(*) FROM urls").fetchall() == [(5,)]
        assert catalog.sql("SELECT count(*) FROM captions").fetchall() == [(0,)]


def test_the_plan_says_which_key_makes_a_stage_run_again(folder, capsys):
    write()
    capfilt(capsys, *LOCAL, "--until", "download")
    Path("m.yaml").write_text(Path("m.yaml").read_text().replace("download:\n", "download:\n  image_size: 256\n"))
    _, out, _ = capfilt(capsys, "plan", "m.yaml", "--json")
    reasons = {row["node"]: row["reason"] for row in json.loads(out)}
    assert reasons["urls/web"] == ""
    assert reasons["download/web"] == "changed: image_size 384 -> 256"


def test_validate_tells_all_errors_of_all_files(folder, capsys):
    write()
    Path("n.yaml").write_text(Path("m.yaml").read_text().replace("path:", "pth:"))
    code, out, err = capfilt(capsys, "validate", "m.yaml", "n.yaml")
    assert code == 2
    assert "m.yaml: fine" in out
    assert err.splitlines() == [
        "capfilt: n.yaml:3: sources.web: missing key 'path'",
        "capfilt: n.yaml:5: sources.web.pth: unknown key; did you mean 'path'?",
    ]


def test_help_needs_neither_torch_nor_ray_nor_pydantic():
    program = (
        "import sys, pipeline.cli; heavy = {'torch', 'ray', 'transformers', 'pandas', 'pydantic', 'duckdb', 'pyarrow'};"
        "print(*(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_run_with_failed_shards_finishes_the_rest_lists_them_and_ends_with_exit_code_1(folder, capsys):
    write()
    images = [
        {"filepath": "train", "filename": f"{n}.jpg", "split": "train", "sentences": [{"raw": "a"}]} for n in (1, 2)
    ]
    Path("coco.json").write_text(json.dumps({"images": images}))
    Path("images").mkdir()
    more = "  people:\n    format: coco\n    path: coco.json\n    images: images\n"
    Path("m.yaml").write_text(Path("m.yaml").read_text().replace("urls:", more + "urls:"))
    code, out, err = capfilt(capsys, *LOCAL, "--until", "download")
    assert code == 1
    assert "URLs" in out
    failed = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 1
    assert failed[0].startswith("failed: urls/people people-")
    assert "coco.json: not one of 2 images lies below" in failed[0]
    code, out, _ = capfilt(capsys, "status", "m.yaml", "--json")
    told = json.loads(out)
    assert [row["node"] for row in told["failed"]] == ["urls/people"]
    assert {row["node"]: row["done"] for row in told["stages"]}["download/web"] == 3
