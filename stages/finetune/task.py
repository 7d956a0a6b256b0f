"""Fine-tuning as the training loop sees it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stages.finetune.build import Built
from stages.finetune.measure import caption_loss
from stages.finetune.spec import FinetuneRecipe
from stages.finetune.writing import cider
from stages.models.blip.trainable.both import BothBatch, CaptioningRetrieval
from stages.models.blip.trainable.captioning import Captioning, CaptioningBatch
from stages.models.blip.trainable.losses import alpha_at
from stages.models.blip.trainable.retrieval import Retrieval, RetrievalBatch
from stages.models.blip.trainable.texts import Texts
from stages.training.blip_task import BlipTask
from stages.training.feed import Drawn
from stages.training.holdout import HeldOut, retrieval
from stages.training.pairs import Pairs, negatives
from stages.training.place import Stretch
from stages.training.schedule import by_epoch_cosine
from stages.training.task import Row


class Prepared(NamedTuple):
    """A part as it lies on the CPU."""

    drawn: Drawn
    texts: Texts
    """As they are matched."""
    spoken: Texts
    """Behind the prompt."""
    ids: Tensor
    uniforms: Tensor


class FinetuneTask(BlipTask):
    """A BLIP for a task, its pairs and its losses; see `stages.training.task.Task`."""

    def __init__(
        self, recipe: FinetuneRecipe, built: Built, pairs: Pairs, held_out: HeldOut | None, device: torch.device
    ) -> None:
        super().__init__("finetune", recipe, built.model, pairs, device)
        self.evaluate_every: int | None = recipe.evaluate_every or self._epoch_steps
        self.measures = held_out is not None
        self.built = built
        self._held_out = held_out

    def rate(self, step: int) -> float:
        """Along a cosine, epoch by epoch."""
        recipe = self._recipe
        return by_epoch_cosine(
            step, lr=recipe.lr, min_lr=recipe.min_lr, epoch_steps=self._epoch_steps, steps=self.steps
        )

    def batches(self, stretch: Stretch) -> Generator[Any]:
        """A worker's parts of the steps."""
        return self._pairs.batches(stretch, self._complete, self._finish)

    def is_fed(self, batch: Any) -> Tensor:
        """Whether all features of a frozen tower are finite."""
        return super().is_fed(batch.pairs if isinstance(batch, BothBatch) else batch)

    def measure(self, step: int) -> Row:  # noqa: ARG002 - the same after every step
        """What the images that are kept back say of the model, and the `score` by which the best one is kept.

        That is mean recall where it compares, else CIDEr-D, or the loss of captions, negated.
        """
        model, held_out = self.built.model, self._held_out
        assert held_out is not None
        row: Row = {"images": len(held_out.captions)}
        if isinstance(model, Captioning | CaptioningRetrieval):
            row["lm"] = caption_loss(model, held_out, self._spoken, self.dtype, self._device)
            row["score"] = -row["lm"]
        if self._recipe.best_by == "cider":
            row["cider"] = cider(self.built, held_out, self._recipe.prompt, self.dtype, self._device)
            row["score"] = row["cider"]
        if isinstance(model, Retrieval):
            row |= retrieval(model, held_out, self.dtype, self._device)
            row["score"] = row["mean_recall"]
        return row

    def _spoken(self, captions: list[str]) -> Texts:
        return self.built.tokens([f"{self._recipe.prompt}{caption}" for caption in captions])

    def _complete(self, drawn: Drawn) -> Prepared:
        said = [self._pairs.feed.caption(turn.example, turn.epoch) for turn in drawn.turns]
        ids = torch.tensor([turn.example.identity for turn in drawn.turns])
        return Prepared(drawn, self.built.tokens(said), self._spoken(said), ids, negatives(self.seed, drawn))

    def _finish(self, prepared: Prepared) -> CaptioningBatch | RetrievalBatch | BothBatch:
        images, spoken = self._pairs.images(prepared.drawn), prepared.spoken.to(self._device)
        model = self.built.model
        if isinstance(model, Captioning):
            return CaptioningBatch(images, spoken)
        step = prepared.drawn.part.number // self.accumulate
        compared = RetrievalBatch(
            images,
            prepared.texts.to(self._device),
            prepared.ids.to(self._device),
            prepared.uniforms.to(self._device),
            alpha_at(step, self._epoch_steps),
        )
        return BothBatch(compared, spoken) if isinstance(model, CaptioningRetrieval) else compared
