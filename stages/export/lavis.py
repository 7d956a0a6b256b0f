"""A trained Q-Former with its image tower as a checkpoint of LAVIS's `blip2` model."""

from __future__ import annotations

import torch

from stages.export.job import TrainedModel
from stages.export.trained import load_tower
from stages.files import whole_file
from stages.models.qformer import load_qformer
from stages.models.qformer_names import to_lavis
from stages.models.vision_names import computes_as_lavis
from stages.models.vision_names import to_lavis as tower_to_lavis


def export(trained: TrainedModel, destination: str) -> list[str]:
    """Write `{"model": state_dict}` under LAVIS's names, as its trainer does; there whole or not at all.

    LAVIS chooses the tower by its configuration (`vit_model: eva_clip_g` or `clip_L`), which must be the one here.

    Args:
        trained: what to export.
        destination: the file, a local path or an fsspec URL.

    Returns:
        What the user should know, a line each.

    Raises:
        UserError: a model is missing.
    """
    qformer, (tower, _) = load_qformer(trained.weights), load_tower(trained)
    frozen = tower_to_lavis(tower.visual, tower.penultimate + 1)
    state = to_lavis(qformer.state_dict()) | {f"visual_encoder.{name}": value for name, value in frozen.items()}
    with whole_file(destination) as path:
        torch.save({"model": state}, path)
    notes = [f"LAVIS's blip2 loads it: model.pretrained = '{destination}', load_pretrained = true"]
    if not computes_as_lavis(tower.visual):
        notes.append("LAVIS's clip_L computes QuickGELU, which this tower was not trained with: features would differ")
    return notes
