"""Weights that somebody trained with open_clip: a file of its trainer, in a folder or beside an architecture's name."""

import json
import shutil
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from stages.errors import UserError
from stages.models.clip.loading import _preparation, load_clip
from stages.models.clip.tower import load_tower
from stages.models.family import ModelName

CPU = torch.device("cpu")
TEXTS = ["a red circle", "two cats on the green dog"]


def as_trained(state: dict[str, torch.Tensor], path: Path) -> Path:
    """As open_clip_train writes it, from several GPUs."""
    named = {f"module.{name}": value for name, value in state.items()}
    torch.save({"epoch": 3, "name": "mine", "state_dict": named, "optimizer": {"state": {}}}, path)
    return path


@pytest.fixture
def folder(clip_folder: Path, tmp_path: Path) -> Path:
    """A folder with a configuration, and with weights in no file that open_clip looks for."""
    folder = tmp_path / "mine"
    shutil.copytree(clip_folder, folder)
    as_trained(load_file(folder / "model.safetensors"), folder / "epoch_3.pt")
    (folder / "model.safetensors").unlink()
    return folder


@pytest.fixture
def architecture(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A small architecture among open_clip's own, whose tokenizer lies here."""
    config = json.loads((clip_folder / "open_clip_config.json").read_text())["model_cfg"]
    config["text_cfg"]["hf_tokenizer_name"] = str(clip_folder)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-of-a-test", config)
    return "tiny-of-a-test"


def scores(name: ModelName, image: Image.Image) -> list[float]:
    scorer = load_clip(name, "float32", CPU)
    return scorer.score(scorer.preprocess(image)[None], [TEXTS])[0]


def refusal(name: ModelName) -> str:
    with pytest.raises(UserError) as caught:
        load_clip(name, "float32", CPU)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def expected(clip_folder: Path, pictures: dict[str, Image.Image]) -> list[float]:
    """The cosines by open_clip's own functions."""
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{clip_folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{clip_folder}")(TEXTS)
    with torch.no_grad():
        image = model.eval().encode_image(preprocess(pictures["web-0-0-1"])[None], normalize=True)
        cosines: list[float] = (image @ model.encode_text(tokens, normalize=True).T)[0].tolist()
    return cosines


def test_the_only_weights_of_a_folder(folder: Path, expected: list[float], pictures: dict[str, Image.Image]) -> None:
    found = scores(ModelName("rank.model", str(folder)), pictures["web-0-0-1"])
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("by_path", [True, False])
def test_the_weights_that_are_meant(
    folder: Path, expected: list[float], pictures: dict[str, Image.Image], by_path: bool
) -> None:
    state = torch.load(folder / "epoch_3.pt", weights_only=True)["state_dict"]
    as_trained({name.removeprefix("module."): 2 * value for name, value in state.items()}, folder / "epoch_4.pt")
    said = refusal(ModelName("rank.model", str(folder)))
    assert said == (
        f"rank.model: the folder '{folder}' has several files of weights (epoch_3.pt, epoch_4.pt); name one as "
        "rank.pretrained"
    )
    named = {epoch: str(folder / epoch) if by_path else epoch for epoch in ("epoch_3.pt", "epoch_4.pt")}
    third, fourth = (
        scores(ModelName("rank.model", str(folder), named[epoch]), pictures["web-0-0-1"]) for epoch in named
    )
    assert third == pytest.approx(expected, abs=1e-5)
    assert fourth != pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_an_architecture_with_weights_in_a_file(
    architecture: str,
    folder: Path,
    expected: list[float],
    pictures: dict[str, Image.Image],
    tmp_path: Path,
    ending: str,
) -> None:
    path = folder / "epoch_3.pt"
    if ending == ".safetensors":
        state = torch.load(path, weights_only=True)["state_dict"]
        path = tmp_path / "plain.safetensors"
        save_file({name.removeprefix("module."): value for name, value in state.items()}, path)
    image = pictures["web-0-0-1"]
    scorer = load_clip(ModelName("rank.model", architecture, str(path)), "float32", CPU)
    own = open_clip.create_model_from_pretrained(architecture, str(path))[1](image)
    torch.testing.assert_close(scorer.preprocess(image), own)
    tower, _ = load_tower(ModelName("pretrain.model", architecture, str(path)), "float32", CPU)
    whole, view = load_tower(ModelName("pretrain.model", str(folder)), "float32", CPU)
    pixels = view.preprocess(image)[None]
    torch.testing.assert_close(tower(pixels), whole(pixels))
    assert scorer.score(pixels, [TEXTS])[0] == pytest.approx(expected, abs=1e-5)


def test_weights_of_another_size(folder: Path, tmp_path: Path, architecture: str) -> None:
    state = load_small(folder)
    state["token_embedding.weight"] = state["token_embedding.weight"][:-1]
    as_trained(state, tmp_path / "other.pt")
    said = refusal(ModelName("rank.model", architecture, str(tmp_path / "other.pt")))
    assert said.startswith(
        f"rank.pretrained: '{tmp_path / 'other.pt'}' cannot be loaded as weights of {architecture} ("
    )
    assert "size mismatch for token_embedding.weight" in said


def load_small(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "epoch_3.pt", weights_only=True)["state_dict"]
    return {name.removeprefix("module."): value for name, value in state.items()}


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04"])
def test_a_file_that_holds_no_weights(architecture: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "epoch_3.pt").write_bytes(content)
    said = refusal(ModelName("rank.model", architecture, str(tmp_path / "epoch_3.pt")))
    assert said.startswith(
        f"rank.pretrained: '{tmp_path / 'epoch_3.pt'}' cannot be loaded as weights of {architecture} ("
    )


def test_a_folder_without_weights(folder: Path) -> None:
    (folder / "epoch_3.pt").unlink()
    assert refusal(ModelName("rank.model", str(folder))) == (
        f"rank.model: the folder '{folder}' has no weights, no file *.safetensors, *.bin, *.pth, *.pt"
    )


def test_a_folder_of_a_tags_name(folder: Path) -> None:
    assert refusal(ModelName("rank.model", "ViT-L-14-quickgelu", str(folder))).startswith(
        f"rank.pretrained: found '{folder}', a folder; name the file in it, or a tag: openai, "
    )


def test_published_weights(
    architecture: str, clip_folder: Path, pictures: dict[str, Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a tag open_clip knows the file, and how its pictures are prepared."""
    tag = {"hf_hub": "org/tiny/", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2), "resize_mode": "squash"}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, architecture, {"mine": tag})
    for place in (open_clip, open_clip.factory):
        monkeypatch.setattr(place, "download_pretrained", lambda *_, **__: str(clip_folder / "model.safetensors"))
    model, preprocess = open_clip.create_model_from_pretrained(architecture, "mine")
    image = pictures["web-0-0-1"]
    scorer = load_clip(ModelName("rank.model", architecture, "mine"), "float32", CPU)
    assert torch.equal(scorer.preprocess(image), preprocess(image))
    with torch.no_grad():
        own = model.eval().encode_image(preprocess(image)[None], normalize=True)
    torch.testing.assert_close(scorer.embed_images(scorer.preprocess(image)[None]), own)


def test_how_pictures_are_prepared_for_weights_that_do_not_say_it() -> None:
    """SigLIP's published weights agree on another way than open_clip's default; ViT-L-14's do not agree."""
    assert _preparation("ViT-B-16-SigLIP") == {
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }
    assert _preparation("ViT-L-14") is None
    assert _preparation("tiny-of-a-test") is None
