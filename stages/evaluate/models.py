"""The pretrained Q-Former, and the CLIP under it: everything that is compared, on one device."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import torch

from stages.contract import QFormerRecipe, Result
from stages.evaluate.spec import EvaluateRun
from stages.models.clip import ClipScorer
from stages.models.clip_loading import ClipName, load_clip
from stages.models.device import limit_threads, resolve_device
from stages.models.qformer import QFormer, load_qformer
from stages.models.tokens import Tokens
from stages.models.vision_tower import View, VisionTower, load_vision_tower


@dataclass(frozen=True)
class Models:
    """What is measured, in evaluation mode."""

    qformer: QFormer
    tower: VisionTower
    view: View
    tokens: Tokens
    clip: ClipScorer
    """The whole CLIP whose image tower is `tower`."""
    device: torch.device
    dtype: str
    """What the tower computes in; the Q-Former computes as it did in its training."""

    def autocast(self) -> Any:
        """The Q-Former's number formats, as in `pretrain`."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.dtype == "bfloat16" else nullcontext()


def load_models(pretrained: Result, run: EvaluateRun, scratch: Path) -> Models:
    """Load what `pretrain` left, and what it was made with.

    Raises:
        UserError: a model is missing.
    """
    recipe = pretrained.recipe
    assert isinstance(recipe, QFormerRecipe)
    limit_threads(run.threads)
    device = resolve_device(run.device, "evaluate.run.device")
    name = ClipName("pretrain.model", recipe.model, recipe.pretrained, recipe.revision)
    tower, view = load_vision_tower(name, recipe.dtype, device)
    tokens = Tokens(recipe.tokenizer, recipe.tokenizer_revision, recipe.max_text_tokens)
    clip = load_clip(name, recipe.dtype, device)
    return Models(_load_weights(pretrained, scratch).to(device), tower, view, tokens, clip, device, recipe.dtype)


def _load_weights(pretrained: Result, scratch: Path) -> QFormer:
    local = scratch / "qformer.safetensors"
    filesystem, path = fsspec.core.url_to_fs(pretrained.artifact.side("safetensors"))
    filesystem.get_file(path, str(local))
    return load_qformer(local)
