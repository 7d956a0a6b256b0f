"""BLIP-2's first stage as the training loop sees it."""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stages.models.device import autocast
from stages.models.finite import NumberFormat
from stages.models.qformer.model import QFormer
from stages.pretrain.data import Data, Holdout
from stages.pretrain.objective import Batch, LossWeights, Objective
from stages.pretrain.optimiser import make_optimiser
from stages.pretrain.retrieval import compare
from stages.pretrain.spec import PretrainRecipe
from stages.training.place import Stretch
from stages.training.recall import chance, recall_at_1
from stages.training.schedule import cosine
from stages.training.task import Row

logger = logging.getLogger(__name__)


class QFormerTask:
    """A Q-Former, its data and its losses; see `stages.training.task.Task`."""

    def __init__(self, recipe: PretrainRecipe, model: QFormer, start: int, data: Data, device: torch.device) -> None:
        self.key = "pretrain"
        self.dtype = recipe.dtype
        self.seed = recipe.seed
        self.steps = recipe.steps
        self.batch_size = recipe.batch_size
        self.accumulate = recipe.accumulate
        self.evaluate_every = recipe.evaluate_every
        self.measures = data.measures
        self.model = model
        self.objective: nn.Module = Objective(model, start, LossWeights(recipe.itc, recipe.itm, recipe.itg))
        self._recipe = recipe
        self._data = data
        self._device = device
        self._holdout: Holdout | None = None

    def make_optimiser(self) -> Optimizer:
        """AdamW."""
        return make_optimiser(self.model, self._recipe)

    def rate(self, step: int) -> float:
        """Along a cosine."""
        recipe = self._recipe
        return cosine(step, lr=recipe.lr, min_lr=recipe.min_lr, warmup=recipe.warmup, steps=recipe.steps)

    def batches(self, stretch: Stretch) -> Generator[Batch]:
        """See `Data.batches`."""
        return self._data.batches(stretch)

    def is_fed(self, batch: Any) -> Tensor:
        """Whether all features are finite."""
        return batch.features.isfinite().all()  # type: ignore[no-any-return]

    def told(self, step: int) -> Row:
        """The epochs that the step's first image belongs to, and the temperature."""
        return {"epochs": self._data.epochs(step), "temperature": self.model.temperature.item()}

    def settle(self) -> None:
        """Keep the temperature within its bounds."""
        self.model.clamp_temperature()

    def measure(self, step: int) -> Row:
        """Retrieval among the images that are kept back, as far as the frozen tower's numbers for them are finite."""
        holdout = self._holdout = self._holdout or self._data.holdout()
        with autocast(self.dtype, self._device):
            similarity = compare(self.model, holdout.features, holdout.text)
        seen = similarity.isfinite().all(dim=1).nonzero()[:, 0]
        captions = [holdout.captions[number] for number in seen.tolist()]
        if lost := len(holdout.captions) - len(captions):
            error = NumberFormat("pretrain", self.dtype).error
            logger.warning("%d held-out images are left out: their features are %s", lost, error)
        recall = recall_at_1(similarity[seen][:, seen], captions)
        return {
            "epochs": self._data.epochs(step),
            "images": len(captions),
            "r1_image_to_text": recall.image_to_text,
            "r1_text_to_image": recall.text_to_image,
            "chance": chance(captions),
        }
