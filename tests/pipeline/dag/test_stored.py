"""The graph that a run leaves: it says all that is known of the files, and each of them once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.dag.stored import GRAPHS, stored_graph
from pipeline.session import open_session, write_session

FILES = 40


@pytest.fixture
def _many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"part-{number:02d}.csv" for number in range(FILES)]
    for number, name in enumerate(names):
        Path(name).write_text("" if number == 3 else f"URL,TEXT\nhttp://a.com/{number}.jpg,a text\n")
    listed = "".join(f"\n      - {name}" for name in names)
    sources = f"sources:\n  web:\n    format: csv\n    where: TEXT is not null\n    path:{listed}\n"
    steps = "caption: {model: none/none}\nrank: {model: none/none}\nselect: {itm_threshold: null}\n"
    Path("m.yaml").write_text(f"output: out\n{sources}{steps}")


@pytest.mark.usefixtures("_many_files")
@pytest.mark.parametrize("limit", [None, 7])
def test_a_graph_is_read_as_it_was_written(limit: int | None) -> None:
    session = open_session(Path("m.yaml"), limit=limit)
    write_session(session)
    stored = stored_graph(session.store, "m")
    assert stored is not None
    assert stored.graph == session.graph
    assert stored.digests == session.digests


@pytest.mark.usefixtures("_many_files")
def test_a_file_is_named_once_in_its_source_and_once_for_itself() -> None:
    session = open_session(Path("m.yaml"))
    write_session(session)
    text = Path("out", GRAPHS, "m.json").read_text()
    assert {text.count(f"part-{number:02d}.csv") for number in range(FILES)} == {2}
