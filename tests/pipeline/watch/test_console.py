"""Words from outside reach a terminal as text: not what it obeys, and not what rich takes for markup."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.table import Table
from test_cli import LOCAL, capfilt

from pipeline.dag.graph import Graph
from pipeline.execute.events import Event
from pipeline.execute.schedule import Schedule
from pipeline.watch.console import Console, clean, records, say_json, single_line
from pipeline.watch.display import make_display

EVIL = "a\x1b[31m\x1b]0;owned\x07\x9b2J\0\r\x7fb [red]c[/red] :dog: \ud83d é🙂日本\u202e"
SHOWN = "a\\x1b[31m\\x1b]0;owned\\x07\\x9b2J\\x00\\x0d\\x7fb [red]c[/red] :dog: \\ud83d é🙂日本\u202e"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def test_control_characters_are_escapes_and_all_else_stays() -> None:
    assert clean(EVIL) == SHOWN
    assert clean("a\n\tb") == "a\n\tb"
    assert single_line("a\r\n\tb\x1b") == "a\\r\\n\\tb\\x1b"


def test_what_rich_prints() -> None:
    printed = io.StringIO()
    console = Console(file=printed, width=200)
    table = Table(EVIL, box=None)
    table.add_row(EVIL)
    console.print(EVIL)
    console.print(EVIL, style="red", soft_wrap=True)
    console.print(table)
    assert [line.strip() for line in printed.getvalue().splitlines()] == [SHOWN] * 4


@pytest.mark.parametrize("is_terminal", [True, False])
def test_what_a_run_says_of_a_shard(is_terminal: bool) -> None:
    printed = io.StringIO()
    console = Console(file=printed, width=200, force_terminal=is_terminal, color_system=None)
    with make_display(console, Graph({})) as display:
        display(Event("failed", "download/web", "web-0", error=EVIL), Schedule(Graph({}), []))
        display.say(EVIL)
    assert printed.getvalue().count(SHOWN) == 2
    assert "owned\x07" not in printed.getvalue()


def test_json_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    say_json({"text": EVIL, "numbers": [float("nan"), float("inf"), 1.5], "map": {(1, 2): {"x": -float("inf")}}})
    out = capsys.readouterr().out
    assert not CONTROL.search(out)
    numbers = {"numbers": [None, None, 1.5], "map": {"(1, 2)": {"x": None}}}
    assert json.loads(out) == {"text": EVIL, **numbers}


def test_two_columns_of_one_name_are_two() -> None:
    assert records(["a", "a", "a_1", "b"], [(1, 2, 3, 4)]) == [{"a": 1, "a_2": 2, "a_1": 3, "b": 4}]


ASKED = [
    ("query", "FROM images"),
    ("query", 'SELECT 1 AS "\x1b[red]\n"'),
    ("query", "SELECT \x1b"),
    ("status",),
    ("query", "FROM images", "--json"),
]


def test_every_command_shows_what_a_list_brings(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    evil = EVIL.replace("\ud83d", "").replace("\0", "").replace("\r", "")
    host = "\x1b[31mevil\x9b"
    Path("list.csv").write_text(f'URL,TEXT,OWN\nhttp://{host}/a,"{evil}",1\n', encoding="utf-8")
    Path("m.yaml").write_text("""\
output: out
sources: {web: {format: csv, path: list.csv, keep: [OWN]}}
caption: {model: nowhere}
rank: {model: nowhere}
select: {itm_threshold: null}
""")
    assert capfilt(capsys, *LOCAL, "--until", "download")[0] == 0
    said = [capfilt(capsys, command, "m.yaml", *more) for command, *more in ASKED]
    for _, out, err in said:
        assert not CONTROL.search(out + err), out + err
    table = said[0][1]
    assert clean(evil) in table
    assert "\\x1b[31mevil\\x9b" in table
    assert json.loads(said[-1][1])[0]["text"] == evil
