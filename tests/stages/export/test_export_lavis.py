"""What LAVIS would compute with an image tower: the same, or nothing is written."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from lavis_classes import ClipTower, EvaTower
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from small_towers import SIZE, clip, drawn, eva, of_timm, with_activation

from stages.export import lavis
from stages.export.job import NoPlaceError
from stages.export.lavis import check_qformer, how_to_load, unnoticed
from stages.export.lavis_tower import CLIP, EVA, NAMED, Sizes
from stages.models.qformer.model import QFormerConfig
from stages.models.vision.tower import View, VisionTower

VIEW = View(lambda image: torch.zeros(0), (SIZE, SIZE), OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)
PIXELS = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize(
    ("visual", "theirs"),
    [
        (lambda: clip(quick_gelu=True), lambda: ClipTower(SIZE, 7, 32, 2, 4)),
        (lambda: clip(quick_gelu=True, block_type="custom"), lambda: ClipTower(SIZE, 7, 32, 2, 4)),
        (lambda: eva(patch_size=7), lambda: EvaTower(SIZE, 7, 32, 2, 4, 139)),
    ],
)
def test_lavis_computes_the_same_features_with_what_it_is_given(visual, theirs):
    tower = VisionTower(drawn(visual()), torch.float32)
    sizes, state = lavis.convert(tower, VIEW, "a tower")
    module = theirs().eval()
    module.load_state_dict(state)  # strictly: no tensor is missing, and none is left
    torch.testing.assert_close(module(PIXELS), tower(PIXELS), rtol=0, atol=5e-5)
    assert (sizes.width, sizes.patch, sizes.blocks, sizes.heads) == (32, 7, 2, 4)


OTHERS = {
    r"it lacks a norm before its blocks \(ln_pre\)": lambda: clip(quick_gelu=True, no_ln_pre=True),
    r"it has LayerScale \(transformer.resblocks.0.ls_1.gamma\)": lambda: clip(quick_gelu=True, ls_init_value=0.5),
    r"its activation is GELU\(approximate='none'\), LAVIS's is QuickGELU": clip,
    "its blocks are 64 wide inside, LAVIS's 128": lambda: clip(quick_gelu=True, mlp_ratio=2.0),
    "it has norms of queries and keys": lambda: clip(quick_gelu=True, qk_norm=True),
    "it has scales or norms in its attention": lambda: clip(quick_gelu=True, scale_heads=True),
    "it has norms in its feed-forward": lambda: clip(quick_gelu=True, scale_fc=True),
    "its features would be off by": lambda: clip(quick_gelu=True, norm_kwargs={"eps": 0.1}),
    r"it has register tokens \(reg_token\)": lambda: eva(num_reg_tokens=2),
    r"it has LayerScale \(blocks.0.gamma_1\)": lambda: eva(init_values=0.5),
    "it has a norm before its blocks": lambda: eva(use_pre_transformer_norm=True),
    r"its activation is SiLU\(\), LAVIS's is GELU": lambda: with_activation(eva(), torch.nn.SiLU()),
    r"its activation is GELU\(approximate='tanh'\), LAVIS's is GELU": lambda: with_activation(
        eva(), torch.nn.GELU("tanh")
    ),
    "it has a gated feed-forward": lambda: eva(swiglu_mlp=True, scale_mlp=True),
    "it lacks positions of its own": lambda: eva(use_abs_pos_emb=False, use_rot_pos_emb=True),
    "its features would be off by .* of the largest": lambda: eva(use_rot_pos_emb=True),
    "it has one bias for queries, keys and values .*; it lacks biases of queries and of values": lambda: of_timm(
        "vit_tiny_patch16_224", patch_size=7
    ),
    "its tensors do not fit": lambda: eva(no_embed_class=True),
}


@pytest.mark.parametrize("reason", OTHERS)
def test_a_tower_that_lavis_would_compute_otherwise_is_refused_in_one_line(reason):
    tower = VisionTower(drawn(OTHERS[reason]()), torch.float32)
    with pytest.raises(NoPlaceError, match=rf"pretrain\.model: LAVIS .* 'a tower': .*{reason}.*$") as told:
        lavis.convert(tower, VIEW, "a tower")
    assert "\n" not in str(told.value)


def test_images_that_are_not_square_have_no_place():
    tower = VisionTower(drawn(clip(quick_gelu=True, image_size=(28, 14))), torch.float32)
    with pytest.raises(NoPlaceError, match="its images are 28 x 14, not square"):
        lavis.convert(tower, replace(VIEW, size=(28, 14)), "a tower")


@pytest.mark.parametrize(("kind", "blocks", "heads"), [(CLIP, 11, 16), (CLIP, 23, 8), (EVA, 40, 16)])
def test_what_lavis_would_take_for_one_of_its_own_towers_is_refused(kind, blocks, heads):
    sizes = replace(NAMED[kind.name], blocks=blocks, heads=heads)
    assert unnoticed(kind, sizes) == [
        f"it has {blocks} blocks of {heads} heads, LAVIS's {kind.name} {NAMED[kind.name].blocks} of 16"
    ]
    assert unnoticed(kind, NAMED[kind.name]) == []
    assert unnoticed(kind, replace(sizes, width=768)) == []  # there LAVIS says itself that the shapes differ


def test_a_qformer_that_lavis_would_take_for_bert_is_refused():
    check_qformer(QFormerConfig(vocabulary=30523, vision_width=1024))
    check_qformer(QFormerConfig(vocabulary=100, vision_width=32, width=64, layers=2, heads=4))
    for other in ({"layers": 6}, {"heads": 8}):
        with pytest.raises(NoPlaceError, match="LAVIS builds a Q-Former of this width with 12 layers of 12 heads"):
            check_qformer(QFormerConfig(vocabulary=30523, vision_width=1024, **other))


def test_the_notes_say_what_lavis_has_to_be_told():
    config = QFormerConfig(vocabulary=30523, vision_width=1024, image_every=3, max_text_tokens=40)
    (loads, package) = how_to_load(config, CLIP, NAMED["clip_L"], replace(VIEW, size=(224, 224)))
    assert "vit_model: clip_L, image_size: 224, num_query_token: 32, cross_attention_freq: 3, max_txt_len: 40" in loads
    assert "the packaged salesforce-lavis 1.0.2 builds 21 of clip_L's 23 blocks" in package
    assert len(how_to_load(config, EVA, NAMED["eva_clip_g"], VIEW)) == 1
    small = how_to_load(replace(config, width=64), CLIP, Sizes(32, 7, 128, 2, 4), VIEW)
    assert "give its VisionTransformer width 32, patch 7, 2 blocks of 4 heads" in small[1]
    assert "width 64" in small[2]
    assert how_to_load(config, EVA, NAMED["eva_clip_g"], replace(VIEW, mean=(0.5, 0.5, 0.5)))[1] == (
        "give LAVIS's vis_processor mean: [0.5, 0.5, 0.5], std: [0.26862954, 0.26130258, 0.27577711]"
    )
