"""What one worker of BLIP's pretraining holds in memory, worked out without any.

The model and a step's forward are made of fake tensors (torch's FakeTensorMode), which have shapes and no numbers.
Weights are counted by their sizes, activations by what autograd keeps for the backward: every storage once that is no
weight. Attention keeps what fused kernels do: its queries, keys, values, result, and a number for each query. A block
that is recomputed keeps what goes into it, and one block at a time has its activations for its backward.

The masks of the texts' dropout are counted as a CPU keeps them, which is a little more than a GPU does. Not in it: what
kernels take in passing, fragments, and CUDA itself.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import torch
from med_sizes import LONGEST, SHORTEST, SIZES
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from stages.models.blip.trainable import reading, vision
from stages.models.blip.trainable.config import BlipConfig
from stages.models.blip.trainable.matching import Negatives, Pool, Sighted, match_pairs
from stages.models.blip.trainable.pretraining import Pretraining
from stages.models.blip.trainable.reading import Look
from stages.models.blip.trainable.texts import Texts

WORKERS, PAIRS = 32, {"tiny": 128, "base": 2880, "large": 2400}
"""The paper's, and its pairs in a step."""
TOKENS = (SHORTEST + LONGEST) // 2
GB = 1e9


class Fused(torch.autograd.Function):
    """Attention by what it keeps; it computes nothing."""

    @staticmethod
    def forward(context: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(..., heads, asking, head width) to the same."""
        seen = torch.empty_like(queries)
        context.save_for_backward(queries, keys, values, seen, queries.new_empty(queries.shape[:-1], dtype=torch.float))
        return seen

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        """Nobody asks."""
        raise NotImplementedError


def attend(queries: Tensor, keys: Tensor, values: Tensor, **_: Any) -> Tensor:
    """In the place of torch's function."""
    seen: Tensor = Fused.apply(queries, keys, values)
    return seen


class Kept:
    """Storages that autograd keeps."""

    def __init__(self, model: Pretraining) -> None:
        self._weights = {_name(value) for value in model.state_dict(keep_vars=True).values()}
        self._kept: dict[int, torch.UntypedStorage] = {}
        blocks, recomputed = model.visual_encoder.blocks, model.visual_encoder.checkpointed
        for block in blocks[len(blocks) - recomputed :]:
            block.register_forward_pre_hook(self._see)

    def add(self, tensor: Tensor) -> Tensor:
        """Count it unless it is known."""
        if _name(tensor) not in self._weights:
            self._kept[_name(tensor)] = tensor.untyped_storage()
        return tensor

    def _see(self, _: nn.Module, given: tuple[Tensor]) -> None:
        self.add(given[0])

    @property
    def bytes(self) -> int:
        """Of all."""
        return sum(storage.nbytes() for storage in self._kept.values())


def _name(tensor: Tensor) -> int:
    """Of a storage, as long as it lives."""
    return int(tensor.untyped_storage()._cdata)


def kept(config: BlipConfig, pairs: int, dtype: torch.dtype) -> int:
    """Bytes that a forward keeps for its backward; of tensors of the mode that is on."""
    model = Pretraining(config).train()
    side, tokens = config.vision.image_size, torch.randint(1000, 2000, (pairs * TOKENS,))
    counted, texts = Kept(model), Texts(tokens, (TOKENS,) * pairs)
    with (
        torch.autograd.graph.saved_tensors_hooks(counted.add, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16),
    ):
        losses = forward(model, torch.randn(pairs, 3, side, side), texts)
    del losses
    return counted.bytes


def forward(model: Pretraining, images: Tensor, texts: Texts) -> list[Tensor]:
    """The three losses as a step has them, but that negatives are given: drawing them asks for numbers."""
    pairs = len(images)
    compared = model.compare(images, texts, torch.eye(pairs, pairs + model.image_queue.shape[1]), 0.4)
    seen = model.text_encoder.look(compared.embeds)
    other, there = torch.arange(pairs).roll(1), torch.ones(pairs).bool()
    drawn: Any = Negatives(_Numbers([*range(1, pairs), 0]), there, other, there)  # type: ignore[arg-type]
    pool, sighted = Pool(texts.begin_with(model.look), 0), Sighted(seen, seen.pick(other))
    matched = match_pairs(model.text_encoder, model.itm_head, pool, drawn, sighted)
    return [compared.loss, matched.loss, model.text_decoder(texts, [Look(seen, [1] * pairs)]).mean]


class _Numbers(list[int]):
    """Numbers that a fake tensor would not tell."""

    def tolist(self) -> list[int]:
        """As a tensor has it."""
        return self


@dataclass(frozen=True)
class Held:
    """Bytes."""

    weights: int
    """That are trained; the gradients, each of AdamW's two moments and, with several workers, the buffers in which DDP
    sends gradients take as much."""
    slow: int
    queue: int
    common: int
    """What a forward keeps however many pairs it has: the queues beside the batch, and with autocast bfloat16 copies of
    weights."""
    pair: int
    """Activations of an image and its text."""
    recomputed_pair: int
    """The same with all of the tower's blocks recomputed."""
    block: int
    """One block's activations of an image."""

    def worker(self, pairs: int, *, recomputed: bool) -> int:
        """All that a worker holds when a forward ends and gradients are there."""
        activations = self.recomputed_pair + self.block if recomputed else self.pair
        return 5 * self.weights + self.slow + self.queue + self.common + pairs * activations


class Mode(FakeTensorMode):
    """Slow copies of weights belong to it too."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Mode:
        return self


def fake(work: Callable[[], int]) -> int:
    """What it says of fake tensors."""
    with ExitStack() as stack:
        for module in (reading, vision):
            stack.enter_context(patch.object(module, "scaled_dot_product_attention", attend))
        # it looks at the numbers that it has drawn
        stack.enter_context(patch.object(torch.nn.init, "trunc_normal_"))
        stack.enter_context(Mode())
        return work()


def size(model: Pretraining, *, trained: bool) -> int:
    """Bytes of the weights that are trained, or of those that are not."""
    return sum(value.nbytes for value in model.parameters() if value.requires_grad == trained)


def held(config: BlipConfig, dtype: torch.dtype) -> Held:
    """Work it out, from a batch of 8 and one of 16 pairs."""

    def count(recomputed: int, pairs: int) -> int:
        sized = replace(config, vision=replace(config.vision, checkpointed=recomputed))
        return fake(lambda: kept(sized, pairs, dtype))

    few, many, layers = 8, 16, config.vision.layers
    pair, one, recomputed = ((count(blocks, many) - count(blocks, few)) // few for blocks in (0, 1, layers))
    trained = fake(lambda: size(Pretraining(config), trained=True))
    slow = fake(lambda: size(Pretraining(config), trained=False))
    return Held(
        weights=trained,
        slow=slow,
        queue=2 * 4 * config.queue * config.projection,
        common=count(0, few) - few * pair,
        pair=pair,
        recomputed_pair=recomputed,
        block=pair - one,
    )


def print_table(name: str) -> None:
    """As Markdown."""
    config, pairs = SIZES[name], PAIRS[name] // WORKERS
    found = [held(config, dtype) for dtype in (torch.float32, torch.bfloat16)]
    rows: list[tuple[str, Callable[[Held], float]]] = [
        ("weights that are trained", lambda each: each.weights / GB),
        ("gradients", lambda each: each.weights / GB),
        ("buffers that DDP sends them in", lambda each: each.weights / GB),
        ("AdamW's two moments", lambda each: 2 * each.weights / GB),
        ("slow copies", lambda each: each.slow / GB),
        ("queues", lambda each: each.queue / GB),
        ("kept by a forward however many pairs it has", lambda each: each.common / GB),
        ("kept of every pair", lambda each: each.pair / GB),
        ("… all blocks recomputed", lambda each: each.recomputed_pair / GB),
        (f"a worker, {pairs} pairs", lambda each: each.worker(pairs, recomputed=False) / GB),
        ("… all blocks recomputed", lambda each: each.worker(pairs, recomputed=True) / GB),
        (f"a worker, {pairs} pairs in two parts", lambda each: each.worker(pairs // 2, recomputed=False) / GB),
    ]
    print(f"| {name}, GB | float32 | bfloat16 |\n|---|---|---|")
    for said, number in rows:
        print(f"| {said} | " + " | ".join(f"{number(each):.3f}" for each in found) + " |")
