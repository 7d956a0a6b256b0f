"""What moves the Q-Former's weights, and what weight decay leaves alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from stages.pretrain.spec import PretrainRecipe

EXEMPT = ("queries", "temperature")
"""Parameters that are not decayed whatever their shape: decay alone would halve the temperature in a long training."""


def make_optimiser(model: nn.Module, recipe: PretrainRecipe) -> torch.optim.AdamW:
    """AdamW that decays matrices and tables, and nothing else."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[parameter.ndim >= 2 and name not in EXEMPT].append(parameter)
    options: list[dict[str, Any]] = [
        {"params": groups[True], "weight_decay": recipe.weight_decay},
        {"params": groups[False], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(options, lr=recipe.lr, betas=recipe.betas)
