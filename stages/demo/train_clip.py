"""The demo's ranker: an open_clip model, learnt by contrast.

Its image tower begins as the filter's: the two are the same network under different names (open_clip's patches have
no bias, so the filter's goes into their positions). Beside the other texts of the batch every picture has to tell
its text from wrong ones made for it, otherwise colours and shapes would be learnt, but not which belongs to which.
"""

import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import BlipForImageTextRetrieval

from stages.demo import learning, tokenizer
from stages.demo.language import is_right
from stages.demo.lessons import PIXELS, Book

HARD = 2
"""Wrong texts made for each picture."""

CONTEXT = 32


def config(vocabulary: int) -> dict[str, object]:
    """open_clip's description of the model; the tokenizer lies in the same folder."""
    layer = {"width": learning.WIDTH}
    vision = {
        **layer, "image_size": PIXELS, "patch_size": learning.PATCH, "layers": learning.VISION_LAYERS,
        "head_width": learning.WIDTH // learning.HEADS, "no_ln_pre": True,
    }  # fmt: skip
    text = {
        **layer, "context_length": CONTEXT, "vocab_size": vocabulary, "hf_tokenizer_name": "demo",
        "heads": learning.HEADS, "layers": learning.TEXT_LAYERS,
    }  # fmt: skip
    preprocess = {
        "mean": learning.MEAN, "std": learning.STD, "interpolation": "bicubic", "resize_mode": "squash",
    }  # fmt: skip
    return {
        "model_cfg": {"embed_dim": learning.WIDTH, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": preprocess,
    }


def write_config(folder: Path) -> None:
    """Everything but the weights."""
    words = tokenizer.build()
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath("open_clip_config.json").write_text(json.dumps(config(len(words)), indent=2) + "\n")
    tokenizer.save(words, folder)


def train(book: Book, folder: Path, *, itm: Path, steps: int, seed: int) -> None:
    """Learn from the book and write the checkpoint."""
    torch.manual_seed(seed)
    words = tokenizer.build()
    write_config(folder)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    begin_as(model, BlipForImageTextRetrieval.from_pretrained(str(itm)))
    wrong = [[text for text in lesson.wrong_texts if not is_right(text, lesson.scene)] for lesson in book.lessons]

    def loss_of(chosen: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        lessons = [book.lessons[number] for number in chosen]
        true = [str(rng.choice([*lesson.descriptions, *lesson.web_texts])) for lesson in lessons]
        false = [str(text) for number in chosen for text in rng.choice(wrong[number], HARD)]
        tokens = words(true + false, padding=True, truncation=True, max_length=CONTEXT, return_tensors="pt").input_ids
        tokens = functional.pad(tokens, (0, CONTEXT - tokens.shape[1]), value=tokenizer.PAD)
        seen = model.encode_image(learning.normalised(book.pixels[chosen]), normalize=True).float()
        said = model.encode_text(tokens, normalize=True).float()
        logits = model.logit_scale.exp().clamp(max=100) * seen @ said.T
        target = torch.arange(len(chosen))
        own = logits[:, len(chosen) :].view(len(chosen), len(chosen), HARD)[target, target]
        contest = torch.cat([logits.diagonal()[:, None], own], 1)
        return (
            functional.cross_entropy(logits, target)
            + functional.cross_entropy(logits[:, : len(chosen)].T, target)
            + functional.cross_entropy(contest, torch.zeros_like(target))
        )

    learning.learn(model.parameters(), loss_of, book, learning.Course(steps, batch=64, rate=6e-4, seed=seed))
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


NAMES = {
    "encoder.layers.": "transformer.resblocks.",
    "self_attn.qkv.": "attn.in_proj_",
    "self_attn.projection": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "post_layernorm": "ln_post",
    "embeddings.class_embedding": "class_embedding",
    "embeddings.position_embedding": "positional_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
}
"""What BLIP's image tower calls its parts, and what open_clip calls them."""


def begin_as(model: open_clip.CLIP, itm: BlipForImageTextRetrieval) -> None:
    """Copy the filter's image tower under open_clip's names."""
    values: dict[str, Tensor] = dict(itm.vision_model.state_dict())
    bias = values.pop("embeddings.patch_embedding.bias")
    values["embeddings.class_embedding"] = values["embeddings.class_embedding"][0, 0]
    positions = values["embeddings.position_embedding"][0]
    values["embeddings.position_embedding"] = torch.cat([positions[:1], positions[1:] + bias])
    for theirs, ours in NAMES.items():
        values = {name.replace(theirs, ours): value for name, value in values.items()}
    left = model.visual.load_state_dict(values, strict=False)
    assert left.missing_keys == ["proj"]
    assert not left.unexpected_keys
