"""BLIP's fine-tuning for questions about images (BLIP's blip_vqa.py).

The encoder reads a question with its image, the decoder says answers to what the encoder has made of it; the two share
nothing. What a question shows to the decoder is computed once for all of its answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stages.models.blip.trainable.config import BlipConfig
from stages.models.blip.trainable.decoder import TextDecoder
from stages.models.blip.trainable.reading import Look, Seen
from stages.models.blip.trainable.stack import TextStack
from stages.models.blip.trainable.texts import Texts
from stages.models.blip.trainable.vision import VisionTransformer
from stages.models.device import in_full


class VqaBatch(NamedTuple):
    """A worker's part of one step."""

    images: Tensor
    """(batch, 3, image size, image size), normalised; or a frozen tower's tokens, as in pretraining."""
    questions: Texts
    """Of each image one; begins with [CLS] and ends with [SEP]."""
    answers: Texts
    """Those of the first question, then those of the second, ...; each begins with [CLS] and ends with [SEP]."""
    answers_of: tuple[int, ...]
    """How many answers each question has."""
    weights: Tensor
    """(answers,): what each counts."""


class VqaLosses(NamedTuple):
    """Scalars."""

    loss: Tensor
    """The weighted sum over all answers of the sum over their tokens, by the number of questions."""
    lm: Tensor
    """The same."""


class Vqa(nn.Module):
    """Image tower, question encoder, answer decoder; names as in the published checkpoints."""

    def __init__(self, config: BlipConfig) -> None:
        """Build it; queue, momentum and sharing have no meaning here."""
        super().__init__()
        self.look = config.text.look
        self.visual_encoder = VisionTransformer(config.vision)
        self.text_encoder = TextStack(config.text, config.vision.width)
        self.text_decoder = TextDecoder(config.text, config.text.width)

    def forward(self, batch: VqaBatch) -> VqaLosses:
        """The loss of a worker's part."""
        asked = self.ask(batch.images, batch.questions)
        said = self.text_decoder(batch.answers, [Look(asked, batch.answers_of)])
        losses = said.of_texts(len(batch.answers.lengths))
        loss = (batch.weights * losses).sum() / len(batch.questions.lengths)
        return VqaLosses(loss, loss)

    def ask(self, images: Tensor, questions: Texts) -> Seen:
        """What questions about images show to the decoder."""
        return self.text_decoder.bert.look_at_texts(self.read(images, questions), questions.lengths)

    def read(self, images: Tensor, questions: Texts) -> Tensor:
        """What the encoder makes of questions about images, (tokens, width)."""
        embeds = images if images.ndim == 3 else self.visual_encoder(images)
        look = Look(self.text_encoder.look(embeds), [1] * len(questions.lengths))
        rows: Tensor = self.text_encoder(questions.begin_with(self.look), [look])
        return rows

    def rank_answers(self, images: Tensor, questions: Texts, answers: Texts, most: int) -> Tensor:
        """The likeliest of a list of answers for each question, (questions,), int64; see `likeliest`."""
        return self.likeliest(images, questions, answers, most)[0]

    @torch.no_grad()
    def likeliest(self, images: Tensor, questions: Texts, answers: Texts, most: int) -> tuple[Tensor, Tensor]:
        """The likeliest of a list of answers for each question, (questions,), int64, and its loss, (questions,).

        As in the original those answers whose first token is likeliest are scored whole, by the loss that training
        takes, label smoothing included.

        Args:
            images: of each question one.
            questions: begin with [CLS] and end with [SEP].
            answers: the list; each begins with [CLS] and ends with [SEP].
            most: how many of them are scored.
        """
        asked, number = self.ask(images, questions), len(questions.lengths)
        candidates: Sequence[Sequence[int]] = self._likely_starts(asked, number, answers, most).tolist()
        texts = answers.pick([answer for few in candidates for answer in few])
        said = self.text_decoder(texts, [Look(asked, [len(few) for few in candidates])])
        losses, best = said.of_texts(len(texts.lengths)).view(number, -1).min(dim=1)
        return torch.tensor(candidates, device=best.device).gather(1, best[:, None])[:, 0], losses

    def _likely_starts(self, asked: Seen, number: int, answers: Texts, most: int) -> Tensor:
        """The answers whose first token is likeliest, (questions, at most `most`), int64."""
        device = answers.ids.device
        begin = Texts(torch.full((number,), self.text_decoder.start, device=device), (1,) * number)
        logits = in_full(self.text_decoder.logits(self.text_decoder.bert(begin, [Look(asked, [1] * number)])))
        firsts = answers.ids[torch.tensor(answers.starts, device=device) + 1]
        return logits[:, firsts].topk(min(most, len(firsts)), dim=1).indices
