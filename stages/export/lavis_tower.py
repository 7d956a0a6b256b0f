"""LAVIS's two image towers, restated: which tensors they have, and what they compute with them.

They are `clip_vit.VisionTransformer` (`vit_model: clip_L`) and `eva_vit.VisionTransformer` (`eva_clip_g`). Both kept
the names of the towers that open_clip builds, leave out what follows the blocks, and have nothing optional: `clip_vit`
has a norm before its blocks and QuickGELU, `eva_vit` biases of queries and values and GELU. LAVIS loads with
`strict=False`, so that a tensor too many or too few goes unnoticed there, and every feature is another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn
from torch.nn.functional import conv2d, gelu, layer_norm, linear, scaled_dot_product_attention

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Kind:
    """One of the two classes: what its parts are called, and how they compute."""

    name: str
    """What a configuration of LAVIS calls it."""
    stem: tuple[str, str, str]
    """Patches, class token, positions."""
    before: str | None
    """The norm before the blocks."""
    blocks: str
    norms: tuple[str, str]
    qkv: tuple[str, ...]
    """The weight, then the biases: of all three, or of queries and of values."""
    attention: str
    """The linear layer behind the attention."""
    feed_forward: tuple[str, str]
    epsilon: float
    activation: Callable[[Tensor], Tensor]
    patch_bias: bool

    def tensors(self, blocks: int) -> set[str]:
        """The names of all its tensors."""
        patches, *rows = self.stem
        found = {f"{patches}.weight", *rows} | ({f"{patches}.bias"} if self.patch_bias else set())
        layers = [self.before] if self.before else []
        for number in range(blocks):
            inside = (*self.norms, self.attention, *self.feed_forward)
            layers += [f"{self.blocks}.{number}.{name}" for name in inside]
            found |= {f"{self.blocks}.{number}.{name}" for name in self.qkv}
        return found | {f"{layer}.{leaf}" for layer in layers for leaf in ("weight", "bias")}


CLIP: Final = Kind(
    name="clip_L",
    stem=("conv1", "class_embedding", "positional_embedding"),
    before="ln_pre",
    blocks="transformer.resblocks",
    norms=("ln_1", "ln_2"),
    qkv=("attn.in_proj_weight", "attn.in_proj_bias"),
    attention="attn.out_proj",
    feed_forward=("mlp.c_fc", "mlp.c_proj"),
    epsilon=1e-5,
    activation=lambda rows: rows * torch.sigmoid(1.702 * rows),
    patch_bias=False,
)
EVA: Final = Kind(
    name="eva_clip_g",
    stem=("patch_embed.proj", "cls_token", "pos_embed"),
    before=None,
    blocks="blocks",
    norms=("norm1", "norm2"),
    qkv=("attn.qkv.weight", "attn.q_bias", "attn.v_bias"),
    attention="attn.proj",
    feed_forward=("mlp.fc1", "mlp.fc2"),
    epsilon=1e-6,
    activation=gelu,
    patch_bias=True,
)


@dataclass(frozen=True)
class Sizes:
    """What LAVIS gives the class."""

    width: int
    patch: int
    inner: int
    """How wide a block's feed-forward is."""
    blocks: int
    heads: int


NAMED: Final = {
    "clip_L": Sizes(width=1024, patch=14, inner=4096, blocks=23, heads=16),
    "eva_clip_g": Sizes(width=1408, patch=14, inner=6144, blocks=39, heads=16),
}
"""The sizes that LAVIS has names for."""


def kind_of(visual: Any) -> Kind:
    """The class whose names a tower has: open_clip's own tower, or one of timm's."""
    return CLIP if hasattr(visual, "transformer") else EVA


def sizes_of(visual: Any, blocks: int) -> Sizes:
    """A tower's sizes.

    Raises:
        AttributeError: it is built otherwise than both.
    """
    if kind_of(visual) is CLIP:
        patches, first = visual.conv1, visual.transformer.resblocks[0]
        inner = first.mlp.c_fc.out_features
    else:
        patches, first = visual.trunk.patch_embed.proj, visual.trunk.blocks[0]
        inner = first.mlp.fc1.out_features
    return Sizes(patches.out_channels, patches.kernel_size[0], inner, blocks, first.attn.num_heads)


def other_activation(visual: Any) -> str | None:
    """A tower's activation, where LAVIS's class has another one."""
    if kind_of(visual) is CLIP:
        found: nn.Module = visual.transformer.resblocks[0].mlp.gelu
        return None if isinstance(found, QuickGELU) else str(found)
    found = visual.trunk.blocks[0].mlp.act
    return None if isinstance(found, nn.GELU) and found.approximate == "none" else str(found)


@torch.no_grad()
def features(kind: Kind, sizes: Sizes, state: State, pixels: Tensor) -> Tensor:
    """What LAVIS computes.

    Args:
        kind: the class.
        sizes: those of the tower.
        state: its tensors, float32.
        pixels: (batch, 3, side, side), normalised.

    Returns:
        (batch, 1 + patches, width), without a final norm.
    """
    patches, class_token, positions = kind.stem
    rows = conv2d(pixels, state[f"{patches}.weight"], state.get(f"{patches}.bias"), stride=sizes.patch)
    first = state[class_token].reshape(1, 1, -1).expand(len(pixels), -1, -1)
    rows = torch.cat([first, rows.flatten(2).mT], dim=1) + state[positions]
    if kind.before:
        rows = _norm(kind, state, kind.before, rows)
    for number in range(sizes.blocks):
        rows = _block(kind, sizes.heads, state, f"{kind.blocks}.{number}", rows)
    return rows


def _block(kind: Kind, heads: int, state: State, block: str, rows: Tensor) -> Tensor:
    before_attention, before_feed_forward = (f"{block}.{name}" for name in kind.norms)
    up, down = (f"{block}.{name}" for name in kind.feed_forward)
    qkv = _qkv(kind, state, block, _norm(kind, state, before_attention, rows))
    query, key, value = qkv.view(*rows.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
    attended = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    rows = rows + _linear(state, f"{block}.{kind.attention}", attended)
    inner = kind.activation(_linear(state, up, _norm(kind, state, before_feed_forward, rows)))
    return rows + _linear(state, down, inner)


def _qkv(kind: Kind, state: State, block: str, rows: Tensor) -> Tensor:
    weight, *biases = (state[f"{block}.{name}"] for name in kind.qkv)
    bias = biases[0] if len(biases) == 1 else torch.cat([biases[0], torch.zeros_like(biases[0]), biases[1]])
    return linear(rows, weight, bias)


def _norm(kind: Kind, state: State, name: str, rows: Tensor) -> Tensor:
    return layer_norm(rows, rows.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], kind.epsilon)


def _linear(state: State, name: str, rows: Tensor) -> Tensor:
    return linear(rows, state[f"{name}.weight"], state[f"{name}.bias"])
