"""BLIP worked out from weights under the published names, in float64, a text at a time and nothing fused.

The names and the formulas are written down here once more, so that what is tested has no part in them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

State = dict[str, Tensor]
HEADS_OF = 64
EPSILON, TEXT_EPSILON = 1e-6, 1e-12


class Sizes(NamedTuple):
    vision: int = 128
    text: int = 192
    inner: int = 96
    layers: int = 2
    patch: int = 8
    image: int = 32
    words: int = 80
    positions: int = 40
    projection: int = 16
    queue: int = 12


def captioning(sizes: Sizes) -> State:
    return tower(sizes) | decoder(sizes, sizes.vision)


def questions(sizes: Sizes) -> State:
    encoder = stack("text_encoder", sizes, sizes.vision)
    return tower(sizes) | encoder | decoder(sizes, sizes.text)


def retrieval(sizes: Sizes) -> State:
    return compared(sizes) | {"idx_queue": torch.full((1, sizes.queue), -100), "ptr_queue": torch.tensor([4])}


def pretraining(sizes: Sizes) -> State:
    """Tied as the published ones: all but self-attention."""
    state = compared(sizes) | decoder(sizes, sizes.vision) | {"queue_ptr": torch.tensor([8])}
    for name in [name for name in state if name.startswith("text_encoder.")]:
        if ".attention." not in name:
            state["text_decoder.bert." + name.removeprefix("text_encoder.")] = state[name]
    state["text_decoder.cls.predictions.decoder.weight"] = state["text_encoder.embeddings.word_embeddings.weight"]
    return state


def compared(sizes: Sizes) -> State:
    state = tower(sizes) | stack("text_encoder", sizes, sizes.vision)
    state |= linear("vision_proj", sizes.vision, sizes.projection) | linear("text_proj", sizes.text, sizes.projection)
    followed = ("visual_encoder", "text_encoder", "vision_proj", "text_proj")
    for name in [name for name in state if name.split(".")[0] in followed]:
        part, rest = name.split(".", 1)
        value = state[name]
        state[f"{part}_m.{rest}"] = value + 0.01 * torch.randn(value.shape) if value.is_floating_point() else value
    queues = {name: torch.randn(sizes.projection, sizes.queue) for name in ("image_queue", "text_queue")}
    return state | linear("itm_head", sizes.text, 2) | queues | {"temp": torch.tensor(0.05)}


def linear(name: str, inside: int, outside: int) -> State:
    return {f"{name}.weight": 0.1 * torch.randn(outside, inside), f"{name}.bias": 0.1 * torch.randn(outside)}


def norm(name: str, width: int) -> State:
    return {f"{name}.weight": 1 + 0.1 * torch.randn(width), f"{name}.bias": 0.1 * torch.randn(width)}


def tower(sizes: Sizes) -> State:
    width, patches = sizes.vision, (sizes.image // sizes.patch) ** 2
    state = {
        "visual_encoder.cls_token": torch.randn(1, 1, width),
        "visual_encoder.pos_embed": torch.randn(1, 1 + patches, width),
        "visual_encoder.patch_embed.proj.weight": 0.1 * torch.randn(width, 3, sizes.patch, sizes.patch),
        "visual_encoder.patch_embed.proj.bias": 0.1 * torch.randn(width),
    }
    for number in range(sizes.layers):
        block = f"visual_encoder.blocks.{number}"
        state |= norm(f"{block}.norm1", width) | norm(f"{block}.norm2", width)
        state |= linear(f"{block}.attn.qkv", width, 3 * width) | linear(f"{block}.attn.proj", width, width)
        state |= linear(f"{block}.mlp.fc1", width, sizes.inner) | linear(f"{block}.mlp.fc2", sizes.inner, width)
    return state | norm("visual_encoder.norm", width)


def stack(name: str, sizes: Sizes, source: int) -> State:
    width = sizes.text
    state = {
        f"{name}.embeddings.word_embeddings.weight": torch.randn(sizes.words, width),
        f"{name}.embeddings.position_embeddings.weight": torch.randn(sizes.positions, width),
        f"{name}.embeddings.position_ids": torch.arange(sizes.positions)[None],
    }
    state |= norm(f"{name}.embeddings.LayerNorm", width)
    for number in range(sizes.layers):
        layer = f"{name}.encoder.layer.{number}"
        for part, inside in (("attention", width), ("crossattention", source)):
            state |= linear(f"{layer}.{part}.self.query", width, width)
            state |= linear(f"{layer}.{part}.self.key", inside, width)
            state |= linear(f"{layer}.{part}.self.value", inside, width)
            state |= linear(f"{layer}.{part}.output.dense", width, width)
            state |= norm(f"{layer}.{part}.output.LayerNorm", width)
        state |= linear(f"{layer}.intermediate.dense", width, sizes.inner)
        state |= linear(f"{layer}.output.dense", sizes.inner, width) | norm(f"{layer}.output.LayerNorm", width)
    return state


def decoder(sizes: Sizes, source: int) -> State:
    head = "text_decoder.cls.predictions"
    state = stack("text_decoder.bert", sizes, source)
    state |= linear(f"{head}.transform.dense", sizes.text, sizes.text) | norm(f"{head}.transform.LayerNorm", sizes.text)
    bias = 0.1 * torch.randn(sizes.words)
    words = state["text_decoder.bert.embeddings.word_embeddings.weight"]
    return state | {f"{head}.bias": bias, f"{head}.decoder.bias": bias, f"{head}.decoder.weight": words}


class PlainBlip:
    """Answers from a state; pixels are one image's, (3, height, width), and a text is its numbers."""

    def __init__(self, state: State, epsilon: float = EPSILON) -> None:
        self.state = {name: value.double() for name, value in state.items()}
        self.epsilon = epsilon

    def image(self, pixels: Tensor) -> Tensor:
        """(1 + patches, width)."""
        state, patch = self.state, self.state["visual_encoder.patch_embed.proj.weight"].shape[-1]
        tiles = pixels.double().unfold(1, patch, patch).unfold(2, patch, patch).permute(1, 2, 0, 3, 4).flatten(2)
        weight = state["visual_encoder.patch_embed.proj.weight"].flatten(1)
        seen = tiles.flatten(0, 1) @ weight.T + state["visual_encoder.patch_embed.proj.bias"]
        rows = torch.cat([state["visual_encoder.cls_token"][0], seen]) + state["visual_encoder.pos_embed"][0]
        for number in range(self.layers("visual_encoder.blocks.")):
            block = f"visual_encoder.blocks.{number}"
            normed = self.norm(f"{block}.norm1", rows, self.epsilon)
            parts = self.linear(f"{block}.attn.qkv", normed).chunk(3, dim=1)
            rows = rows + self.linear(f"{block}.attn.proj", attend(*parts, causal=False))
            normed = self.norm(f"{block}.norm2", rows, self.epsilon)
            rows = rows + self.linear(f"{block}.mlp.fc2", gelu(self.linear(f"{block}.mlp.fc1", normed)))
        return self.norm("visual_encoder.norm", rows, self.epsilon)

    def text(self, name: str, ids: list[int], source: Tensor | None, *, causal: bool) -> Tensor:
        """(tokens, width)."""
        words, places = (self.state[f"{name}.embeddings.{kind}_embeddings.weight"] for kind in ("word", "position"))
        rows = self.norm(f"{name}.embeddings.LayerNorm", words[ids] + places[: len(ids)], TEXT_EPSILON)
        for number in range(self.layers(f"{name}.encoder.layer.")):
            layer = f"{name}.encoder.layer.{number}"
            rows = self.look(f"{layer}.attention", rows, rows, causal=causal)
            if source is not None:
                rows = self.look(f"{layer}.crossattention", rows, source, causal=False)
            wide = gelu(self.linear(f"{layer}.intermediate.dense", rows))
            added = rows + self.linear(f"{layer}.output.dense", wide)
            rows = self.norm(f"{layer}.output.LayerNorm", added, TEXT_EPSILON)
        return rows

    def look(self, name: str, rows: Tensor, source: Tensor, *, causal: bool) -> Tensor:
        query = self.linear(f"{name}.self.query", rows)
        key, value = (self.linear(f"{name}.self.{part}", source) for part in ("key", "value"))
        added = rows + self.linear(f"{name}.output.dense", attend(query, key, value, causal=causal))
        return self.norm(f"{name}.output.LayerNorm", added, TEXT_EPSILON)

    def words(self, ids: list[int], source: Tensor) -> Tensor:
        """The logits behind every token, (tokens, words)."""
        head = "text_decoder.cls.predictions"
        rows = gelu(self.linear(f"{head}.transform.dense", self.text("text_decoder.bert", ids, source, causal=True)))
        return self.linear(f"{head}.decoder", self.norm(f"{head}.transform.LayerNorm", rows, TEXT_EPSILON))

    def match(self, ids: list[int], image: Tensor) -> Tensor:
        """(2,)."""
        return self.linear("itm_head", self.text("text_encoder", ids, image, causal=False)[:1])[0]

    def cosine(self, ids: list[int], image: Tensor) -> Tensor:
        text = self.linear("text_proj", self.text("text_encoder", ids, None, causal=False)[:1])[0]
        seen = self.linear("vision_proj", image[:1])[0]
        return text @ seen / text.norm() / seen.norm()

    def linear(self, name: str, rows: Tensor) -> Tensor:
        return rows @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def norm(self, name: str, rows: Tensor, epsilon: float) -> Tensor:
        centred = rows - rows.mean(dim=-1, keepdim=True)
        scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + epsilon).sqrt()
        return scaled * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def layers(self, before: str) -> int:
        return len({name.removeprefix(before).split(".")[0] for name in self.state if name.startswith(before)})


def attend(query: Tensor, key: Tensor, value: Tensor, *, causal: bool) -> Tensor:
    """Each (tokens, width), cut into heads."""
    found = []
    for q, k, v in zip(*(part.split(HEADS_OF, dim=1) for part in (query, key, value)), strict=True):
        scores = q @ k.T / HEADS_OF**0.5
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
        found.append(scores.softmax(dim=1) @ v)
    return torch.cat(found, dim=1)


def gelu(rows: Tensor) -> Tensor:
    return rows * (1 + torch.erf(rows / 2**0.5)) / 2
