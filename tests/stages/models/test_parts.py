"""Checkpoints whose parts come from different places get their one line when they are loaded."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_models
import torch
from transformers import BertTokenizer, BlipForConditionalGeneration, BlipImageProcessor

from stages.errors import UserError
from stages.models.blip.captioner import Captioner, load_captioner
from stages.models.blip.itm import load_itm
from stages.models.blip.sampling import Sampling
from stages.models.clip.loading import load_clip
from stages.models.clip.tower import load_tower
from stages.models.family import ModelName

CPU = torch.device("cpu")
SAMPLING = Sampling(top_p=0.9, top_k=None, temperature=1.0, repetition_penalty=1.0, max_length=8, min_length=1)
MORE = {**small_models.ID, "zebra": len(small_models.ID)}
"""A vocabulary with a word more than the small models know."""


def load_as_captioner(folder: Path) -> Captioner:
    return load_captioner(ModelName("caption.model", str(folder)), "a ", SAMPLING, "float32", CPU)


def load_as_itm(folder: Path) -> object:
    return load_itm(ModelName("filter.model", str(folder)), "float32", CPU)


def load_as_clip(folder: Path) -> object:
    return load_clip(ModelName("rank.model", str(folder), None, None), "float32", CPU)


def load_as_tower(folder: Path) -> object:
    return load_tower(ModelName("pretrain.model", str(folder), None, None), "float32", CPU)


def edit(folder: Path, name: str, *keys: str, value: Any) -> None:
    """Change one value of a JSON file."""
    document = json.loads((folder / name).read_text())
    here = document
    for key in keys[:-1]:
        here = here[key]
    here[keys[-1]] = value
    (folder / name).write_text(json.dumps(document))


def with_larger_vocabulary(folder: Path) -> None:
    BertTokenizer(vocab=dict(MORE), bos_token="[DEC]").save_pretrained(str(folder))


PICTURES = "preprocessor_config.json"
BLIP: dict[str, tuple[Callable[[Path], None], str]] = {
    "a processor of another size": (
        lambda folder: edit(folder, PICTURES, "size", value={"height": 48, "width": 40}),
        "makes pictures of 48 x 40 pixels, and its model reads 32 x 32; set both",
    ),
    "a processor that does not resize": (
        lambda folder: edit(folder, PICTURES, "do_resize", value=False),
        "leaves pictures in sizes of their own, and its model reads 32 x 32; let it resize",
    ),
    "a deviation of zero": (
        lambda folder: edit(folder, PICTURES, "image_std", value=[0.0, 0.1, 0.1]),
        "(makes pixels that are not finite|cannot prepare a picture)",
    ),
    "weights of another size": (
        lambda folder: edit(folder, "config.json", "vision_config", "image_size", value=48),
        r"\d of its weights are of other sizes, .*position_embedding first, which is 1 x 17 x 32 and should be 1 x 37",
    ),
    "another tokenizer": (
        with_larger_vocabulary,
        r"has \d+ tokens, and its model knows \d+; take both from one checkpoint",
    ),
}


@pytest.mark.parametrize("name", BLIP)
def test_parts_of_blip(captioner_folder: Path, tmp_path: Path, name: str) -> None:
    spoil, expected = BLIP[name]
    folder = tmp_path / "model"
    shutil.copytree(captioner_folder, folder)
    spoil(folder)
    with pytest.raises(UserError) as caught:
        load_as_captioner(folder)
    assert re.match(rf"caption\.model: .*'{folder}'", str(caught.value))
    assert re.search(expected, str(caught.value))
    assert "\n" not in str(caught.value)


def test_the_filters_processor_is_looked_at_too(itm_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(itm_folder, folder)
    edit(folder, PICTURES, "size", value={"height": 30, "width": 30})
    with pytest.raises(UserError, match=r"^filter\.model: .* makes pictures of 30 x 30 pixels"):
        load_as_itm(folder)


@pytest.mark.parametrize("patch", [7, 64])
def test_patches_may_leave_a_border_but_must_fit(tmp_path: Path, patch: int) -> None:
    """As in transformers, and in the published SigLIP of 384 pixels in patches of 14."""
    config = small_models.blip_config(4)
    config.vision_config.patch_size = patch
    model = BlipForConditionalGeneration(config).eval()
    model.save_pretrained(tmp_path)
    small_models.save_tokenizer(tmp_path)
    BlipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    if patch > small_models.IMAGE_SIZE:
        with pytest.raises(
            UserError, match=r"^caption\.model: .* cuts images of 32 pixels into patches of 64; correct"
        ):
            load_as_captioner(tmp_path)
        return
    captioner = load_as_captioner(tmp_path)
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = model.vision_model(pixels).last_hidden_state
    assert torch.allclose(captioner._vision(pixels), expected, atol=1e-5)


def test_marks_that_the_model_does_not_know(captioner_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(captioner_folder, folder)
    edit(folder, "config.json", "text_config", "bos_token_id", value=30522)
    with pytest.raises(
        UserError, match=r"^caption\.model: .* gives no bos, sep and pad_token_id among its .*, but \(30522,"
    ):
        load_as_captioner(folder)


@pytest.mark.parametrize("load", [load_as_clip, load_as_tower])
def test_pictures_of_clip_have_the_models_size_whatever_its_configuration_says(
    clip_folder: Path, tmp_path: Path, load: Callable[[Path], Any]
) -> None:
    """open_clip takes the tower's size."""
    folder = tmp_path / "model"
    shutil.copytree(clip_folder, folder)
    edit(folder, "open_clip_config.json", "preprocess_cfg", "size", value=48)
    load(folder)
    edit(folder, "open_clip_config.json", "preprocess_cfg", "std", value=[0.0, 0.1, 0.1])
    with pytest.raises(UserError, match=r"^(rank|pretrain)\.model: the image processor of .* cannot prepare a picture"):
        load(folder)


def test_a_tokenizer_with_more_words_than_clip_knows(clip_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(clip_folder, folder)
    with_larger_vocabulary(folder)
    with pytest.raises(UserError, match=r"^rank\.model: the tokenizer of .* tokens, and its model knows \d+"):
        load_as_clip(folder)
