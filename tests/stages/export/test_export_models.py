"""A trained Q-Former in other programs' formats: loaded as their users load it, and brought back."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import open_clip
import pytest
import small_models
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoProcessor, AutoTokenizer, Blip2ForImageTextRetrieval
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from stages.errors import UserError
from stages.export import hugging_face, lavis
from stages.export.job import NoPlaceError, TrainedModel
from stages.export.trained import load_tower
from stages.models.families import load_scorer
from stages.models.family import ModelName
from stages.models.qformer.checkpoint import read_checkpoint
from stages.models.qformer.model import QFormer, QFormerConfig, config_metadata
from stages.models.qformer.tokens import Tokens

CPU = torch.device("cpu")
TEXTS = ["a red circle", "two small blue squares on a cat", "dog"]
WORDS = len(small_models.VOCABULARY)


@pytest.fixture(scope="module")
def timm_folder(tmp_path_factory) -> Path:
    """A CLIP whose image tower is one of timm's, like EVA-CLIP's, and whose images are squeezed into a square."""
    folder = tmp_path_factory.mktemp("timm") / "clip"
    folder.mkdir()
    config = {
        "embed_dim": 8,
        "vision_cfg": {"timm_model_name": "vit_tiny_patch16_224", "timm_pool": "token", "image_size": 224},
        "text_cfg": {"context_length": 24, "vocab_size": WORDS, "width": 32, "heads": 4, "layers": 1},
    }
    config["text_cfg"]["hf_tokenizer_name"] = "local"
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(**config)
    save_file(model.state_dict(), folder / "model.safetensors")
    preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.3, 0.2, 0.2], "resize_mode": "squash"}
    content = {"model_cfg": config | {"custom_text": True}, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    small_models.save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def quick_folder(tmp_path_factory) -> Path:
    """A CLIP with the activation that LAVIS has."""
    return small_models.save_clip(tmp_path_factory.mktemp("quick") / "clip", quick_gelu=True)


def train(folder: Path, clip: Path, width: int) -> tuple[QFormer, TrainedModel]:
    """A Q-Former as `pretrain` leaves it, with every number drawn."""
    config = QFormerConfig(
        vocabulary=WORDS, vision_width=width, queries=4, width=32, layers=3, heads=4, projection=16, max_text_tokens=12
    )
    torch.manual_seed(1)
    model = QFormer(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    save_file(model.state_dict(), folder / "qformer.safetensors", config_metadata(config))
    return model, TrainedModel(str(folder / "qformer.safetensors"), str(clip), None, None, str(clip), None)


def images(size: int) -> list[Image.Image]:
    """Pictures of the tower's own size, which no program resizes."""
    noise = torch.randint(0, 256, (3, size, size, 3), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    return [Image.fromarray(one.numpy()) for one in noise]


def exported(program: ModuleType, trained: TrainedModel, place: Path) -> tuple[Path, list[str]]:
    """What a program's export writes, and what it says."""
    if program is hugging_face:
        place.mkdir()
    return place, program.export(trained, place)


def texts_of(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(errors="replace") for path in folder.iterdir()}


@torch.no_grad()
@pytest.mark.parametrize(("kind", "width", "size"), [("timm_folder", 192, 224), ("clip_folder", 32, 32)])
def test_transformers_scores_with_the_folder_as_we_do(kind, width, size, request, tmp_path):
    model, trained = train(tmp_path, request.getfixturevalue(kind), width)
    folder, (note,) = exported(hugging_face, trained, tmp_path / "hf")
    assert ("float16 gives NaN" in note) == (kind == "clip_folder")

    loaded, info = Blip2ForImageTextRetrieval.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    processor = AutoProcessor.from_pretrained(folder)
    given = processor(images=images(size), text=TEXTS, return_tensors="pt")
    matched = loaded(**given, use_image_text_matching_head=True).logits_per_image
    cosines = loaded(**given, use_image_text_matching_head=False).logits_per_image

    tower, view = load_tower(trained)
    features = tower(torch.stack([view.preprocess(image) for image in images(size)]))
    text = Tokens(trained.tokenizer, None, 12)(TEXTS)
    torch.testing.assert_close(model.match(model.look(features), text), matched, rtol=0, atol=1e-4)
    judge = load_scorer(ModelName("filter.model", str(folder)), "filter", "float32", torch.device("cpu"))
    pixels = torch.stack([judge.preprocess(image) for image in images(size)])
    found = torch.tensor(judge.score(pixels, [[text] for text in TEXTS])).flatten()
    torch.testing.assert_close(found, matched.softmax(dim=1)[:, 1], rtol=0, atol=1e-4)
    ours, theirs = (
        model.embed_image(model.encode_image(model.look(features))),
        model.embed_text(model.encode_text(text)),
    )
    torch.testing.assert_close((ours @ theirs.T).amax(1), cosines, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def hf_folder(clip_folder, tmp_path_factory) -> Path:
    """A folder for transformers."""
    place = tmp_path_factory.mktemp("export")
    _, trained = train(place, clip_folder, 32)
    return exported(hugging_face, trained, place / "hf")[0]


LONG = "a red dog " * 14
"""More tokens than the Q-Former has positions."""


@torch.no_grad()
@pytest.mark.parametrize("match", [True, False])
def test_the_lines_of_transformers_own_example_work_with_long_texts(hf_folder, match):
    """Neither padding nor truncation is asked for there."""
    model = Blip2ForImageTextRetrieval.from_pretrained(hf_folder).eval()
    processor = AutoProcessor.from_pretrained(hf_folder)
    long = processor(images=images(32)[0], text=LONG, return_tensors="pt")
    cut = processor(images=images(32)[0], text="a red dog a red dog a red dog a", return_tensors="pt")
    assert long["input_ids"].tolist() == cut["input_ids"].tolist()
    assert long["input_ids"].shape == (1, 4 + 12)
    score = model(**long, use_image_text_matching_head=match).logits_per_image
    assert score.isfinite().all()
    several = processor(images=images(32), text=[LONG, "dog", "a red circle"], return_tensors="pt")
    scores = model(**several, use_image_text_matching_head=match).logits_per_image
    assert scores.shape[0] == 3
    torch.testing.assert_close(scores[0, :1], score[0, :1], rtol=0, atol=1e-5)


def test_a_processor_still_does_what_it_is_told(hf_folder):
    processor = AutoProcessor.from_pretrained(hf_folder)
    whole = processor(text=LONG, truncation=False, return_tensors="pt")["input_ids"]
    assert whole.shape == (1, 44)
    padded = processor(text=["dog"], padding="max_length", return_tensors="pt")["input_ids"]
    assert padded.shape == (1, 12)


def test_what_a_tokenizer_was_saved_with_does_not_cut_texts_twice(clip_folder, tmp_path):
    """Some tokenizers are saved with a truncation and a `max_length` of their own, of which a processor would take the
    queries off."""
    tokenizer = AutoTokenizer.from_pretrained(clip_folder)
    tokenizer(["a dog"], truncation=True, max_length=6, padding="max_length")
    tokenizer.init_kwargs["max_length"] = 6
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    assert json.loads((tmp_path / "tokenizer/tokenizer.json").read_text())["truncation"] is not None
    _, trained = train(tmp_path, clip_folder, 32)
    trained = replace(trained, tokenizer=str(tmp_path / "tokenizer"))
    folder, _ = exported(hugging_face, trained, tmp_path / "hf")
    found = AutoProcessor.from_pretrained(folder)(images=images(32)[0], text=LONG, return_tensors="pt")
    assert found["input_ids"].shape == (1, 4 + 12)


def test_the_card_names_no_place_and_its_lines_run(hf_folder, monkeypatch):
    card = (hf_folder / "README.md").read_text()
    assert "image tower of `clip`" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(hf_folder)
    found: dict[str, Any] = {}
    exec(code, found)  # the card's own lines
    assert 0 <= found["match"].item() <= 1
    assert -1 <= found["cosine"].item() <= 1


def test_no_file_says_where_it_was_made(hf_folder, clip_folder, quick_folder, tmp_path):
    told = texts_of(hf_folder)
    _, trained = train(tmp_path, quick_folder, 32)
    told["lavis"] = exported(lavis, trained, tmp_path / "x.pth")[0].read_text(errors="replace")
    for name, content in told.items():
        assert str(clip_folder) not in content, name
        assert str(tmp_path.parent) not in content, name


def test_automodel_is_another_class_so_the_card_names_the_right_one(hf_folder):
    assert MODEL_MAPPING_NAMES["blip-2"] == "Blip2Model"
    assert json.loads((hf_folder / "config.json").read_text())["architectures"] == ["Blip2ForImageTextRetrieval"]
    assert "Load it by its class" in (hf_folder / "README.md").read_text()


def test_the_folder_has_the_start_token_and_the_towers_view_of_an_image(clip_folder, timm_folder, tmp_path):
    for clip, width, name in ((clip_folder, 32, "clip"), (timm_folder, 192, "timm")):
        _, trained = train(tmp_path, clip, width)
        processor = AutoProcessor.from_pretrained(exported(hugging_face, trained, tmp_path / name)[0])
        assert processor.tokenizer.convert_tokens_to_ids("[DEC]") == small_models.ID["[DEC]"]
        assert processor.tokenizer.model_max_length == 12
        _, view = load_tower(trained)
        image = images(300)[0].resize((300, 200))
        found = processor.image_processor(image, return_tensors="pt")["pixel_values"][0]
        assert found.shape == (3, *view.size)
        assert (
            found - view.preprocess(image)
        ).abs().mean() < 0.05  # torchvision's and Pillow's bicubic differ a little


@pytest.mark.parametrize("program", [hugging_face, lavis])
def test_the_way_back_changes_no_bit(program, quick_folder, tmp_path):
    model, trained = train(tmp_path, quick_folder, 32)
    place, _ = exported(program, trained, tmp_path / "exported.pth")
    found = read_checkpoint(str(place), None, "pretrain.init").state
    state = model.state_dict()
    assert found.keys() == state.keys()
    assert all(
        torch.equal(found[name][: len(value)] if value.dim() else found[name], value) for name, value in state.items()
    )


def test_lavis_gets_the_tower_too(quick_folder, tmp_path):
    _, trained = train(tmp_path, quick_folder, 32)
    exported(lavis, trained, tmp_path / "blip2.pth")
    saved = torch.load(tmp_path / "blip2.pth", weights_only=True)
    tower = open_clip.create_model(f"local-dir:{quick_folder}").visual
    block = saved["model"]["visual_encoder.transformer.resblocks.0.attn.in_proj_weight"]
    assert torch.equal(block, tower.transformer.resblocks[0].attn.in_proj_weight)
    assert "visual_encoder.transformer.resblocks.1.ln_1.weight" not in saved["model"]


def test_a_tower_that_transformers_cannot_compute_is_refused(quick_folder, tmp_path, monkeypatch):
    _, trained = train(tmp_path, quick_folder, 32)
    wrong = hugging_face.tower_to_transformers

    def other_activation(*arguments: object) -> tuple[dict, dict]:
        config, state = wrong(*arguments)
        return config | {"hidden_act": "relu"}, state

    monkeypatch.setattr(hugging_face, "tower_to_transformers", other_activation)
    told = r"no place for the image tower of 'clip': its features would be off by"
    with pytest.raises(NoPlaceError, match=told):
        exported(hugging_face, trained, tmp_path / "hf")
    assert not hugging_face.carries(trained)
    assert lavis.carries(trained)
    monkeypatch.undo()
    assert hugging_face.carries(trained)


def test_a_tower_that_is_gone_is_told_by_its_key(quick_folder, tmp_path):
    _, trained = train(tmp_path, quick_folder, 32)
    gone = replace(trained, model=str(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"pretrain\.model"):
        exported(lavis, gone, tmp_path / "blip2.pth")
