"""A model that is here and of another kind than a step needs is told when the manifest is read, not hours later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.dag.digests import Digests
from pipeline.dag.fingerprint import recipe_identity
from pipeline.manifest.load import load_manifest
from stages.contract import absent_models
from stages.errors import UserError
from stages.models.clip.weights import locate
from stages.models.family import ModelName
from stages.score.spec import RankRecipe
from tests.pipeline.command import capfilt

RIGHT = {
    "caption": "model: ./blip",
    "rank": "model: ViT-B-32, pretrained: openai",
    "filter": "model: ./siglip",
    "pretrain": "model: ViT-L-14",
    "align": "init: {from: pretrain}, llm: ./opt",
}
WRONG = {
    "caption": ("model: ./siglip", "caption.model: './siglip' is transformers' SigLIP"),
    "rank": ("model: ./blip", "rank.model: './blip' is a BLIP captioner"),
    "filter": ("model: ViT-B-32, pretrained: openai", "filter.model: 'ViT-B-32' is a CLIP model of open_clip, whose"),
    "pretrain": ("model: RN50", "pretrain.model: 'RN50' is a CLIP model of open_clip, whose image tower is a ResNet"),
    "align": (
        "model: ViT-L-14, llm: ./blip",
        "align.llm: './blip' is a BLIP captioner; name a language model",
    ),
}
CONFIGS = {
    "opt": {"model_type": "opt", "architectures": ["OPTForCausalLM"]},
    "blip": {"model_type": "blip", "architectures": ["BlipForConditionalGeneration"]},
    "siglip": {"model_type": "siglip"},
}


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, config in CONFIGS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    return tmp_path / "m.yaml"


def write(manifest: Path, models: dict[str, str]) -> None:
    sections = "".join(f"{step}: {{{model}}}\n" for step, model in models.items())
    manifest.write_text(f"output: out\nsources: {{web: {{format: csv, path: list.csv}}}}\n{sections}")


def test_models_of_the_right_kind_and_those_that_the_hub_has(manifest: Path) -> None:
    write(manifest, RIGHT)
    load_manifest(manifest)
    write(manifest, dict.fromkeys(RIGHT, "model: nowhere/model") | {"align": "model: nowhere/model, llm: nowhere/llm"})
    load_manifest(manifest)


@pytest.mark.parametrize("step", WRONG)
def test_a_model_of_another_kind(manifest: Path, step: str) -> None:
    model, words = WRONG[step]
    write(manifest, RIGHT | {step: model})
    with pytest.raises(UserError) as told:
        load_manifest(manifest)
    assert f"m.yaml:{3 + list(RIGHT).index(step)}: {words}" in str(told.value)
    assert len(str(told.value).splitlines()) == 1


def measured(manifest: Path, sections: str) -> str:
    """What is wrong with a manifest that measures; "" if nothing is."""
    people = "sources: {people: {format: coco, path: coco.json, images: coco, use: measure}}"
    manifest.write_text(f"output: out\n{people}\n{sections}")
    try:
        load_manifest(manifest)
    except UserError as error:
        return str(error)
    return ""


def test_models_of_another_kind_under_keys_of_their_own(manifest: Path) -> None:
    assert not measured(
        manifest, "evaluate: {matcher: a/b}\npredict: {model: ./blip}\nevaluate_captions: {clip: ./siglip}\n"
    )
    said = measured(manifest, "evaluate: {matcher: ./siglip}\n")
    assert "m.yaml:3: evaluate.matcher: './siglip' is transformers' SigLIP; name a model of matching, such as" in said
    said = measured(manifest, "predict: {model: ./siglip}\nevaluate_captions: {clip: ./blip}\n")
    assert "m.yaml:3: predict.model: './siglip' is transformers' SigLIP; name a captioner" in said
    assert "m.yaml:4: evaluate_captions.clip: './blip' is a BLIP captioner; name a model that embeds" in said
    said = measured(manifest, "predict: {model: a/b}\nevaluate_captions: {clip: ./siglip, clip_pretrained: openai}\n")
    assert "m.yaml:4: evaluate_captions.clip_pretrained: 'openai' names weights for open_clip, but" in said


def test_captions_are_measured_after_they_are_written(manifest: Path) -> None:
    said = measured(manifest, "evaluate_captions: {}\n")
    assert "reads predictions, which nothing above it writes; add a section 'predict' above it" in said
    assert not measured(manifest, "evaluate_captions: {}\npredict: {model: a/b}\n")


def test_weights_for_open_clip_beside_a_model_that_has_its_own(manifest: Path) -> None:
    write(manifest, RIGHT | {"filter": "model: ./siglip, pretrained: openai"})
    with pytest.raises(UserError, match=r"m\.yaml:5: filter\.pretrained: 'openai' names weights for open_clip, but"):
        load_manifest(manifest)


def test_a_plain_word_is_a_path_where_a_model_lies_there(manifest: Path) -> None:
    write(manifest, RIGHT | {"caption": "model: blip"})
    assert load_manifest(manifest)
    for name in ("openai", "ViT-B-32", "ViT-B-32-quickgelu"):
        (manifest.parent / name).mkdir()
        (manifest.parent / name / "notes.txt").write_text("no model")
    write(manifest, RIGHT)
    (rank,) = [step for step in load_manifest(manifest).steps if step.name == "rank"]
    found = recipe_identity(rank.recipe, Digests())
    assert (found["model"], found["pretrained"]) == ("ViT-B-32", "openai")
    assert locate(ModelName("rank.model", "ViT-B-32-quickgelu", "openai")).tag == "openai"


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ({"caption": "model: ./nowhere"}, ["caption.model: no folder or file './nowhere'"]),
        ({"caption": "model: ~/nowhere/at/all"}, ["caption.model: no folder or file '~/nowhere/at/all'"]),
        ({"rank": "model: ViT-B-32, pretrained: runs/epoch_3.pt"}, ["rank.pretrained: no folder or file 'runs/epoch"]),
        (
            {"filter": "model: a/b/c", "pretrain": "model: RN, tokenizer: /no"},
            ["filter.model:", "pretrain.tokenizer:"],
        ),
    ],
)
def test_a_path_at_which_nothing_lies_is_told_before_anything_is_done(
    models: dict[str, str], told: list[str], manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(manifest, RIGHT | models)
    Path("list.csv").write_text("URL,TEXT\nhttp://127.0.0.1/1,a dog\n")
    for command in (("plan", "m.yaml"), ("run", "m.yaml", "--executor", "local")):
        code, _, err = capfilt(capsys, *command)
        assert (code, len(err.splitlines())) == (2, len(told))
        assert all(f"capfilt: m.yaml: {words}" in err for words in told)
    assert not Path("out").exists()


def test_a_hub_name_that_may_be_meant_for_a_folder_here_is_told(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("models/other").mkdir(parents=True)
    write(manifest, RIGHT | {"filter": "model: models/itm", "rank": "model: org/clip"})
    Path("list.csv").write_text("URL,TEXT\nhttp://127.0.0.1/1,a dog\n")
    _, _, err = capfilt(capsys, "plan", "m.yaml")
    told = "'models/itm' is taken for a name on the hub: there is a folder 'models' here, but no 'itm' in it"
    assert err == f"filter.model: {told}\n"


def test_a_file_within_the_folder_of_a_model_is_there(manifest: Path) -> None:
    (manifest.parent / "blip/weights").mkdir()
    (manifest.parent / "blip/weights/3.pt").touch()
    for name, absent in (("weights/3.pt", []), ("weights/4.pt", [("pretrained", "weights/4.pt")])):
        assert list(absent_models(RankRecipe(model="./blip", pretrained=name))) == absent
