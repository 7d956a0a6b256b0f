"""BLIP's pretraining step against the plain one on transformers' BLIP modules.

    python tests/benchmarks/med.py [--size tiny|base|large] [--dtype float32|bfloat16] [--device cpu|cuda]
                                   [--batch 4] [--repeats 3] [--steps 1] [--frozen]
    python tests/benchmarks/med.py --memory base|large

Both sides have random weights of the same sizes, the same images and the same captions; a step is forward, backward and
AdamW. They take turns, each turn in a process of its own: that builds one side, does one step to warm up and `--steps`
that count, so that a side's peak memory is its own. On a CPU seconds are those of the clock, and beside them those that
its threads computed, which another program on the same cores changes less.

The floor is the multiply-adds of all passes over real tokens, each counted once, and thrice where it is trained, at the
rate that this machine multiplies matrices of the image tower's and the text stacks' shapes, measured in the same turn.
`alone` is forward and backward of a part by itself on given features, so that what parts share is counted in each;
`images` is the tower with its slow copy. With `--frozen` the tower is not trained; kept features save `images` whole.
`--memory` prints what a worker holds; see `med_memory.py`.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from med_floor import products, text_flop, vision_flop
from med_plain import Plain
from med_sizes import SIZES, make_pairs
from torch import Tensor, nn

from stages.models.blip.trainable.matching import Negatives, Pool, Sighted, match_pairs
from stages.models.blip.trainable.pretraining import Pretraining, PretrainingBatch
from stages.models.blip.trainable.reading import Look

ALPHA = 0.4
SIDES = ("plain", "capfilt")
Step = Callable[[], object]
Took = tuple[float, float]
"""Seconds of the clock, and seconds that this process computed."""


class Bench:
    """What one process measures."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(0)
        torch.set_flush_denormal(True)
        self.config, self.frozen, self.steps = SIZES[args.size], args.frozen, args.steps
        self.device, self.dtype = torch.device(args.device), getattr(torch, args.dtype)
        self.pairs = make_pairs(self.config, args.batch, self.device)

    def autocast(self) -> Any:
        """Half precision where it is asked for."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def took(self, work: Step) -> Took:
        """One call, until the device has finished."""
        started, computed = time.perf_counter(), time.process_time()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started, time.process_time() - computed

    def peak(self) -> float:
        """GB of this process until now: of the GPU, or else of the whole process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 1e9
        told = Path("/proc/self/status").read_text(encoding="ascii")
        return int(re.findall(r"VmHWM:\s+(\d+) kB", told)[0]) * 1024 / 1e9

    def measure(self, side: str) -> dict[str, Any]:
        """A turn of one side."""
        model, loss = getattr(self, side)()
        step = self.stepper(model, loss, fused=side == "capfilt")
        step()
        steps = [self.took(step) for _ in range(self.steps)]
        trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
        measured = {"steps": steps, "peak": self.peak(), "trained": trained}
        return measured | (self.parts(model) if isinstance(model, Pretraining) else {})

    def plain(self) -> tuple[nn.Module, Callable[[], Tensor]]:
        """The plain side."""
        model = Plain(self.config).to(self.device).train()
        model.visual.requires_grad_(not self.frozen)
        ids, mask = self.pairs.padded
        return model, lambda: model(self.pairs.images, ids, mask, ALPHA)

    def capfilt(self) -> tuple[nn.Module, Callable[[], Tensor]]:
        """This project's."""
        model = Pretraining(self.config).to(self.device).train()
        model.visual_encoder.requires_grad_(not self.frozen)
        texts = self.pairs.texts
        uniforms = torch.rand(2, len(self.pairs.images), dtype=torch.float64).to(self.device)

        def loss() -> Tensor:
            images = model.see(self.pairs.images) if self.frozen else self.pairs.images
            found: Tensor = model(PretrainingBatch(images, texts, uniforms, ALPHA)).loss
            return found

        return model, loss

    def stepper(self, model: nn.Module, loss: Callable[[], Tensor], *, fused: bool) -> Step:
        """A whole step; the stages' AdamW moves weights in one pass, which is not torch's default."""
        trained = [value for value in model.parameters() if value.requires_grad]
        optimiser = torch.optim.AdamW(trained, lr=1e-5, fused=fused or None)

        def step() -> None:
            optimiser.zero_grad()
            with self.autocast():
                found = loss()
            found.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

        return step

    def parts(self, model: Pretraining) -> dict[str, Any]:
        """Seconds of each part, and of the floor."""
        lengths = [len(tokens) for tokens in self.pairs.captions]
        vision, text = self.config.vision, self.config.text
        shapes = {
            "images": (vision.width, vision.feed_forward, len(lengths) * (vision.patches + 1)),
            "texts": (text.width, text.feed_forward, 3 * sum(lengths)),
        }
        rates = {}
        for name, shape in shapes.items():
            flop, multiply = products(shape, torch.empty(0, device=self.device, dtype=self.dtype))
            multiply()
            took = [self.took(multiply) for _ in range(5)]
            rates[name] = [flop / statistics.median(found) for found in zip(*took, strict=True)]
        works = {
            "images": vision_flop(self.config, len(lengths), frozen=self.frozen),
            "texts": text_flop(self.config, lengths, frozen=self.frozen),
        }
        floor = [sum(works[name] / rates[name][clock] for name in works) for clock in range(2)]
        alone = {name: self.took(lambda loss=loss: self.alone(loss)) for name, loss in self.losses(model).items()}
        return {"floor": floor, "rates": rates, "alone": alone}

    def alone(self, loss: Callable[[], Tensor]) -> None:
        """Forward and, where anything is trained, backward."""
        with self.autocast():
            found = loss()
        if found.requires_grad:
            found.backward()  # type: ignore[no-untyped-call]

    def losses(self, model: Pretraining) -> dict[str, Callable[[], Tensor]]:
        """Each part by itself, on given features."""
        texts, images, device = self.pairs.texts, self.pairs.images, self.device
        number = len(images)
        with torch.no_grad(), self.autocast():
            features = model.see(images)
        features = features.detach().requires_grad_(not self.frozen)
        hard = torch.eye(number, number + self.config.queue, device=device)
        other, there = torch.arange(number, device=device).roll(1), torch.ones(number, device=device).bool()

        def tower() -> Tensor:
            seen = model.see(images)
            if not self.frozen:
                with torch.no_grad():
                    model.visual_encoder_m.first(images)
            return seen.float().sum()

        def itm() -> Tensor:
            seen, pool = model.text_encoder.look(features), Pool(texts.begin_with(model.look), 0)
            sighted = Sighted(seen, seen.pick(other))
            drawn = Negatives(other, there, other, there)
            return match_pairs(model.text_encoder, model.itm_head, pool, drawn, sighted).loss

        def lm() -> Tensor:
            look = Look(model.text_decoder.bert.look(features), [1] * number)
            found: Tensor = model.text_decoder(texts, [look]).mean
            return found

        return {
            "images": tower,
            "itc": lambda: model.compare(features, texts, hard, ALPHA).loss,
            "itm": itm,
            "lm": lm,
        }


def turn(side: str) -> dict[str, Any]:
    """One turn of one side, in a process of its own."""
    command = [sys.executable, *sys.argv, "--side", side]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def show(turns: dict[str, list[dict[str, Any]]], *, on_cpu: bool) -> None:
    """Print medians and what follows from them."""
    ours = turns["capfilt"]

    def median(found: list[Took], clock: int) -> float:
        return statistics.median(took[clock] for took in found)

    steps = {side: [took for found in turns[side] for took in found["steps"]] for side in SIDES}
    for clock, name in enumerate(("clock", "computed") if on_cpu else ("clock",)):
        floor = median([found["floor"] for found in ours], clock)
        print(f"by the {name}" if name == "clock" else name)
        for side in SIDES:
            took = median(steps[side], clock)
            peak = max(found["peak"] for found in turns[side])
            print(f"  {side:8} {took:8.3f} s a step, {took / floor:5.2f} x floor, peak memory {peak:.2f} GB")
        print(f"  ratio    {median(steps['capfilt'], clock) / median(steps['plain'], clock):8.3f} (capfilt / plain)")
        alone = {part: median([found["alone"][part] for found in ours], clock) for part in ours[0]["alone"]}
        print("  alone    " + ", ".join(f"{part} {took:.3f} s" for part, took in alone.items()))
        rates = {kind: median([found["rates"][kind] for found in ours], clock) / 1e9 for kind in ours[0]["rates"]}
        print("  rate     " + ", ".join(f"{rate:.1f} GFLOP/s ({kind})" for kind, rate in rates.items()))


def main() -> None:
    """Print the times, or what a worker holds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3, help="turns of each side")
    parser.add_argument("--steps", type=int, default=1, help="of a turn, beside one for warming up")
    parser.add_argument("--frozen", action="store_true", help="do not train the image tower")
    parser.add_argument("--memory", choices=SIZES, help="print the memory of a worker, and no times")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        from med_memory import print_table

        print_table(args.memory)
    elif args.side:
        print(json.dumps(Bench(args).measure(args.side)))
    else:
        turns: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for _ in range(args.repeats):
            for side in SIDES:
                turns[side].append(turn(side))
        weights, frozen = turns["capfilt"][0]["trained"] / 1e6, ", tower frozen" if args.frozen else ""
        print(f"{args.size}, {args.dtype}, {args.device}, batch {args.batch}{frozen}, {weights:.1f} M weights trained")
        show(turns, on_cpu=args.device == "cpu")


if __name__ == "__main__":
    main()
