"""Outputs and exports that would be lost, or would take something along, are refused with a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import capfilt

from pipeline.export.own import refuse_own
from pipeline.session import open_session
from pipeline.store import Store
from stages.errors import UserError

MANIFEST = """\
output: {output}
removed: removed.txt
sources: {{web: {{format: csv, path: list.csv}}}}
caption: {{model: ./model}}
rank: {{model: nowhere/model}}
select: {{itm_threshold: null}}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_scratch):
    monkeypatch.chdir(tmp_path)
    Path("list.csv").write_text("URL,TEXT\nhttp://127.0.0.1/1,a dog\n")
    Path("removed.txt").touch()
    Path("model").mkdir()
    Path("model/config.json").write_text('{"model_type": "blip", "architectures": ["BlipForConditionalGeneration"]}')

    def write(output: str) -> None:
        Path("m.yaml").write_text(MANIFEST.format(output=output))

    return write


COMMANDS = ("run --executor local --until urls", "status", "query", "compact", "forget", "clean", "plan", "retry")


def test_an_output_that_is_a_file(write, capsys):
    Path("out").write_text("mine")
    for output in ("out", "out/below/it"):
        write(output)
        for command in COMMANDS:
            name, *options = command.split()
            sql = ["SELECT 1"] if name == "query" else []
            code, _, err = capfilt(capsys, name, "m.yaml", *sql, *options)
            assert (command, code, err) == (
                command,
                2,
                f"capfilt: output: {Path('out').absolute()} is a file; name a folder\n",
            )
    assert Path("out").read_text() == "mine"


@pytest.mark.parametrize("output", ["memory://x/y", "s3://", "gs://", "file://", "zip://x.zip", "zip://a::x.zip"])
def test_an_output_that_keeps_nothing(write, capsys, output):
    write(output)
    for command in ("validate", "plan", "forget"):
        code, _, err = capfilt(capsys, command, "m.yaml")
        assert (code, err.count("\n")) == (2, 1)
        assert f'output: found "{output}"; ' in err
    with pytest.raises(UserError, match=r"output: \S+: .*; (name a|write)"):
        Store.open(output).reach()
    assert {path.name for path in Path().iterdir()} == {"list.csv", "m.yaml", "model", "removed.txt", "scratch"}


def test_an_output_that_nobody_can_look_at(write, capsys):
    write("x" * 300)
    code, _, err = capfilt(capsys, "status", "m.yaml")
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot be reached" in err


def test_a_local_output_may_be_written_as_a_url(write, capsys):
    write(Path("out").absolute().as_uri())
    assert capfilt(capsys, "run", "m.yaml", "--executor", "local", "--until", "urls")[0] == 0
    _, out, _ = capfilt(capsys, "query", "m.yaml", "SELECT count(*) AS n FROM urls", "--json")
    assert json.loads(out) == [{"n": 1}]


@pytest.mark.parametrize(
    ("destination", "told"),
    [
        ("out", "lies in the output"),
        ("./x/../out/export", "lies in the output"),
        ("link/catalog.duckdb", "lies in the output"),
        ("m.yaml", "is the manifest"),
        ("list.csv", "is a list of the manifest's"),
        ("file://list.csv", "is a list of the manifest's"),
        ("removed.txt", "is the removal list"),
        ("model", "is a model of the manifest's"),
        ("memory://x", "is gone when the process ends"),
        ("s3:/b", "is no folder"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_what_no_export_replaces(write, capsys, destination, told, options):
    write("out")
    Path("out").mkdir()
    Path("link").symlink_to("out")
    before = Path("list.csv").read_text()
    code, _, err = capfilt(capsys, "export", "m.yaml", destination, "--to", "json", *options)
    assert (code, err.count("\n")) == (2, 1)
    assert told in err
    assert Path("list.csv").read_text() == before


def test_beside_all_that_is_room(write):
    write("out")
    session = open_session(Path("m.yaml"))
    for destination in ("export", "out.json", "nowhere/model", "s3://bucket/out"):
        refuse_own(session.graph, session.store, destination, "m.yaml")
