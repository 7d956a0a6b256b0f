"""`capfilt export` after a small run: what it writes is read by others, resumed, and mixed with nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import webdataset
import yaml
from rich.console import Console
from transformers import Blip2ForImageTextRetrieval

from pipeline.fingerprint import recipe_identity, with_absolute_paths
from pipeline.run import run_session
from pipeline.session import open_session
from stages.pretrain.spec import PretrainRecipe
from tests.pipeline import command
from tests.pipeline.conftest import ROOT
from tests.ports import free_port

Capfilt = Callable[..., tuple[int, str, str]]


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
    content |= {"output": str(folder / "out"), "sources": {"human": human}, "urls": {"shard_size": 8}}
    for stage in ("caption", "rank", "filter", "select", "evaluate"):
        del content[stage]
    content["pretrain"] |= {"steps": 2, "warmup": 1, "batch_size": 8, "holdout": 0.0}
    for key in ("model", "tokenizer"):
        content["pretrain"][key] = str(ROOT / content["pretrain"][key])
    path = folder / "m.yaml"
    path.write_text(yaml.safe_dump(content))
    outcome = run_session(open_session(path), executor="local", address=None, console=Console(quiet=True))
    assert outcome["failed"] == []
    return path


@pytest.fixture
def capfilt(capsys) -> Capfilt:
    return partial(command.capfilt, capsys)


def changed(world: Path, tmp_path: Path, **changes: object) -> Path:
    """The same manifest with another `pretrain` section; None leaves it out."""
    content = yaml.safe_load(world.read_text())
    content["pretrain"] |= changes
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_trained_model_goes_to_transformers_and_a_training_begins_with_it(world, capfilt, tmp_path):
    code, out, _ = capfilt("export", world, "--to", "hf", tmp_path / "hf")
    assert code == 0
    assert out.splitlines()[0] == f"wrote {tmp_path / 'hf'}"
    model = Blip2ForImageTextRetrieval.from_pretrained(tmp_path / "hf")
    assert model.config.num_query_tokens == 8
    again = changed(world, tmp_path, init=str(tmp_path / "hf"))
    code, out, err = capfilt("run", again, "--executor", "local", "--json")
    assert code == 0, err
    assert json.loads(out)["shards_done"] == 1


def test_a_trained_model_goes_to_lavis(world, capfilt, tmp_path):
    code, out, _ = capfilt("export", world, "--to", "lavis", tmp_path / "blip2.pth", "--json")
    assert code == 0
    assert json.loads(out)["format"] == "lavis"
    state = torch.load(tmp_path / "blip2.pth", weights_only=True)["model"]
    assert state["query_tokens"].shape == (1, 8, 64)
    assert state["visual_encoder.conv1.weight"].shape == (128, 3, 8, 8)


def test_the_corpus_goes_to_tars_once_and_what_is_missing_is_written_again(world, capfilt, tmp_path):
    code, out, _ = capfilt("export", world, "--to", "webdataset", tmp_path / "tars")
    assert code == 0
    assert f"read them as {tmp_path / 'tars'}/{{00000..00002}}.tar" in out
    samples = list(
        webdataset.WebDataset(str(tmp_path / "tars/{00000..00002}.tar"), shardshuffle=False).decode("pilrgb")
    )
    _, told, _ = capfilt(
        "query", world, "SELECT key, list(caption ORDER BY caption) AS texts FROM corpus GROUP BY key", "--json"
    )
    kept = {row["key"]: row["texts"] for row in json.loads(told)}
    assert len(kept) > 10
    assert {sample["__key__"]: sorted(set(sample["json"])) for sample in samples} == {
        key: sorted(set(texts)) for key, texts in kept.items()
    }
    (tmp_path / "tars/00001.tar").unlink()
    before = (tmp_path / "tars/00002.tar").stat().st_mtime_ns
    code, out, _ = capfilt("export", world, "--to", "webdataset", tmp_path / "tars")
    assert "1 tars written, 2 were there already" in out
    assert (tmp_path / "tars/00002.tar").stat().st_mtime_ns == before


def test_tars_of_another_corpus_or_of_something_else_stay_alone(world, capfilt, tmp_path):
    capfilt("export", world, "--to", "webdataset", tmp_path / "tars")
    mark = tmp_path / "tars/export.json"
    mark.write_text(mark.read_text().replace("select/human", "select/other"))
    for folder, told in (
        (mark.parent, "holds the tars of another corpus"),
        (world.parent, "holds something that is no"),
    ):
        code, _, err = capfilt("export", world, "--to", "webdataset", folder)
        assert code == 2
        assert told in err
        assert err.count("capfilt: ") == 1


def test_a_shard_whose_images_are_gone_is_told_and_the_others_are_written(world, capfilt, tmp_path):
    copy = tmp_path / "out"
    content = yaml.safe_load(world.read_text())
    shutil.copytree(content["output"], copy)
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(content | {"output": str(copy)}))
    next(copy.glob("download/*/human-00000-00001.*.tar")).unlink()
    code, _, err = capfilt("export", tmp_path / "m.yaml", "--to", "webdataset", tmp_path / "tars")
    assert code == 1
    assert err.startswith("failed: human-00000-00001: FileNotFoundError")
    assert {path.name for path in (tmp_path / "tars").iterdir()} == {"export.json", "00000.tar", "00002.tar"}


def test_the_corpus_goes_to_one_list(world, capfilt, tmp_path):
    code, out, _ = capfilt("export", world, "--to", "json", tmp_path / "corpus.json", "--json")
    assert code == 0
    pairs = json.loads((tmp_path / "corpus.json").read_text())
    assert len(pairs) == json.loads(out)["captions"]
    _, told, _ = capfilt("query", world, "SELECT count(*) AS count FROM corpus", "--json")
    assert len(pairs) == json.loads(told)[0]["count"]
    assert all(set(pair) == {"image", "caption"} for pair in pairs)


def test_what_is_not_there_yet_is_told_in_one_line(world, capfilt, tmp_path):
    content = yaml.safe_load(world.read_text())
    fresh, corpus_only = tmp_path / "fresh.yaml", tmp_path / "corpus.yaml"
    fresh.write_text(yaml.safe_dump(content | {"output": str(tmp_path / "nothing")}))
    del content["pretrain"]
    corpus_only.write_text(yaml.safe_dump(content))
    for manifest, to, told in (
        (fresh, "hf", "pretrain is not done (not run yet); finish it with `capfilt run`"),
        (fresh, "json", "sources.human: its list has not been cut; start with `capfilt run`"),
        (corpus_only, "lavis", "there is no 'pretrain' section, so no model to export"),
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
    a, b, c = (recipe_identity(recipe(tmp_path / name))["init"] for name in ("a.pth", "b.pth", "c.pth"))
    assert a == b != c
    assert a.startswith("sha256:")
    assert recipe_identity(recipe(None))["init"] is None
    assert recipe_identity(recipe("google-bert/bert-base-uncased"))["init"] == "google-bert/bert-base-uncased"
    assert with_absolute_paths(recipe(tmp_path / "a.pth")).init == str(tmp_path / "a.pth")
