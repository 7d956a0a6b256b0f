"""The sizes of a Q-Former, as its weights show them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def sizes_of(state: Mapping[str, Tensor]) -> dict[str, int]:
    """The sizes that weights show, by the fields of `QFormerConfig`; those that they do not show are absent."""
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    layers = {int(name.split(".")[1]) for name in shapes if name.startswith("layers.")}
    looking = sorted({int(name.split(".")[1]) for name in shapes if ".image_attention." in name})
    shown = {
        "vocabulary": ("words.weight", 0),
        "width": ("words.weight", 1),
        "max_text_tokens": ("positions.weight", 0),
        "queries": ("queries", 1),
        "projection": ("image_projection.weight", 0),
        "vision_width": ("vision_norm.weight", 0),
    }
    sizes = {field: shapes[name][axis] for field, (name, axis) in shown.items() if name in shapes}
    if looking:
        sizes["image_every"] = looking[1] if len(looking) > 1 else len(layers)
    return sizes | {"layers": len(layers)}
