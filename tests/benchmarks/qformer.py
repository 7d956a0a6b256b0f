"""A pretraining step against the plain one on transformers' Blip2QFormerModel.

    python tests/benchmarks/qformer.py [--size tiny|base] [--dtype float32|bfloat16] [--device cpu|cuda]
                                       [--batch 8] [--repeats 3]

Both sides have random weights of the same sizes, the same features of the frozen tower and the same captions, and take
turns. The plain step runs a pass per loss (queries, text, both for ITM, both under a causal mask for ITG) with eager
attention, over texts padded to 32 tokens. `base` is BLIP-2's Q-Former on ViT-L/14's 257 x 1024 features. The floor is
the multiply-adds of all passes over real tokens, each counted once and thrice for training, at the rate that this
machine multiplies matrices of the Q-Former's own shapes, measured in the same run. `tower` is what a batch costs less
where features are kept.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import open_clip
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from stages.models.qformer.model import QFormer, QFormerConfig, Text
from stages.models.vision.tower import VisionTower
from stages.pretrain.objective import Batch, Objective

VOCABULARY, START, TEXT, QUERIES = 30523, 30522, 32, 32
Step = Callable[[], Any]


@dataclass(frozen=True)
class Size:
    """Of the Q-Former, and the tower whose features it reads."""

    width: int
    layers: int
    heads: int
    tower: str
    tokens: int
    vision: int


SIZES = {
    "tiny": Size(96, 2, 4, "ViT-S-32-alt", 50, 384),
    "base": Size(768, 12, 12, "ViT-L-14-quickgelu", 257, 1024),
}


def make_batch(size: Size, count: int, device: torch.device, dtype: torch.dtype) -> Batch:
    """Random features, and captions of 6 to 17 tokens, marks included."""
    random = torch.Generator().manual_seed(0)
    lengths = torch.randint(6, 18, (count,), generator=random)
    real = torch.arange(TEXT)[None] < lengths[:, None]
    ids = torch.randint(1000, 30000, (count, TEXT), generator=random).masked_fill(~real, 0)
    features = torch.randn(count, size.tokens, size.vision, generator=random)
    uniforms = torch.rand(2, count, count, generator=random)
    text = Text(ids, real).to(device)
    return Batch(features.to(device, dtype), text, torch.arange(count, device=device), uniforms.to(device), 0)


class Plain(nn.Module):
    """The step as one would write it on transformers' Q-Former."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        config = Blip2QFormerConfig(
            hidden_size=size.width,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            intermediate_size=4 * size.width,
            encoder_hidden_size=size.vision,
            cross_attention_frequency=2,
            use_qformer_text_input=True,
            vocab_size=VOCABULARY,
        )
        config._attn_implementation = "eager"
        self.qformer: Any = Blip2QFormerModel(config)
        self.queries = nn.Parameter(torch.randn(1, QUERIES, size.width) * 0.02)
        self.words, self.positions = nn.Embedding(VOCABULARY, size.width), nn.Embedding(TEXT, size.width)
        self.vision_norm, self.temperature = nn.LayerNorm(size.vision), nn.Parameter(torch.tensor(0.07))
        self.image_projection, self.text_projection = nn.Linear(size.width, 256), nn.Linear(size.width, 256)
        self.match_head, self.transform = nn.Linear(size.width, 2), nn.Linear(size.width, size.width)
        self.word_norm = nn.LayerNorm(size.width)

    def embed(self, ids: Tensor) -> Tensor:
        """(batch, tokens, width)."""
        found: Tensor = self.words(ids) + self.positions.weight
        return found

    def run(self, rows: Tensor, queries: int, mask: Tensor | None, features: Tensor | None) -> Tensor:
        """One pass."""
        found: Tensor = self.qformer(
            query_embeds=rows, query_length=queries, attention_mask=mask, encoder_hidden_states=features
        ).last_hidden_state
        return found

    def forward(self, batch: Batch) -> Tensor:
        """The sum of the three losses."""
        count, (ids, real) = len(batch.features), batch.text
        features = self.vision_norm(batch.features.float())
        queries = self.queries.expand(count, -1, -1)
        images = normalize(self.image_projection(self.run(queries, QUERIES, None, features)), dim=-1)
        texts = self.run(self.embed(ids), 0, real.long(), None)
        texts = normalize(self.text_projection(texts[:, 0]), dim=-1)
        logits = torch.einsum("iqp,tp->itq", images, texts).amax(-1) / self.temperature
        partners = torch.arange(count, device=logits.device)
        itc = (cross_entropy(logits, partners, label_smoothing=0.1) + cross_entropy(logits.T, partners)) / 2
        with torch.no_grad():
            weights = logits.softmax(-1).fill_diagonal_(0) + 1e-6
            wrong_texts = weights.multinomial(1)[:, 0]
            wrong_images = weights.T.multinomial(1)[:, 0]
        rows = torch.cat([self.embed(ids), self.embed(ids[wrong_texts]), self.embed(ids)])
        seen = torch.cat([real, real[wrong_texts], real])
        mask = torch.cat([seen.new_ones(3 * count, QUERIES), seen], dim=1).long()
        rows = torch.cat([self.queries.expand(3 * count, -1, -1), rows], dim=1)
        judged = self.run(rows, QUERIES, mask, torch.cat([features, features, features[wrong_images]]))
        right = torch.cat([torch.ones_like(partners), torch.zeros_like(wrong_texts.repeat(2))])
        itm = cross_entropy(self.match_head(judged[:, :QUERIES]).mean(1), right)
        return itc + itm + self.write(features, ids, real)

    def write(self, features: Tensor, ids: Tensor, real: Tensor) -> Tensor:
        """ITG, queries and text in one pass under a mask; transformers' class keeps nothing of an earlier pass."""
        allowed = torch.ones(QUERIES + TEXT, QUERIES + TEXT, dtype=torch.bool, device=ids.device).tril()
        allowed[:QUERIES, :QUERIES] = True
        columns = torch.cat([real.new_ones(len(real), QUERIES), real], dim=1)
        mask = torch.zeros(len(real), 1, *allowed.shape, device=ids.device)
        mask = mask.masked_fill(~(allowed[None, None] & columns[:, None, None]), torch.finfo(torch.float32).min)
        spoken = ids.clone()
        spoken[:, 0] = START
        rows = torch.cat([self.queries.expand(len(ids), -1, -1), self.embed(spoken)], dim=1)
        hidden = self.run(rows, QUERIES, mask, features)[:, QUERIES:]
        hidden = self.word_norm(nn.functional.gelu(self.transform(hidden)))
        words = linear(hidden, self.words.weight)[:, :-1]
        labels = spoken.masked_fill(~real, -100)[:, 1:]
        return cross_entropy(words.flatten(0, 1), labels.flatten(), label_smoothing=0.1)


def make_qformer(size: Size) -> QFormer:
    """This project's, of the same sizes."""
    return QFormer(QFormerConfig(VOCABULARY, size.vision, QUERIES, size.width, size.layers, size.heads))


def flop(size: Size, batch: Batch) -> float:
    """Of one step: all passes over real tokens, forward; backward costs twice that."""
    count, spoken = len(batch.features), int(batch.text.real.sum())
    images, width = size.tokens, size.width
    crossing = -(-size.layers // 2)
    keys = crossing * count * images * size.vision * width * 4
    rows_of = {"queries": count * QUERIES * 4, "text": spoken * 5}  # A with D, and C threefold; B, D, and C threefold
    rows = size.layers * 24 * width**2 * sum(rows_of.values())
    looks = crossing * rows_of["queries"] * (4 * width**2 + 4 * images * width)
    mean = spoken / count
    pairs = 4 * QUERIES**2 + 3 * 2 * QUERIES * mean + QUERIES * mean + 5 * mean**2  # who looks at whom
    words = (spoken - count) * 2 * width * (VOCABULARY + width)
    return 3.0 * (keys + rows + looks + size.layers * count * pairs * 4 * width + words)


def seconds(work: Step, device: torch.device) -> float:
    """Of one call, until the device has finished."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


class Bench:
    """Everything that takes its turn."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(0)
        self.size, self.device = SIZES[args.size], torch.device(args.device)
        self.dtype = getattr(torch, args.dtype)
        self.batch = make_batch(self.size, args.batch, self.device, self.dtype)
        self.objective = Objective(make_qformer(self.size), START).to(self.device).train()
        self.plain = Plain(self.size).to(self.device).train()
        self.side = open_clip.create_model(self.size.tower).visual.to(self.device, self.dtype)
        self.tower = VisionTower(self.side, self.dtype)
        pixels = self.side.image_size[0]
        self.pixels = torch.randn(args.batch, 3, pixels, pixels, device=self.device, dtype=self.dtype)
        self.factors = self.make_factors()

    def autocast(self) -> Any:
        """Half precision where it is asked for."""
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(self.device.type, self.dtype)

    def make_factors(self) -> list[tuple[Tensor, Tensor]]:
        """Matrices of the shapes that the Q-Former's linear layers multiply for ITM."""
        width, rows = self.size.width, 3 * len(self.batch.features) * (QUERIES + 16)
        shapes = ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width))
        made = ((torch.randn(rows, inputs), torch.randn(outputs, inputs)) for inputs, outputs in shapes)
        return [(x.to(self.device, self.dtype), weight.to(self.device, self.dtype)) for x, weight in made]

    @torch.inference_mode()
    def multiply(self) -> None:
        """The matrices, once."""
        for x, weight in self.factors:
            linear(x, weight)

    def stepper(self, module: nn.Module, loss: Callable[[], Tensor]) -> Step:
        """A whole step: forward, backward, update."""
        optimiser = torch.optim.AdamW(module.parameters(), lr=1e-5)

        def step() -> None:
            optimiser.zero_grad()
            with self.autocast():
                found = loss()
            found.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

        return step

    def steps(self) -> dict[str, Step]:
        """What is timed, by name."""
        return {
            "plain": self.stepper(self.plain, lambda: self.plain(self.batch)),
            "capfilt": self.stepper(self.objective, lambda: self.objective(self.batch).loss),
            **{name: self.alone(name) for name in ("itc", "itm", "itg")},
            "tower": lambda: self.tower(self.pixels),
            "multiply": self.multiply,
        }

    def alone(self, name: str) -> Step:
        """Forward and backward of one loss by itself; what others would share with it is not there to be shared."""
        model, batch = self.objective.model, self.batch
        text = batch.text.cut(int(batch.text.longest))

        def itc() -> Tensor:
            images = model.embed_image(model.encode_image(model.look(batch.features)))
            return (images[:, :, None] * model.embed_text(model.encode_text(text))[:, None, None]).sum()

        def itm() -> Tensor:
            seen, rows = model.look(batch.features), torch.arange(len(batch.features), device=self.device).repeat(3)
            return model.match(seen.pick(rows), Text(text.ids[rows], text.real[rows])).sum()

        def itg() -> Tensor:
            return model.caption(model.look(batch.features), text)[1].float().logsumexp(-1).sum()

        def step() -> None:
            with self.autocast():
                loss = {"itc": itc, "itm": itm, "itg": itg}[name]()
            loss.backward()  # type: ignore[no-untyped-call]

        return step


def memory(device: torch.device) -> float:
    """Peak GB of this process, both sides and the tower included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) * 1024 / 1e9


def main() -> None:
    """Print the times and what follows from them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    bench = Bench(args)
    weights = sum(value.numel() for value in bench.objective.parameters()) / 1e6
    print(f"{args.size}, {args.dtype}, {args.device}, batch {args.batch}, {weights:.1f} M weights trained")
    steps = bench.steps()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(args.repeats + 1):
        for name, step in steps.items():
            took = seconds(step, bench.device)
            if repeat:  # the first is for warming up
                times[name].append(took)
    median = {name: statistics.median(found) for name, found in times.items()}
    rate = sum(2 * x.numel() * weight.shape[0] for x, weight in bench.factors) / median["multiply"]
    floor = flop(bench.size, bench.batch) / rate
    for name in ("plain", "capfilt"):
        print(f"{name:8} {median[name]:8.3f} s a step, {median[name] / floor:5.2f} x floor")
    print(f"ratio    {median['capfilt'] / median['plain']:8.3f} (capfilt / plain)")
    print("alone    " + ", ".join(f"{name} {median[name]:.3f} s" for name in ("itc", "itm", "itg")))
    gain = (median["capfilt"] + median["tower"]) / median["capfilt"]
    print(f"tower    {median['tower']:8.3f} s a batch: kept features make a step {gain:.2f} times as fast")
    print(f"rate     {rate / 1e9:8.1f} GFLOP/s in products of its shapes; peak memory {memory(bench.device):.2f} GB")


if __name__ == "__main__":
    main()
