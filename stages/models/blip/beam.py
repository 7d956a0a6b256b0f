"""Beam search over BLIP's text decoder: the likeliest captions of an image instead of drawn ones.

The same search as transformers' `generate(num_beams=b)` with its defaults, text for text. The length rule is that of
transformers since 4.36 (length penalty 1): a caption's score is its log probability divided by the number of tokens
behind the prompt, the end token among them; a search ends when no running beam can, at its present length, beat the
worst finished one. BLIP's published code ran an older one, which divides by the whole length: the prompt is counted
too, and the end token is not. It writes somewhat shorter captions (of 200 images of the demo, three beams, the best
caption is another for 25; 8.7 words on average, not 9.0).

Why not `generate` itself: it has an image's keys and values once per beam, and for BLIP no fused attention. On a CPU
core it is at a fifth (5 beams) to a third (3 beams) of this speed, with BLIP-base's decoder and 577 image tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.models.blip.decoding import Drawn, Prompt
from stages.models.blip.sampling import Sampling, penalise
from stages.models.writing import Writer

NEVER = -1e9
"""The score of what may not be chosen; finite, so that sums of it stay numbers."""


@dataclass
class Beams:
    """Texts of every image, all tensors (images, beams, ...); `tokens` is padded behind the end token."""

    tokens: Tensor
    scores: Tensor
    logprobs: Tensor

    def pick(self, index: Tensor) -> Beams:
        """Those at `index`, (images, number)."""
        wide = index[..., None].expand(-1, -1, self.tokens.shape[-1])
        return Beams(self.tokens.gather(1, wide), self.scores.gather(1, index), self.logprobs.gather(1, index))

    def best_with(self, others: Beams) -> Beams:
        """As many as these are, the best of both by score."""
        both = Beams(
            torch.cat([self.tokens, others.tokens], dim=1),
            torch.cat([self.scores, others.scores], dim=1),
            torch.cat([self.logprobs, others.logprobs], dim=1),
        )
        return both.pick(both.scores.topk(self.scores.shape[1], dim=1).indices)


@torch.inference_mode()
def search(decoder: Writer, embeds: Tensor, prompt: Prompt, sampling: Sampling) -> Drawn:
    """Find the best captions of each image.

    Args:
        decoder: BLIP's text decoder, or another model that writes.
        embeds: what it looks at, (images, rows, width), in the decoder's number format.
        prompt: what every caption begins with.
        sampling: `beams` says how many texts are followed, and as many are returned, best first; of the rest,
            repetition penalty and lengths have a meaning here.
    """
    images, beams, device = len(embeds), sampling.beams, embeds.device
    assert beams is not None, "without beams captions are drawn"
    reading, logits = decoder.read_prompt(embeds, prompt.tokens, beams, sampling.max_length)
    opening = torch.tensor([prompt.tokens], device=device).expand(images * beams, -1)
    first_row = torch.arange(images, device=device)[:, None] * beams
    running, finished = (_start(images, beams, sampling.max_length, prompt.pad, device) for _ in range(2))
    running.scores[:, 0] = 0.0  # at first all beams are the same text: only one of them may branch
    improvable = torch.ones(images, 1, dtype=torch.bool, device=device)
    for step in range(sampling.max_length):
        own = logits.log_softmax(dim=-1)
        seen = torch.cat([opening, running.tokens[..., :step].flatten(0, 1)], dim=1)
        scored = penalise(own, seen, sampling.repetition_penalty)
        if step < sampling.min_length:
            scored = scored.index_fill(1, torch.tensor([prompt.end], device=device), -torch.inf)
        grown, parents = _grow(running, scored, own, step)
        ends = grown.tokens[..., step] == prompt.end
        if step + 1 == sampling.max_length:
            ends = torch.ones_like(ends)
        alive = grown.scores + ends * NEVER
        chosen = alive.topk(beams, dim=1).indices
        counts = ends & improvable
        counts[:, beams:] = False  # the second half stands in for beams that have ended, and is not among the best
        running = grown.pick(chosen)
        running.scores = alive.gather(1, chosen)
        grown.scores = grown.scores / (step + 1) + ~counts * NEVER
        finished = finished.best_with(grown)
        worst = finished.scores[:, -1:]
        improvable &= running.scores[:, :1] / (step + 1) > worst
        if ends.all() or not improvable.any():
            break
        reading.keep((first_row + parents.gather(1, chosen)).flatten().tolist())
        logits = reading.read(running.tokens[..., step].flatten())
    return Drawn(finished.tokens, finished.logprobs)


def _start(images: int, beams: int, steps: int, pad: int, device: torch.device) -> Beams:
    tokens = torch.full((images, beams, steps), pad, device=device)
    scores = torch.full((images, beams), NEVER, device=device)
    return Beams(tokens, scores, torch.zeros_like(scores))


def _grow(running: Beams, scored: Tensor, own: Tensor, step: int) -> tuple[Beams, Tensor]:
    """The best continuations of every image's beams, twice as many, best first, and the beam that each continues.

    Args:
        running: the beams.
        scored: log probabilities of the next token as the search counts them, (images * beams, vocabulary).
        own: those of the model itself.
        step: where the next token goes.
    """
    images, beams = running.scores.shape
    total = (torch.unflatten(scored, 0, (images, beams)) + running.scores[..., None]).flatten(1)
    scores, place = total.topk(2 * beams, dim=1)
    parents, ids = place // scored.shape[-1], place % scored.shape[-1]
    grown = running.pick(parents)
    grown.tokens[..., step] = ids
    grown.scores = scores
    grown.logprobs = grown.logprobs + own.reshape(images, -1).gather(1, place)
    return grown, parents
