"""Published names of the naive model's weights."""

from __future__ import annotations

from naive_blip import Naive
from torch import Tensor

VISION = {
    "embeddings.class_embedding": "cls_token",
    "embeddings.position_embedding": "pos_embed",
    "embeddings.patch_embedding": "patch_embed.proj",
    "post_layernorm": "norm",
    "encoder.layers": "blocks",
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "self_attn.qkv": "attn.qkv",
    "self_attn.projection": "attn.proj",
}


def published(name: str) -> str:
    if name.startswith("visual_encoder"):
        for there, here in VISION.items():
            name = name.replace(there, here)
    return name


def state_of(naive: Naive, *, retrieval: bool = False) -> dict[str, Tensor]:
    """What a `.pth` file of it would hold, whatever the task."""
    state = {published(name): value.detach().clone() for name, value in naive.state_dict().items()}
    pointer, ids = state.pop("pointer"), state.pop("ids_queue")
    more = {"ptr_queue": pointer, "idx_queue": ids} if retrieval else {"queue_ptr": pointer}
    return state | more


def gradients_of(naive: Naive) -> dict[str, Tensor]:
    return {published(name): value.grad for name, value in naive.named_parameters() if value.grad is not None}
