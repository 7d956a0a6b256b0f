"""A frozen image tower as the one of transformers' BLIP-2.

transformers' `Blip2VisionModel` was made for EVA-CLIP: patches with a bias, positions, pre-norm blocks. CLIP's own
tower differs in one thing that has no place there, a layer norm between positions and blocks. It is written as one more
block (`_norm_block`), which computes the same but for the epsilons of the later norms, a few millionths.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from stages.models.vision.tensors import in_words, tensors_of

State = dict[str, Tensor]

SHRINK = 2.0**-20
"""What goes into the extra block is so small that its residual leaves no trace; a power of two rounds nothing."""
FLOAT16_GUARD = 1e5
"""More than float16 holds. There, what was shrunk would vanish; with this, everything becomes NaN rather than wrong."""

_BLOCK = re.compile(r"^(?:transformer\.resblocks|blocks)\.\d+\.")
_LAYERS = (
    *("conv1", "ln_pre", "ln_1", "ln_2", "attn.out_proj", "mlp.c_fc", "mlp.c_proj"),
    *("patch_embed.proj", "norm_pre", "norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"),
)
_TAKEN = {f"{layer}.{leaf}" for layer in _LAYERS for leaf in ("weight", "bias")} | {
    *("class_embedding", "positional_embedding", "attn.in_proj_weight", "attn.in_proj_bias", "cls_token", "pos_embed"),
    *("attn.q_bias", "attn.v_bias", "ls_1.gamma", "ls_2.gamma", "ls1.gamma", "ls2.gamma", "gamma_1", "gamma_2"),
}
"""The tensors of open_clip's own towers and of timm's that go into a `Blip2VisionModel`, those of a block without its
number; a tower with any other computes something that it does not."""


@dataclass(frozen=True)
class Stem:
    """What comes before the blocks."""

    patches: nn.Conv2d
    class_token: Tensor
    """(width,)."""
    positions: Tensor
    """(1 + patches, width), the class token's first."""
    norm: nn.LayerNorm | None


@dataclass(frozen=True)
class Block:
    """A pre-norm block's parts, whatever they are called."""

    norms: tuple[nn.LayerNorm, nn.LayerNorm]
    qkv: tuple[Tensor, Tensor]
    """Weight, (3 x width, width), and bias."""
    projection: tuple[Tensor, Tensor]
    expand: nn.Linear
    contract: tuple[Tensor, Tensor]
    activation: nn.Module
    heads: int


def to_transformers(visual: Any, blocks: int, image_size: int) -> tuple[dict[str, Any], State]:
    """The configuration and the weights of the `Blip2VisionModel` that computes the first blocks of a tower.

    The norm that BLIP-2 adds behind them (`post_layernorm`) is not among the weights.

    Args:
        visual: open_clip's own tower, or one of timm's.
        blocks: how many are kept.
        image_size: pixels of one side.

    Raises:
        ValueError, AttributeError: it has a part that `Blip2VisionModel` has no place for.
    """
    if others := [name for name in tensors_of(visual, blocks) if _BLOCK.sub("", name) not in _TAKEN]:
        raise ValueError(f"it has {in_words(others)}")
    stem, parts = _open_clip(visual, blocks) if hasattr(visual, "transformer") else _timm(visual.trunk, blocks)
    width, first = stem.patches.out_channels, parts[0]
    config = {
        "hidden_size": width,
        "intermediate_size": first.expand.out_features,
        "num_hidden_layers": blocks + (stem.norm is not None),
        "num_attention_heads": first.heads,
        "image_size": image_size,
        "patch_size": stem.patches.kernel_size[0],
        "hidden_act": _activation(first.activation),
        "layer_norm_eps": first.norms[0].eps * (SHRINK**2 if stem.norm is not None else 1),
    }
    scale = SHRINK if stem.norm is not None else 1.0
    bias = stem.patches.bias if stem.patches.bias is not None else torch.zeros(width)
    state = {
        "embeddings.class_embedding": scale * stem.class_token.reshape(1, 1, width),
        "embeddings.position_embedding": scale * stem.positions.reshape(1, -1, width),
        "embeddings.patch_embedding.weight": scale * stem.patches.weight,
        "embeddings.patch_embedding.bias": scale * bias,
    }
    named = [_block(part) for part in parts]
    if stem.norm is not None:
        named.insert(0, _norm_block(stem.norm, first.expand.out_features))
    for number, block in enumerate(named):
        state |= {f"encoder.layers.{number}.{name}": value for name, value in block.items()}
    return config, {name: value.detach().contiguous() for name, value in state.items()}


def _open_clip(visual: Any, blocks: int) -> tuple[Stem, list[Block]]:
    stem = Stem(visual.conv1, visual.class_embedding, visual.positional_embedding, _norm_or_none(visual.ln_pre))
    return stem, [_open_clip_block(block) for block in visual.transformer.resblocks[:blocks]]


def _open_clip_block(block: Any) -> Block:
    attention, mlp = block.attn, block.mlp
    return Block(
        norms=(block.ln_1, block.ln_2),
        qkv=(attention.in_proj_weight, attention.in_proj_bias),
        projection=_scaled(attention.out_proj, getattr(block.ls_1, "gamma", None)),
        expand=mlp.c_fc,
        contract=_scaled(mlp.c_proj, getattr(block.ls_2, "gamma", None)),
        activation=mlp.gelu,
        heads=attention.num_heads,
    )


def _timm(trunk: Any, blocks: int) -> tuple[Stem, list[Block]]:
    if missing := [name for name in ("pos_embed", "cls_token") if getattr(trunk, name) is None]:
        raise ValueError(f"it lacks {in_words(missing)}")
    norm = _norm_or_none(getattr(trunk, "norm_pre", nn.Identity()))
    stem = Stem(trunk.patch_embed.proj, trunk.cls_token.flatten(), trunk.pos_embed.squeeze(0), norm)
    return stem, [_timm_block(block) for block in trunk.blocks[:blocks]]


def _timm_block(block: Any) -> Block:
    attention, mlp = block.attn, block.mlp
    scales = [getattr(block, f"gamma_{n}", getattr(getattr(block, f"ls{n}", None), "gamma", None)) for n in (1, 2)]
    return Block(
        norms=(block.norm1, block.norm2),
        qkv=(attention.qkv.weight, _timm_bias(attention)),
        projection=_scaled(attention.proj, scales[0]),
        expand=mlp.fc1,
        contract=_scaled(mlp.fc2, scales[1]),
        activation=mlp.act,
        heads=attention.num_heads,
    )


def _timm_bias(attention: Any) -> Tensor:
    """EVA's attention has a bias for queries and values, none for keys."""
    if attention.qkv.bias is not None:
        return attention.qkv.bias  # type: ignore[no-any-return]
    query = getattr(attention, "q_bias", None)
    if query is None:
        return torch.zeros(attention.qkv.out_features)
    return torch.cat([query, torch.zeros_like(query), attention.v_bias])


def _scaled(layer: nn.Linear, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """A linear layer's weights with the layer scale that follows it."""
    if scale is None:
        return layer.weight, layer.bias
    return layer.weight * scale[:, None], layer.bias * scale


def _norm_or_none(module: nn.Module) -> nn.LayerNorm | None:
    return module if isinstance(module, nn.LayerNorm) else None


def _activation(module: nn.Module) -> str:
    """How transformers names an activation."""
    if isinstance(module, QuickGELU):
        return "quick_gelu"
    if isinstance(module, nn.GELU):
        return "gelu" if module.approximate == "none" else "gelu_pytorch_tanh"
    raise ValueError(f"its activation is {type(module).__name__}")


def _block(block: Block) -> State:
    return {
        **_pair("layer_norm1", block.norms[0].weight, block.norms[0].bias),
        **_pair("self_attn.qkv", *block.qkv),
        **_pair("self_attn.projection", *block.projection),
        **_pair("layer_norm2", block.norms[1].weight, block.norms[1].bias),
        **_pair("mlp.fc1", block.expand.weight, block.expand.bias),
        **_pair("mlp.fc2", *block.contract),
    }


def _norm_block(norm: nn.LayerNorm, between: int) -> State:
    """A block that replaces what it gets by its layer norm.

    Its attention adds nothing. Its second norm is the wanted one, and its two linear layers pass that on unchanged, as
    act(x) - act(-x) = x for GELU in all its forms. Added to the block's input, which is 2^-20 of the true one, that is
    the norm; what the input was shrunk by is taken out of the epsilon, which a configuration has only one of. So the
    later norms divide by the deviation without CLIP's 1e-5 under the root: 5e-6 / variance more, relatively.

    Raises:
        ValueError: the linear layers are too narrow for that.
    """
    width = len(norm.weight)
    if between < 2 * width:
        raise ValueError(f"its blocks are {between} wide inside, where a norm before them needs {2 * width}")
    same = torch.eye(width)
    both = torch.cat([same, -same, torch.zeros(between - 2 * width, width)])
    qkv_bias = torch.zeros(3 * width)
    qkv_bias[2 * width] = FLOAT16_GUARD
    return {
        **_pair("layer_norm1", torch.ones(width), torch.zeros(width)),
        **_pair("self_attn.qkv", torch.zeros(3 * width, width), qkv_bias),
        **_pair("self_attn.projection", torch.zeros(width, width), torch.zeros(width)),
        **_pair("layer_norm2", norm.weight, norm.bias),
        **_pair("mlp.fc1", both, torch.zeros(between)),
        **_pair("mlp.fc2", both.T, torch.zeros(width)),
    }


def _pair(name: str, weight: Tensor, bias: Tensor) -> Mapping[str, Tensor]:
    return {f"{name}.weight": weight, f"{name}.bias": bias}
