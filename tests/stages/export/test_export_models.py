"""A trained Q-Former in other programs' formats: loaded as their users load it, and brought back."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import small_models
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoProcessor, Blip2ForImageTextRetrieval

from stages.errors import UserError
from stages.export import hugging_face, lavis
from stages.export.job import TrainedModel
from stages.export.trained import load_tower
from stages.models.qformer import QFormer, QFormerConfig, config_metadata
from stages.models.qformer_checkpoint import read_checkpoint
from stages.models.tokens import Tokens

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


@torch.no_grad()
@pytest.mark.parametrize(("kind", "width", "size"), [("timm_folder", 192, 224), ("clip_folder", 32, 32)])
def test_transformers_scores_with_the_folder_as_we_do(kind, width, size, request, tmp_path):
    model, trained = train(tmp_path, request.getfixturevalue(kind), width)
    (note,) = hugging_face.export(trained, str(tmp_path / "hf"))
    assert ("float16 gives NaN" in note) == (kind == "clip_folder")

    loaded, info = Blip2ForImageTextRetrieval.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    processor = AutoProcessor.from_pretrained(tmp_path / "hf")
    given = processor(images=images(size), text=TEXTS, padding=True, return_tensors="pt")
    matched = loaded(**given, use_image_text_matching_head=True).logits_per_image
    cosines = loaded(**given, use_image_text_matching_head=False).logits_per_image

    tower, view = load_tower(trained)
    features = tower(torch.stack([view.preprocess(image) for image in images(size)]))
    text = Tokens(trained.tokenizer, None, 12)(TEXTS)
    torch.testing.assert_close(model.match(model.look(features), text), matched, rtol=0, atol=1e-4)
    ours, theirs = (
        model.embed_image(model.encode_image(model.look(features))),
        model.embed_text(model.encode_text(text)),
    )
    torch.testing.assert_close((ours @ theirs.T).amax(1), cosines, rtol=0, atol=1e-4)


def test_the_folder_has_the_start_token_and_the_towers_view_of_an_image(clip_folder, timm_folder, tmp_path):
    for clip, width, name in ((clip_folder, 32, "clip"), (timm_folder, 192, "timm")):
        _, trained = train(tmp_path, clip, width)
        hugging_face.export(trained, str(tmp_path / name))
        processor = AutoProcessor.from_pretrained(tmp_path / name)
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
def test_the_way_back_changes_no_bit(program, clip_folder, tmp_path):
    model, trained = train(tmp_path, clip_folder, 32)
    place = str(tmp_path / "exported.pth")
    program.export(trained, place)
    found = read_checkpoint(place, None, "pretrain.init").state
    state = model.state_dict()
    assert found.keys() == state.keys()
    assert all(
        torch.equal(found[name][: len(value)] if value.dim() else found[name], value) for name, value in state.items()
    )


def test_lavis_gets_the_tower_too(clip_folder, tmp_path):
    _, trained = train(tmp_path, clip_folder, 32)
    notes = lavis.export(trained, str(tmp_path / "blip2.pth"))
    assert any("QuickGELU" in note for note in notes)
    saved = torch.load(tmp_path / "blip2.pth", weights_only=True)
    tower = open_clip.create_model(f"local-dir:{clip_folder}").visual
    block = saved["model"]["visual_encoder.transformer.resblocks.0.attn.in_proj_weight"]
    assert torch.equal(block, tower.transformer.resblocks[0].attn.in_proj_weight)
    assert "visual_encoder.transformer.resblocks.1.ln_1.weight" not in saved["model"]


def test_an_export_arrives_in_object_storage(clip_folder, tmp_path):
    import fsspec

    _, trained = train(tmp_path, clip_folder, 32)
    hugging_face.export(trained, "memory://models/hf")
    lavis.export(trained, "memory://models/blip2.pth")
    memory = fsspec.filesystem("memory")
    names = {str(path).rsplit("/", 1)[-1] for path in memory.ls("/models/hf", detail=False)}
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "README.md"} <= names
    assert memory.size("/models/blip2.pth") > 10_000


def test_a_folder_that_is_there_is_left_alone(clip_folder, tmp_path):
    _, trained = train(tmp_path, clip_folder, 32)
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="hf is there already; name a new folder"):
        hugging_face.export(trained, str(tmp_path / "hf"))
    assert [path.name for path in (tmp_path / "hf").iterdir()] == ["notes.txt"]


def test_a_tower_that_transformers_cannot_compute_is_refused_and_nothing_is_left(clip_folder, tmp_path, monkeypatch):
    _, trained = train(tmp_path, clip_folder, 32)
    wrong = hugging_face.tower_to_transformers

    def other_activation(*arguments: object) -> tuple[dict, dict]:
        config, state = wrong(*arguments)
        return config | {"hidden_act": "relu"}, state

    monkeypatch.setattr(hugging_face, "tower_to_transformers", other_activation)
    with pytest.raises(
        UserError, match=r"no place for the image tower of .*features would be off by .*export to lavis"
    ):
        hugging_face.export(trained, str(tmp_path / "hf"))
    assert not (tmp_path / "hf").exists()


def test_a_tower_that_is_gone_is_told_by_its_key(clip_folder, tmp_path):
    _, trained = train(tmp_path, clip_folder, 32)
    gone = TrainedModel(**{**vars(trained), "model": str(tmp_path / "gone")})
    with pytest.raises(UserError, match=r"pretrain\.model"):
        lavis.export(gone, str(tmp_path / "blip2.pth"))
    assert not (tmp_path / "blip2.pth").exists()
