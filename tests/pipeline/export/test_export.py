"""`capfilt export` after a small run: what it writes is read by others, brought up to date, and mixed with nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import webdataset
import yaml
from rich.console import Console
from transformers import Blip2ForImageTextRetrieval

from pipeline.dag.digests import Digests
from pipeline.dag.fingerprint import recipe_identity, with_absolute_paths
from pipeline.export import tars as export_tars
from pipeline.run import run_session
from pipeline.session import open_session
from stages.export import hugging_face, lavis
from stages.export.job import NoPlaceError
from stages.pretrain.spec import PretrainRecipe
from tests.pipeline import command
from tests.pipeline.conftest import ROOT
from tests.ports import free_port
from tests.stages import small_models

Capfilt = Callable[..., tuple[int, str, str]]
SHARDS: list[str] = []
"""Of the run, in their order."""


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A finished run over 24 human-annotated images in three shards, a Q-Former at its end: the manifest."""
    folder = tmp_path_factory.mktemp("run")
    content = yaml.safe_load((ROOT / "manifests/quickstart.yaml").read_text())
    place = folder / "world"
    content["demo"] |= {"folder": str(place), "images": 1, "human": 24, "port": free_port()}
    human = content["sources"]["human"] | {
        "path": str(place / "human/dataset_coco.json"),
        "images": str(place / "human"),
    }
    (folder / "removed.txt").touch()
    content |= {"output": str(folder / "out"), "sources": {"human": human}, "urls": {"shard_size": 8}}
    content["removed"] = str(folder / "removed.txt")
    for stage in ("caption", "rank", "filter", "select", "evaluate"):
        del content[stage]
    content["pretrain"] |= {"steps": 2, "warmup": 1, "batch_size": 8, "holdout": 0.0}
    content["pretrain"] |= {"model": str(small_models.save_clip(folder / "clip", quick_gelu=True))}
    content["pretrain"]["tokenizer"] = str(ROOT / content["pretrain"]["tokenizer"])
    path = folder / "m.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    outcome = run_session(open_session(path), executor="local", address=None, console=Console(quiet=True))
    assert outcome["failed"] == []
    SHARDS[:] = sorted(table.stem for table in folder.glob("out/select/*/*.parquet"))
    return path


@pytest.fixture
def capfilt(capsys) -> Capfilt:
    return partial(command.capfilt, capsys)


@pytest.fixture
def copy(world, tmp_path) -> Path:
    """The run once more, for a test that changes it: its manifest, `out` beside it."""
    content = yaml.safe_load(world.read_text())
    shutil.copytree(content["output"], tmp_path / "out", ignore=shutil.ignore_patterns("exports"))
    (tmp_path / "removed.txt").touch()
    (tmp_path / "m.yaml").write_text(
        yaml.safe_dump(
            content | {"output": str(tmp_path / "out"), "removed": str(tmp_path / "removed.txt")}, sort_keys=False
        )
    )
    return tmp_path / "m.yaml"


def changed(manifest: Path, tmp_path: Path, **changes: object) -> Path:
    """The same manifest with another `pretrain` section; None leaves it out."""
    content = yaml.safe_load(manifest.read_text())
    content["pretrain"] |= changes
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def commit_again(folder: Path, stage: str, shard: str) -> None:
    """Another attempt at a table, as a retry leaves it."""
    (path,) = folder.glob(f"{stage}/*/{shard}.parquet")
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"attempt": b"0123456789ab"}), path)


def be_of_another_recipe(path: Path) -> dict[str, Any]:
    """A mark as an export of another recipe has it."""
    mark = json.loads(path.read_text()) | {"recipe": "of another"}
    path.write_text(json.dumps(mark))
    return mark


def samples(folder: Path) -> dict[str, Any]:
    """The json of every image in an export's tars, by key."""
    tars = sorted(map(str, folder.glob("*.tar")))
    return {sample["__key__"]: sample["json"] for sample in webdataset.WebDataset(tars, shardshuffle=False).decode()}


def corpus(capfilt: Capfilt, manifest: Path) -> dict[str, list[str]]:
    """The kept captions of every image, as the catalog has them."""
    _, told, _ = capfilt(
        "query", manifest, "SELECT key, list(caption ORDER BY caption) AS texts FROM corpus GROUP BY key", "--json"
    )
    return {row["key"]: row["texts"] for row in json.loads(told)}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_trained_model_goes_to_transformers_and_a_training_begins_with_it(copy, capfilt, tmp_path):
    code, out, _ = capfilt("export", copy, "--to", "hf", tmp_path / "hf")
    assert code == 0
    assert out.splitlines()[0] == f"wrote {tmp_path / 'hf'}"
    model = Blip2ForImageTextRetrieval.from_pretrained(tmp_path / "hf")
    assert model.config.num_query_tokens == 8
    again = changed(copy, tmp_path, init=str(tmp_path / "hf"))
    code, out, err = capfilt("run", again, "--executor", "local", "--json")
    assert code == 0, err
    assert json.loads(out)["shards_done"] == 1


@pytest.mark.parametrize(("to", "name"), [("hf", "hf"), ("lavis", "blip2.pth")])
def test_a_model_is_written_once_and_again_when_it_was_trained_again(copy, capfilt, tmp_path, to, name):
    command = ("export", copy, "--to", to, tmp_path / name)
    assert capfilt(*command)[0] == 0
    path = tmp_path / "hf/config.json" if to == "hf" else tmp_path / name
    before = path.stat().st_mtime_ns
    code, out, _ = capfilt(*command)
    assert (code, out.splitlines()[0]) == (0, f"{tmp_path / name} is up to date")
    assert path.stat().st_mtime_ns == before
    commit_again(tmp_path / "out", "pretrain", "*")
    assert capfilt(*command)[1].splitlines()[0] == f"wrote {tmp_path / name}"
    assert path.stat().st_mtime_ns > before
    if to == "lavis":
        state = torch.load(path, weights_only=True)["model"]
        assert state["query_tokens"].shape == (1, 8, 64)
        assert state["visual_encoder.conv1.weight"].shape == (32, 3, 8, 8)


def test_what_is_something_else_is_refused_in_one_line_and_stays(world, capfilt, tmp_path):
    capfilt("export", world, "--to", "lavis", tmp_path / "blip2.pth")
    be_of_another_recipe(tmp_path / "blip2.pth.export.json")
    (tmp_path / "list.csv").write_text("url,text")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for to, place, told in (
        ("lavis", "blip2.pth", "is the export of another model; name another file, or give --overwrite"),
        ("hf", ".", "holds something that is no export; name a new folder, or give --overwrite"),
        ("json", "list.csv", "is there already and is no export; name another file, or give --overwrite"),
        ("webdataset", "list.csv", "is a file; name a folder"),
        ("json", ".", "is a folder; name a file"),
    ):
        code, _, err = capfilt("export", world, "--to", to, tmp_path / place)
        assert code == 2
        assert told in err
        assert err.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert capfilt("export", world, "--to", "json", tmp_path / "list.csv", "--overwrite")[0] == 0
    assert json.loads((tmp_path / "list.csv").read_text())


def test_a_model_that_has_no_place_is_told_in_a_line_with_what_to_do(world, capfilt, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise NoPlaceError("pretrain.model: no place")

    place = tmp_path / "models" / "blip2.pth"
    monkeypatch.setattr(lavis, "convert", refuse)
    code, _, err = capfilt("export", world, "--to", "lavis", place)
    assert (code, err) == (2, "capfilt: pretrain.model: no place; export to hf\n")
    monkeypatch.setattr(hugging_face, "convert", refuse)
    _, _, err = capfilt("export", world, "--to", "lavis", place)
    assert err == "capfilt: pretrain.model: no place; an export to hf cannot carry it either\n"
    assert list(place.parent.iterdir()) == []


def test_the_corpus_goes_to_tars_once_and_what_is_missing_is_written_again(world, capfilt, tmp_path):
    code, out, _ = capfilt("export", world, "--to", "webdataset", tmp_path / "tars")
    assert code == 0
    assert f"read them as {tmp_path / 'tars'}/{{00000..00002}}.tar" in out
    kept = corpus(capfilt, world)
    found = samples(tmp_path / "tars")
    assert len(kept) > 10
    assert {key: sorted(said["captions"]) for key, said in found.items()} == kept
    assert all(said["caption"] == said["captions"][0] for said in found.values())
    assert set(found[next(iter(found))]["origins"]) == {"human"}
    before = times(tmp_path / "tars")
    assert "is up to date" in capfilt("export", world, "--to", "webdataset", tmp_path / "tars")[1]
    assert times(tmp_path / "tars") == before
    (tmp_path / "tars/00001.tar").unlink()
    code, out, _ = capfilt("export", world, "--to", "webdataset", tmp_path / "tars")
    assert "1 tars written, 2 were up to date" in out
    assert times(tmp_path / "tars")["00002.tar"] == before["00002.tar"]
    assert samples(tmp_path / "tars") == found


def test_what_was_forgotten_leaves_every_export_that_is_made_again(copy, capfilt, tmp_path):
    places = {"webdataset": tmp_path / "tars", "json": tmp_path / "list.json"}
    for to, place in places.items():
        assert capfilt("export", copy, "--to", to, place)[0] == 0
    _, told, _ = capfilt("query", copy, "SELECT key, sha256 FROM images ORDER BY key", "--json")
    key, sha256 = json.loads(told)[9].values()
    untouched = times(places["webdataset"])["00002.tar"]
    listed = len(json.loads(places["json"].read_text()))

    code, out, _ = capfilt("forget", copy, sha256)
    assert code == 0
    for to, place in places.items():
        assert f"an export is out of date until it is made again: capfilt export {copy} {place} --to {to}" in out
    for to, place in places.items():
        assert capfilt("export", copy, "--to", to, place)[0] == 0
    assert "out of date" not in capfilt("forget", copy)[1]

    assert key not in samples(places["webdataset"])
    assert set(samples(places["webdataset"])) == set(corpus(capfilt, copy))
    assert times(places["webdataset"])["00002.tar"] == untouched
    assert len(json.loads(places["json"].read_text())) < listed


def test_a_shard_that_keeps_nothing_any_more_leaves_no_gap(copy, capfilt, tmp_path):
    capfilt("export", copy, "--to", "webdataset", tmp_path / "tars")
    _, told, _ = capfilt("query", copy, f"SELECT sha256 FROM images WHERE shard = '{SHARDS[1]}'", "--json")
    capfilt("forget", copy, *(row["sha256"] for row in json.loads(told)))
    code, out, _ = capfilt("export", copy, "--to", "webdataset", tmp_path / "tars")
    assert code == 0
    assert "read them as" in out
    assert set(times(tmp_path / "tars")) == {"00000.tar", "00001.tar", "export.json"}
    assert set(samples(tmp_path / "tars")) == set(corpus(capfilt, copy))
    assert "is up to date" in capfilt("export", copy, "--to", "webdataset", tmp_path / "tars")[1]


def test_a_shard_that_came_later_and_one_that_was_worked_again_come_in(copy, capfilt, tmp_path):
    (late,) = (tmp_path / "out").glob(f"select/*/{SHARDS[0]}.parquet")
    late.rename(tmp_path / "late")
    code, out, _ = capfilt("export", copy, "--to", "webdataset", tmp_path / "tars")
    assert code == 0
    assert "1 of 3 shards are not selected yet and are left out" in out
    assert set(times(tmp_path / "tars")) == {"00000.tar", "00001.tar", "export.json"}
    before = times(tmp_path / "tars")
    (tmp_path / "late").rename(late)
    commit_again(tmp_path / "out", "download", SHARDS[2])
    assert "2 tars written, 1 were up to date" in capfilt("export", copy, "--to", "webdataset", tmp_path / "tars")[1]
    after = times(tmp_path / "tars")
    assert after["00000.tar"] == before["00000.tar"]
    assert after["00001.tar"] > before["00001.tar"]
    assert set(samples(tmp_path / "tars")) == set(corpus(capfilt, copy))


def test_an_export_that_was_stopped_goes_on(world, capfilt, tmp_path, monkeypatch):
    write = export_tars.write_shard

    def stop_at_the_second(shard: Any, url: str) -> Any:
        if url.endswith("00001.tar"):
            raise KeyboardInterrupt
        return write(shard, url)

    monkeypatch.setattr(export_tars, "write_shard", stop_at_the_second)
    monkeypatch.setattr(export_tars, "THREADS", 1)
    code, _, err = capfilt("export", world, "--to", "webdataset", tmp_path / "tars")
    assert code == 130
    assert "the same command goes on" in err
    assert json.loads((tmp_path / "tars/export.json").read_text())["complete"] is False
    monkeypatch.undo()
    (tmp_path / "tars/.00001.tar.0123456789ab").write_text("half")
    assert "2 tars written, 1 were up to date" in capfilt("export", world, "--to", "webdataset", tmp_path / "tars")[1]
    assert set(times(tmp_path / "tars")) == {"00000.tar", "00001.tar", "00002.tar", "export.json"}


def test_a_shard_whose_images_are_gone_is_told_and_its_old_tar_goes(copy, capfilt, tmp_path):
    capfilt("export", copy, "--to", "webdataset", tmp_path / "tars")
    next((tmp_path / "out").glob(f"download/*/{SHARDS[1]}.*.tar")).unlink()
    commit_again(tmp_path / "out", "select", SHARDS[1])
    code, _, err = capfilt("export", copy, "--to", "webdataset", tmp_path / "tars")
    assert code == 1
    assert f"failed: {SHARDS[1]}: FileNotFoundError" in err
    assert set(times(tmp_path / "tars")) == {"export.json", "00000.tar", "00002.tar"}


def test_a_table_that_is_gone_fails_its_tar_and_the_list(copy, capfilt, tmp_path):
    next((tmp_path / "out").glob(f"annotate/*/{SHARDS[1]}.parquet")).unlink()
    code, _, err = capfilt("export", copy, "--to", "webdataset", tmp_path / "tars")
    assert code == 1
    assert f"failed: {SHARDS[1]}: FileNotFoundError" in err
    code, _, err = capfilt("export", copy, "--to", "json", tmp_path / "list.json")
    assert code == 2
    assert f"shard {SHARDS[1]} cannot be read (FileNotFoundError" in err


def test_tars_of_another_corpus_go_when_that_is_meant_and_nothing_else_does(world, capfilt, tmp_path):
    command = ("export", world, "--to", "webdataset", tmp_path / "tars")
    capfilt(*command)
    mark = be_of_another_recipe(tmp_path / "tars/export.json")
    (tmp_path / "tars/00000.tar").rename(tmp_path / "tars/00003.tar")
    mark["files"]["00003.tar"] = mark["files"].pop("00000.tar")
    (tmp_path / "tars/export.json").write_text(json.dumps(mark))
    (tmp_path / "tars/notes.txt").write_text("mine")
    code, _, err = capfilt(*command)
    assert code == 2
    assert "is the export of another corpus; name a new folder, or give --overwrite if you mean it" in err
    assert capfilt(*command, "--overwrite")[0] == 0
    assert set(times(tmp_path / "tars")) == {"00000.tar", "00001.tar", "00002.tar", "notes.txt", "export.json"}
    assert set(samples(tmp_path / "tars")) == set(corpus(capfilt, world))


def test_the_corpus_goes_to_one_list(world, capfilt, tmp_path):
    code, out, _ = capfilt("export", world, "--to", "json", tmp_path / "corpus.json", "--json")
    assert code == 0
    pairs = json.loads((tmp_path / "corpus.json").read_text())
    assert len(pairs) == json.loads(out)["captions"]
    _, told, _ = capfilt("query", world, "SELECT count(*) AS count FROM corpus", "--json")
    assert len(pairs) == json.loads(told)[0]["count"]
    assert all(set(pair) == {"image", "caption"} for pair in pairs)
    assert "is up to date" in capfilt("export", world, "--to", "json", tmp_path / "corpus.json")[1]


def test_an_export_arrives_in_object_storage(world, capfilt, s3_folder):
    from stages.io.files import locate

    for to, place in (("hf", "hf"), ("lavis", "blip2.pth"), ("webdataset", "tars"), ("json", "list.json")):
        assert capfilt("export", world, "--to", to, f"{s3_folder}/{place}")[0] == 0
        assert "is up to date" in capfilt("export", world, "--to", to, f"{s3_folder}/{place}")[1]
    filesystem, root = locate(s3_folder)
    found = {path.removeprefix(f"{root}/") for path in filesystem.find(root)}
    assert {"hf/config.json", "hf/model.safetensors", "hf/processor_config.json", "hf/export.json"} <= found
    assert {"blip2.pth", "blip2.pth.export.json", "list.json", "tars/00002.tar", "tars/export.json"} <= found


def test_what_is_not_there_yet_is_told_in_one_line(world, capfilt, tmp_path):
    content = yaml.safe_load(world.read_text())
    fresh, corpus_only = tmp_path / "fresh.yaml", tmp_path / "corpus.yaml"
    fresh.write_text(yaml.safe_dump(content | {"output": str(tmp_path / "nothing")}, sort_keys=False))
    del content["pretrain"]
    corpus_only.write_text(yaml.safe_dump(content, sort_keys=False))
    for manifest, to, told in (
        (fresh, "hf", "pretrain is not done (not run yet); finish it with `capfilt run`"),
        (fresh, "json", "sources.human: its list has not been cut; start with `capfilt run`"),
        (corpus_only, "lavis", "no section makes a model that lavis is a format of; export the corpus"),
    ):
        code, _, err = capfilt("export", manifest, "--to", to, tmp_path / "dest")
        assert code == 2
        assert told in err
        assert err.count("capfilt: ") == 1
    assert not (tmp_path / "dest").exists()
    assert capfilt("export", world, "--to", "onnx", tmp_path / "dest")[0] == 2


def test_a_local_checkpoint_is_known_by_its_content_not_by_its_place(tmp_path):
    def recipe(init: Path | str | None) -> PretrainRecipe:
        return PretrainRecipe(model="ViT-L-14", init=None if init is None else str(init))

    for name, content in (("a.pth", b"1"), ("b.pth", b"1"), ("c.pth", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (recipe_identity(recipe(tmp_path / name), Digests())["init"] for name in ("a.pth", "b.pth", "c.pth"))
    assert a == b != c
    assert a.startswith("sha256:")
    assert recipe_identity(recipe(None), Digests())["init"] is None
    assert (
        recipe_identity(recipe("google-bert/bert-base-uncased"), Digests())["init"] == "google-bert/bert-base-uncased"
    )
    assert with_absolute_paths(recipe(tmp_path / "a.pth")).init == str(tmp_path / "a.pth")
