"""Captioner, ranker and filter against the straightforward script on transformers and open_clip.

    python tests/benchmarks/compute.py [--size tiny|base|large] [--dtype float32|bfloat16] [--device cpu|cuda]
                                       [--images 4] [--repeats 3]

Both sides have the same random weights at the published sizes, the same pixels, the same texts and the same number
format, and take turns. The captioner's end token is biased so that captions have a realistic length (about a dozen
tokens), and its last norm is scaled so that some dozens of tokens make up a nucleus. `base` and `large` are BLIP's;
CLIP is ViT-L/14 beside both. The floor of a stage is its multiply-adds, each counted once, at the rate that this
machine multiplies matrices of the stage's own shapes, measured in the same run. Peak memory is that of a process per
stage at the default batch size, with the loading of the model; it ends with code 1 if that is above the bound. On a
GPU, `busy` is the share of the time in which it computes.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import open_clip
import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.profiler import ProfilerActivity, profile
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    BlipImageProcessor,
)

from stages.contract import ModelRunOptions
from stages.models.blip.captioner import Captioner
from stages.models.blip.checkpoint import Blip
from stages.models.blip.decoding import Prompt
from stages.models.blip.itm import ItmScorer
from stages.models.blip.sampling import Sampling
from stages.models.clip.loading import encoders
from stages.models.embedding import EmbeddingScorer
from stages.models.randomness import uniform_grid

STAGES = ("caption", "rank", "filter")
CANDIDATES, LONGEST, SHORTEST = 10, 20, 5
DEC, ENC, END = 30522, 30523, 102
VOCABULARY = 30524
SPREAD = 5.5
"""Standard deviation of the captioner's logits: some dozens of tokens then hold nine tenths of the probability."""

MOST_MEMORY = {("base", "cpu"): 4.0, ("large", "cuda"): 24.0}
"""GB that a stage may take at the default batch size."""


@dataclass(frozen=True)
class Size:
    """Image size in pixels, width and depth of BLIP's image tower and text transformer, and CLIP's name."""

    pixels: int
    vision: int
    layers: int
    text: int
    text_layers: int
    clip: str


SIZES = {
    "tiny": Size(64, 96, 2, 96, 2, "ViT-S-32-alt"),
    "base": Size(384, 768, 12, 768, 12, "ViT-L-14-quickgelu"),
    "large": Size(384, 1024, 24, 768, 12, "ViT-L-14-quickgelu"),
}


@dataclass(frozen=True)
class Bench:
    """One stage: two ways to work the same images, and what it must at least compute."""

    plain: Callable[[], None]
    ours: Callable[[], None]
    flop: Callable[[], float]
    """Floating point operations for all images; known once `ours` has run."""
    shape: tuple[int, int]
    """(rows, width) of the image tower, whose linear layers set the pace."""


def blip_config(size: Size) -> BlipConfig:
    """The published configuration at a size."""
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": size.text,
        "encoder_hidden_size": size.vision,
        "intermediate_size": 4 * size.text,
        "num_hidden_layers": size.text_layers,
        "num_attention_heads": 12,
        "bos_token_id": DEC,
        "sep_token_id": END,
    }
    vision = {
        "hidden_size": size.vision,
        "intermediate_size": 4 * size.vision,
        "num_hidden_layers": size.layers,
        "num_attention_heads": max(4, size.vision // 64),
        "image_size": size.pixels,
    }
    return BlipConfig(text_config=text, vision_config=vision)


def make_tokenizer(folder: str) -> tuple[BertTokenizer, list[str]]:
    """A WordPiece tokenizer of the published size, and words that are one token to it and one to CLIP."""
    known = open_clip.SimpleTokenizer().encoder
    words = [word.removesuffix("</w>") for word in known if re.fullmatch(r"[a-z]{3,}</w>", word)]
    first = ["[PAD]", *(f"[unused{number}]" for number in range(1, 100)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    listed = [*first, *words]
    listed += [f"filler{number}" for number in range(VOCABULARY - len(listed))]
    path = Path(folder) / "vocab.txt"
    path.write_text("\n".join(listed[:VOCABULARY]))
    return BertTokenizer(vocab=str(path)), words[:5000]


def vit_flop(tokens: int, width: int, layers: int) -> float:
    """Of one image through a tower: the linear layers, and both products of attention."""
    return layers * (2 * tokens * 12 * width**2 + 4 * tokens**2 * width)


def med_flop(size: Size, tokens: float, images: int) -> float:
    """Of BLIP's text layers: per token, and the image's keys and values once per image."""
    patches = (size.pixels // 16) ** 2 + 1
    per_token = 2 * 14 * size.text**2 + 4 * patches * size.text
    keys = 2 * patches * size.vision * 2 * size.text
    return size.text_layers * (tokens * per_token + images * keys)


class Models:
    """Random weights at one size, and everything that both sides are given."""

    def __init__(self, args: argparse.Namespace, folder: str) -> None:
        torch.manual_seed(0)
        self.size, self.images = SIZES[args.size], args.images
        self.device, self.dtype = torch.device(args.device), getattr(torch, args.dtype)
        self.tokenizer, words = make_tokenizer(folder)
        self.processor = BlipImageProcessor(size={"height": self.size.pixels, "width": self.size.pixels})
        random = np.random.default_rng(0)
        self.texts = [
            [" ".join(random.choice(words, random.integers(5, 16))) for _ in range(CANDIDATES + 1)]
            for _ in range(self.images)
        ]
        self.pixels = torch.randn(self.images, 3, self.size.pixels, self.size.pixels)
        self.prompt = [DEC, *self.tokenizer.convert_tokens_to_ids(words[:3])]
        self.patches = (self.size.pixels // 16) ** 2 + 1

    def place(self, model: nn.Module) -> Any:
        """The model, ready to compute."""
        return model.to(self.device, self.dtype).eval()

    def caption(self) -> Bench:
        """Ten captions an image."""
        model = BlipForConditionalGeneration(blip_config(self.size))
        head = model.text_decoder.cls.predictions
        with torch.no_grad():
            head.transform.LayerNorm.weight.fill_(SPREAD / (0.02 * self.size.text**0.5))
            head.decoder.weight[END] = 0.0
            embeds = model.vision_model(self.pixels[:1]).last_hidden_state
            logits = model.text_decoder(torch.tensor([self.prompt]), encoder_hidden_states=embeds).logits[0, -1]
            head.decoder.bias[END] = logits.logsumexp(-1) + np.log(0.1)  # one in ten ends at every step
        model = self.place(model)
        ours = Captioner(
            Blip(model, self.tokenizer, self.processor),
            Prompt(self.prompt, end=END, pad=0),
            Sampling(0.9, None, 1.0, 1.0, LONGEST, SHORTEST),
        )
        uniforms = uniform_grid(0, [str(image) for image in range(self.images)], CANDIDATES, LONGEST)
        ids = torch.tensor([[*self.prompt, END]] * self.images, device=self.device)
        read = [0]

        @torch.inference_mode()
        def plain() -> None:
            pixels = self.pixels.to(self.device, self.dtype)
            model.generate(
                pixels,
                input_ids=ids.clone(),
                do_sample=True,
                top_p=0.9,
                num_return_sequences=CANDIDATES,
                max_new_tokens=LONGEST,
                min_new_tokens=SHORTEST,
            )

        def run() -> None:
            captions = ours.caption(self.pixels, uniforms)
            lengths = (len(caption.text.split()) for found in captions for caption in found)
            read[0] = sum(min(length, LONGEST - 1) for length in lengths)  # the last token that is drawn is not read

        def flop() -> float:
            tokens = read[0] + self.images * len(self.prompt)
            head = 2 * (read[0] + self.images) * self.size.text * (VOCABULARY + self.size.text)
            return self.images * self.vision_flop() + med_flop(self.size, tokens, self.images) + head

        return Bench(plain, run, flop, (self.images * self.patches, self.size.vision))

    def vision_flop(self) -> float:
        """Of one image through BLIP's image tower."""
        return vit_flop(self.patches, self.size.vision, self.size.layers)

    def rank(self) -> Bench:
        """Eleven cosines an image."""
        model = self.place(open_clip.create_model(self.size.clip))
        tokenize = open_clip.get_tokenizer(self.size.clip)
        ours = EmbeddingScorer(encoders(model, lambda image: image, tokenize, self.dtype, self.device))
        side = model.visual.image_size[0]
        pixels = torch.randn(self.images, 3, side, side)
        flat = [text for of_image in self.texts for text in of_image]

        @torch.inference_mode()
        def plain() -> None:
            images = model.encode_image(pixels.to(self.device, self.dtype), normalize=True)
            sentences = model.encode_text(tokenize(flat).to(self.device), normalize=True)
            (images[:, None] * sentences.unflatten(0, (self.images, -1))).sum(-1).tolist()

        def flop() -> float:
            visual, text = model.visual, model.transformer
            patches = visual.positional_embedding.shape[0]
            image = vit_flop(patches, visual.conv1.out_channels, len(visual.transformer.resblocks))
            lengths = (tokenize(flat) != 0).sum(1).tolist()
            return self.images * image + sum(vit_flop(length, text.width, text.layers) for length in lengths)

        width, tokens = model.visual.conv1.out_channels, model.visual.positional_embedding.shape[0]
        return Bench(plain, lambda: keep(ours.score(pixels, self.texts)), flop, (self.images * tokens, width))

    def filter(self) -> Bench:
        """Eleven matching scores an image."""
        model = self.place(BlipForImageTextRetrieval(blip_config(self.size)))
        ours = ItmScorer(Blip(model, self.tokenizer, self.processor), ENC)
        flat = [text for of_image in self.texts for text in of_image]

        @torch.inference_mode()
        def plain() -> None:
            embeds = model.vision_model(self.pixels.to(self.device, self.dtype)).last_hidden_state
            tokens = self.tokenizer(flat, padding="longest", truncation=True, max_length=35, return_tensors="pt")
            ids = tokens["input_ids"].to(self.device)
            ids[:, 0] = ENC
            hidden = model.text_encoder(
                ids,
                attention_mask=tokens["attention_mask"].to(self.device),
                encoder_hidden_states=embeds.repeat_interleave(CANDIDATES + 1, dim=0),
            ).last_hidden_state
            model.itm_head(hidden[:, 0]).softmax(-1)[:, 1].tolist()

        def flop() -> float:
            tokens = sum(len(text.split()) + 2 for text in flat)
            return self.images * self.vision_flop() + med_flop(self.size, tokens, self.images)

        shape = (self.images * self.patches, self.size.vision)
        return Bench(plain, lambda: keep(ours.score(self.pixels, self.texts)), flop, shape)


def keep(result: object) -> None:
    """Take a result and let it go."""
    del result


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of one call, until the device has finished."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


@torch.inference_mode()
def rate(shape: tuple[int, int], models: Models) -> tuple[float, Callable[[], float]]:
    """Operations of a block's four linear layers, and a measurement of the seconds they take."""
    rows, width = shape
    pairs: list[tuple[Tensor, ...]] = []
    for inputs, outputs in ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)):
        made = (torch.randn(*size) for size in ((rows, inputs), (outputs, inputs), (outputs,)))
        pairs.append(tuple(tensor.to(models.device, models.dtype) for tensor in made))
    flop = sum(2 * rows * weight.numel() for _, weight, _ in pairs)

    @torch.inference_mode()
    def multiply() -> None:
        for x, weight, bias in pairs:
            linear(x, weight, bias)

    multiply()
    return flop, lambda: seconds(multiply, models.device)


def busy(work: Callable[[], object], device: torch.device) -> str:
    """The share of a call's time in which the GPU computes; nothing on a CPU."""
    if device.type != "cuda":
        return ""
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        elapsed = seconds(work, device)
    return f"{sum(event.self_device_time_total for event in recorded.key_averages()) / 1e6 / elapsed:.2f}"


def measure(stage: str, models: Models, repeats: int) -> tuple[tuple[float, float, float], str]:
    """Median seconds of the plain script, of capfilt, and of the floor; and how busy capfilt keeps a GPU."""
    bench: Bench = getattr(models, stage)()
    flop, multiply = rate(bench.shape, models)
    bench.ours()
    times: dict[str, list[float]] = {"plain": [], "ours": [], "multiply": []}
    for _ in range(repeats):
        times["multiply"].append(multiply())
        times["ours"].append(seconds(bench.ours, models.device))
        times["multiply"].append(multiply())
        times["plain"].append(seconds(bench.plain, models.device))
    plain, ours, unit = (statistics.median(times[name]) for name in ("plain", "ours", "multiply"))
    return (plain, ours, bench.flop() * unit / flop), busy(bench.ours, models.device)


def print_peak(stage: str, models: Models) -> None:
    """Work a stage once in this process, and print the most memory that took, in GB."""
    bench: Bench = getattr(models, stage)()
    bench.ours()
    if models.device.type == "cuda":
        print(torch.cuda.max_memory_allocated() / 1e9)
    else:
        status = Path("/proc/self/status").read_text()  # getrusage would begin at the parent's memory
        print(int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024 / 1e9)


def peak(stage: str, args: argparse.Namespace) -> float:
    """GB of a process that works a batch of the default size, with the model's loading."""
    options = [f"--{name}={getattr(args, name)}" for name in ("size", "dtype", "device")]
    command = [sys.executable, __file__, *options, f"--images={ModelRunOptions().batch_size}", f"--peak={stage}"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    """Print a row per stage and one in total."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="bfloat16")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak", choices=STAGES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        models = Models(args, folder)
        if args.peak:
            print_peak(args.peak, models)
            return
        where = torch.cuda.get_device_name() if models.device.type == "cuda" else f"{torch.get_num_threads()} threads"
        print(f"{args.size}, {args.dtype}, {args.device} ({where}), {args.images} images, {args.repeats} repeats")
        titles = ("plain s", "capfilt s", "images/s", "ratio", "plain/floor", "/floor", "peak GB", "busy")
        print(" " * 8 + "".join(f"{title:>12}" for title in titles))
        total, most = [0.0, 0.0, 0.0], 0.0
        for stage in STAGES:
            found, share = measure(stage, models, args.repeats)
            total = [one + other for one, other in zip(total, found, strict=True)]
            memory = peak(stage, args)
            most = max(most, memory)
            print_row(stage, *found, args.images, f"{memory:.2f}", share)
        print_row("total", *total, args.images)
    bound = MOST_MEMORY.get((args.size, args.device), float("inf"))
    if most > bound:
        sys.exit(f"a stage takes {most:.2f} GB; the bound is {bound:.0f} GB")


def print_row(
    name: str, plain: float, ours: float, floor: float, images: int, memory: str = "", share: str = ""
) -> None:
    """One line of the table."""
    numbers = (plain, ours, images / ours, plain / ours, plain / floor, ours / floor)
    print(f"{name:8}" + "".join(f"{number:12.3f}" for number in numbers) + f"{memory:>12}{share:>12}", flush=True)


if __name__ == "__main__":
    main()
