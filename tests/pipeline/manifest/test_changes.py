"""`--set STEP.KEY=VALUE`: what is set is there, what is wrong is told as it was set, and each arm has its graph."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.dag.named import name_of
from pipeline.dag.stored import stored_names
from pipeline.manifest.load import load_manifest
from pipeline.store import Store
from stages.errors import UserError
from tests.pipeline.command import capfilt

MANIFEST = """\
output: out
sources: {web: {format: csv, path: a.csv}}
caption: &writer {model: some/model, top_p: 0.9}
other: {<<: *writer, stage: caption}
alike: &alike {stage: caption, model: some/model, run: {batch_size: 4}}
same: *alike
rank: {model: some/model}
select: {itm_threshold: null}
rounds:
  times: 1
  caption: {seed: 3}
  rank: {}
  select: {}
"""
CUT = ("--executor", "local", "--until", "urls")


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_scratch: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("URL,TEXT\nhttp://127.0.0.1/a,a dog\n")
    Path("m.yaml").write_text(MANIFEST)
    return Path("m.yaml")


def recipes(manifest: Path, *changes: str) -> dict[str, dict[str, object]]:
    return {step.name: step.recipe.model_dump() for step in load_manifest(manifest, changes).steps}


def test_a_value_stands_where_it_was_set_and_nowhere_else(manifest):
    before = recipes(manifest)
    now = recipes(manifest, "caption.top_p=0.8", "rounds.caption.candidates=3")
    assert now["caption"] == before["caption"] | {"top_p": 0.8}
    assert now["caption@1"] == before["caption@1"] | {"top_p": 0.8, "candidates": 3}
    assert {name: recipe for name, recipe in now.items() if not name.startswith("caption")} == {
        name: recipe for name, recipe in before.items() if not name.startswith("caption")
    }


def test_what_an_alias_shares_changes_in_one_place_alone(manifest):
    steps = {step.name: step for step in load_manifest(manifest, ["same.run.batch_size=9"]).steps}
    assert [steps[name].run.model_dump()["batch_size"] for name in ("alike", "same")] == [4, 9]


def test_a_section_set_to_null_goes(manifest):
    assert {"caption", "other"} <= recipes(manifest).keys()
    now = recipes(manifest, "other=null", "same=", "rounds.caption=null")
    assert {"caption", "rank@1"} <= now.keys()
    assert not {"other", "same", "caption@1"} & now.keys()


def test_later_changes_win_and_new_sections_come_last(manifest):
    now = recipes(manifest, "select.k=5", "select.k=6", "again={stage: caption, model: some/model}")
    assert (now["select"]["k"], list(now)[-1]) == (6, "again")
    assert recipes(manifest, "rounds=null").keys() == {name for name in recipes(manifest) if "@" not in name}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("select.k=0", "--set select.k=0: select.k: found 0; must be at least 1"),
        ("select.kk=1", "--set select.kk=1: select.kk: unknown key; did you mean 'k'?"),
        ("slect.k=1", "--set slect.k=1: slect: unknown key; did you mean 'select'?"),
        ("output.x=1", "--set output.x=1: 'x' would stand in something that has no keys; set that as a whole"),
        ("select.k=a: b: c", "--set select.k=a: b: c: the value is not YAML; put what has ':' or '#' in it in quotes"),
        ("select.k", "--set select.k: write STEP.KEY=VALUE, such as select.k=1"),
        ("select..k=1", "--set select..k=1: write STEP.KEY=VALUE, such as select.k=1"),
        ("caption.top_p=.inf", "--set caption.top_p=.inf: caption.top_p: found .inf; must be a finite number"),
    ],
)
def test_what_is_wrong_is_told_as_what_was_set(manifest, change, told):
    with pytest.raises(UserError) as caught:
        load_manifest(manifest, [change])
    assert told in str(caught.value).splitlines()


def test_arms_of_a_manifest_lie_beside_each_other_and_share_what_is_the_same(manifest, capsys):
    arms = [(), ("--set", "select.k=1"), ("--set", "caption.model={from: nobody}")]
    assert capfilt(capsys, "run", "m.yaml", *CUT)[0] == 0
    assert capfilt(capsys, "run", "m.yaml", *arms[1], *CUT)[0] == 0
    assert capfilt(capsys, "run", "m.yaml", *arms[2], *CUT)[0] == 2
    assert sorted(stored_names(Store.open("out"))) == ["m", "m+select.k=1"]
    assert len(list(Path("out/urls").iterdir())) == 1
    code, out, _ = capfilt(capsys, "plan", "m.yaml", *arms[1], "--json")
    nodes = {row["node"]: row for row in json.loads(out)}
    assert (code, nodes["urls/web"]["done"]) == (0, 1)
    own = json.loads(capfilt(capsys, "plan", "m.yaml", "--json")[1])
    assert nodes["select/web"]["fingerprint"] != {row["node"]: row for row in own}["select/web"]["fingerprint"]
    code, out, _ = capfilt(capsys, "clean", "m.yaml", "--unused", "--dry-run", "--json")
    assert (code, json.loads(out)["unused"]) == (0, [])
    code, out, err = capfilt(capsys, "query", "m.yaml", "SELECT url FROM urls", *arms[1])
    assert (code, "http://127.0.0.1/a" in out, err) == (0, True, "")
    code, _, err = capfilt(capsys, "status", "out", *arms[1])
    assert (code, err) == (
        2,
        "capfilt: --set select.k=1: out is an output; name the manifest, in which this can be set\n",
    )


def test_an_arm_is_named_by_what_is_set_in_whatever_order():
    path = Path("x/m.yaml")
    assert name_of(path, ["b.c=1", "a.b=x"]) == name_of(path, ["a.b=x", "b.c=0", "b.c=1"]) == "m+a.b=x+b.c=1"
    odd = [name_of(path, [change]) for change in ("a.b=x/y", "a.b=x y", "a.b=" + "z" * 300)]
    assert len({*odd, "m+a.b=x_y"}) == 4
    assert all("/" not in name and len(name) < 130 for name in odd)
