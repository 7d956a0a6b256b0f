"""One step's loss: what the language model says of the captions, given the soft prompts."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from stages.models.blip2.second_stage import SecondStage
from stages.models.device import in_full
from stages.models.language.model import IGNORED, LanguageModel, Read
from stages.training.gather import mean


class Batch(NamedTuple):
    """A worker's part of one step."""

    features: Tensor
    """(batch, image tokens, vision width), of the frozen tower."""
    read: Read


class Losses(NamedTuple):
    """What a step is judged by; a scalar."""

    loss: Tensor


class Objective(nn.Module):
    """The mean cross-entropy of all tokens of the batch, without label smoothing, as in LAVIS.

    The language model is no part of what this module holds: it is neither trained nor saved, it stays in evaluation
    mode, and what DDP exchanges does not have it. LAVIS leaves its dropout on.
    """

    def __init__(self, model: SecondStage, language: LanguageModel) -> None:
        super().__init__()
        self.model = model
        self._language = language

    def forward(self, batch: Batch) -> Losses:
        """The loss of a worker's part; its mean over the workers is the loss of the whole batch."""
        summed, tokens = self.judge(batch)
        return Losses(summed / mean(tokens.double()).clamp_min(1))

    def judge(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sum over all tokens that are to be said, and how many these are."""
        logits = self._language.logits(self.model(batch.features), batch.read)
        labels = batch.read.labels
        summed = cross_entropy(in_full(logits).flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
        return summed, (labels != IGNORED).sum()
