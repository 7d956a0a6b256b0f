"""The towers against open_clip's own encoders, for the architectures that they know, and which those are."""

from typing import Any

import open_clip
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from stages.models.clip.towers import TEXTS_AT_ONCE, ImageTower, TextTower

VOCABULARY, CONTEXT, END = 60, 24, 59


def make(heads: int = 4, quick_gelu: bool = False, vision: Any = None, text: Any = None) -> open_clip.CLIP:
    torch.manual_seed(0)
    width = 12 * heads
    vision_cfg = {"image_size": 32, "layers": 3, "width": width, "head_width": 12, "patch_size": 8} | (vision or {})
    text_cfg = {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": width, "heads": heads, "layers": 3}
    model = open_clip.CLIP(embed_dim=20, vision_cfg=vision_cfg, text_cfg=text_cfg | (text or {}), quick_gelu=quick_gelu)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=0.2)
    return model.eval()


def texts(number: int) -> torch.Tensor:
    """Token ids of texts of every length, the end token last, zeros behind it."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, END, (number, CONTEXT), generator=generator)
    for row, end in enumerate(torch.randint(1, CONTEXT, (number,), generator=generator).tolist()):
        ids[row, end], ids[row, end + 1 :] = END, 0
    return ids


@pytest.mark.parametrize("heads", [2, 4, 12])
@pytest.mark.parametrize("quick_gelu", [False, True])
def test_embeddings_are_those_of_open_clip(heads: int, quick_gelu: bool) -> None:
    model = make(heads, quick_gelu)
    assert ImageTower.fits(model.visual)
    assert TextTower.fits(model)
    pixels, ids = torch.randn(5, 3, 32, 32), texts(2 * TEXTS_AT_ONCE + 3)
    with torch.no_grad():
        images, sentences = ImageTower(model.visual)(pixels), TextTower(model)(ids)
        one, two = model.encode_image(pixels), model.encode_text(ids)
    assert (images - one).abs().max() < 1e-4
    assert (sentences - two).abs().max() < 1e-4
    cosines = normalize(images, dim=-1) @ normalize(sentences, dim=-1).T
    assert (cosines - normalize(one, dim=-1) @ normalize(two, dim=-1).T).abs().max() < 1e-5


def test_the_end_token_may_be_found_by_its_number() -> None:
    model = make(text={"pool_type": "eos", "eos_id": 7})
    ids = texts(9)
    ids[ids == 7], ids[ids == END] = 8, 7
    assert TextTower.fits(model)
    with torch.no_grad():
        assert (TextTower(model)(ids) - model.encode_text(ids)).abs().max() < 1e-4


@pytest.mark.parametrize(
    "vision",
    [
        {"pool_type": "avg"},
        {"attentional_pool": True, "attn_pooler_heads": 4},
        {"ls_init_value": 0.1},
        {"patch_dropout": 0.5},
    ],
)
def test_other_image_towers_are_left_to_open_clip(vision: dict[str, Any]) -> None:
    assert not ImageTower.fits(make(vision=vision).visual)


@pytest.mark.parametrize("text", [{"pool_type": "last"}, {"no_causal_mask": True}, {"ls_init_value": 0.1}])
def test_other_text_towers_are_left_to_open_clip(text: dict[str, Any]) -> None:
    assert not TextTower.fits(make(text=text))
    assert not TextTower.fits(nn.Linear(1, 1))
