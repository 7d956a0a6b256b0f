"""A model that is here and of another kind than a step needs is told when the manifest is read, not hours later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.manifest.load import load_manifest
from stages.errors import UserError

RIGHT = {
    "caption": "model: blip",
    "rank": "model: ViT-B-32, pretrained: openai",
    "filter": "model: siglip",
    "pretrain": "model: ViT-L-14",
}
WRONG = {
    "caption": ("model: siglip", "caption.model: 'siglip' is transformers' SigLIP"),
    "rank": ("model: blip", "rank.model: 'blip' is a BLIP captioner"),
    "filter": ("model: ViT-B-32, pretrained: openai", "filter.model: 'ViT-B-32' is a CLIP model of open_clip, whose"),
    "pretrain": ("model: RN50", "pretrain.model: 'RN50' is a CLIP model of open_clip, whose image tower is a ResNet"),
}
CONFIGS = {
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
    write(manifest, dict.fromkeys(RIGHT, "model: nowhere/model"))
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
        manifest, "evaluate: {matcher: a/b}\npredict: {model: blip}\nevaluate_captions: {clip: siglip}\n"
    )
    said = measured(manifest, "evaluate: {matcher: siglip}\n")
    assert "m.yaml:3: evaluate.matcher: 'siglip' is transformers' SigLIP; name a model of matching, such as" in said
    said = measured(manifest, "predict: {model: siglip}\nevaluate_captions: {clip: blip}\n")
    assert "m.yaml:3: predict.model: 'siglip' is transformers' SigLIP; name a captioner" in said
    assert "m.yaml:4: evaluate_captions.clip: 'blip' is a BLIP captioner; name a model that embeds" in said
    said = measured(manifest, "predict: {model: a/b}\nevaluate_captions: {clip: siglip, clip_pretrained: openai}\n")
    assert "m.yaml:4: evaluate_captions.clip_pretrained: 'openai' names weights for open_clip, but" in said


def test_captions_are_measured_after_they_are_written(manifest: Path) -> None:
    said = measured(manifest, "evaluate_captions: {}\n")
    assert "reads predictions, which nothing above it writes; add a section 'predict' above it" in said
    assert not measured(manifest, "evaluate_captions: {}\npredict: {model: a/b}\n")


def test_weights_for_open_clip_beside_a_model_that_has_its_own(manifest: Path) -> None:
    write(manifest, RIGHT | {"filter": "model: siglip, pretrained: openai"})
    with pytest.raises(UserError, match=r"m\.yaml:5: filter\.pretrained: 'openai' names weights for open_clip, but"):
        load_manifest(manifest)
