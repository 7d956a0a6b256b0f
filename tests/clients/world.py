"""What the readers are given: a small corpus as tars and as a list, a small model as a folder and as a .pth."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

from stages.export import lavis
from stages.export.job import TrainedModel
from stages.export.lavis_tower import sizes_of
from stages.export.trained import load_tower
from stages.models.qformer.model import QFormer, QFormerConfig, load_qformer
from stages.models.qformer.tokens import Tokens
from stages.models.vision.tower import View, VisionTower
from tests.stages import small_models, small_towers

ROOT = Path(__file__).parents[2]
TEXTS = ["a red circle", "two small blue squares on a cat", "dog", "the large green square with a dog at one cat"]
"""What ITC and ITM are compared on; the last is longer than the Q-Former reads."""
TOKENS = 12
WIDTH, LAYERS, HEADS, QUERIES = 32, 3, 4, 8
PROJECTION = 256
"""LAVIS's own, which it has no setting for."""


def make(folder: Path) -> Path:
    """Run capfilt on a few pictures, export what came of it in every format, and say what the model computes."""
    folder.mkdir(parents=True, exist_ok=True)
    _bert(folder / "bert-base-uncased")
    for name, save in (("captioner", small_models.save_captioner), ("filter", small_models.save_itm)):
        if not (folder / name).exists():
            save(folder / name)
    if not (folder / "tower").exists():
        small_models.save_clip(folder / "tower", quick_gelu=True)
    for number in range(2):
        _tar(folder / "pictures", number)
    (folder / "m.yaml").write_text(yaml.safe_dump(_manifest(folder), sort_keys=False))
    _capfilt(folder, "run", "m.yaml", "--executor", "local")
    for to, place in (("webdataset", "tars"), ("json", "list.json"), ("hf", "hf"), ("lavis", "clip_L.pth")):
        _capfilt(folder, "export", "m.yaml", place, "--to", to)
    _expect(folder)
    return folder


def _manifest(folder: Path) -> dict[str, Any]:
    source = {"format": "webdataset", "path": str(folder / "pictures"), "keep": ["LICENSE", "similarity"]}
    return {
        "output": str(folder / "out"),
        "sources": {"web": source},
        "caption": {"model": str(folder / "captioner"), "candidates": 3},
        "rank": {"model": str(folder / "tower")},
        "filter": {"model": str(folder / "filter")},
        "select": {"itm_threshold": None},
        "pretrain": {
            "model": str(folder / "tower"),
            "tokenizer": str(folder / "bert-base-uncased"),
            "queries": QUERIES,
            "width": WIDTH,
            "layers": LAYERS,
            "heads": HEADS,
            "projection": PROJECTION,
            "max_text_tokens": TOKENS,
            "steps": 3,
            "batch_size": 8,
            "warmup": 0,
            "holdout": 0.0,
            "lr": 0.01,
        },
    }


def _capfilt(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "pipeline.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"capfilt {' '.join(arguments)}: {done.stdout}{done.stderr}")


def _bert(folder: Path) -> None:
    """What LAVIS asks the hub for: a configuration, a vocabulary and weights, in the form of that time."""
    words = [word for word in small_models.VOCABULARY if word != "[DEC]"]
    folder.mkdir(exist_ok=True)
    BertTokenizer(vocab={word: number for number, word in enumerate(words)}).save_pretrained(str(folder))
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
    )
    torch.save(BertForMaskedLM(config).state_dict(), folder / "pytorch_model.bin")
    config.save_pretrained(folder)


def _tar(folder: Path, number: int) -> None:
    """Pictures with texts as img2dataset leaves them; some have no license, some no score."""
    folder.mkdir(exist_ok=True)
    drawn = np.random.default_rng(number)
    with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
        for index in range(12):
            picture = io.BytesIO()
            Image.fromarray(drawn.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(picture, "jpeg")
            key = f"{number:05d}{index:04d}"
            said = {"url": f"http://x/{key}", "caption": f"a red dog {index}", "key": key}
            said |= {"LICENSE": "?" if index % 3 else None, "similarity": 0.25 if index % 4 else None}
            for ending, content in (("jpg", picture.getvalue()), ("json", json.dumps(said).encode())):
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _expect(folder: Path) -> None:
    """Write what the readers are to find: ITC and ITM of both towers of LAVIS, on the same pixels and texts."""
    (weights,) = folder.glob("out/pretrain/*/*.checkpoint/model.safetensors")
    tokenizer = str(folder / "bert-base-uncased")
    trained = TrainedModel(str(weights), str(folder / "tower"), None, None, tokenizer, None)
    found = {"clip_L": _scores(load_qformer(weights), *load_tower(trained), tokenizer)}
    tower = VisionTower(small_towers.drawn(small_towers.eva(patch_size=7)), torch.float32)
    view = View(lambda image: torch.zeros(0), (small_towers.SIZE, small_towers.SIZE), (0.5,) * 3, (0.5,) * 3)
    qformer = _drawn(load_qformer(weights).config)
    torch.save(
        {"model": lavis.whole_state(qformer.state_dict(), lavis.convert(tower, view, "eva")[1])},
        folder / "eva_clip_g.pth",
    )
    found["eva_clip_g"] = _scores(qformer, tower, view, tokenizer)
    torch.save({"texts": TEXTS, "towers": found}, folder / "expected.pt")


def _drawn(config: QFormerConfig) -> QFormer:
    """A Q-Former with every number drawn."""
    torch.manual_seed(1)
    model = QFormer(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


@torch.no_grad()
def _scores(model: QFormer, tower: VisionTower, view: View, tokenizer: str) -> dict[str, Any]:
    pixels = torch.randn(len(TEXTS), 3, *view.size, generator=torch.Generator().manual_seed(2))
    pixels[0] = -1.0
    features, text = tower(pixels), Tokens(tokenizer, None, model.config.max_text_tokens)(TEXTS)
    seen = model.look(features)
    cosines: Tensor = model.embed_image(model.encode_image(seen)) @ model.embed_text(model.encode_text(text)).T
    return {
        "pixels": pixels,
        "itm": model.match(seen, text),
        "itc": cosines.amax(dim=1).diagonal(),
        "sizes": asdict(sizes_of(tower.visual, tower.penultimate + 1)),
        "settings": {
            "image_size": view.size[0],
            "num_query_token": model.config.queries,
            "cross_attention_freq": model.config.image_every,
            "max_txt_len": model.config.max_text_tokens,
        },
    }
