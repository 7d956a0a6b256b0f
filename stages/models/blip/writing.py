"""Captions as a caption stage wants them: drawn, greedy, or searched for."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from stages.models.blip.beam import search
from stages.models.blip.decoding import Drawn, Prompt, sample
from stages.models.blip.sampling import Sampling
from stages.models.writing import Writer


def write(writer: Writer, embeds: Tensor, prompt: Prompt, uniforms: Tensor, sampling: Sampling) -> Drawn:
    """Write `uniforms.shape[1]` texts for every image; with beams the numbers themselves are not used.

    Args:
        writer: the model.
        embeds: what it looks at, (images, rows, width).
        prompt: what every text begins with.
        uniforms: (images, candidates, at least max_length), float64, on the model's device.
        sampling: how.
    """
    if sampling.beams is None:
        return sample(writer, embeds, prompt, uniforms, sampling)
    if sampling.beams == 1:  # greedy: of one token, or of several that are equally likely the first
        likeliest = replace(sampling, top_k=1, top_p=1.0, temperature=1.0)
        return sample(writer, embeds, prompt, torch.zeros_like(uniforms), likeliest)
    found, candidates = search(writer, embeds, prompt, sampling), uniforms.shape[1]
    return Drawn(found.tokens[:, :candidates], found.logprobs[:, :candidates])
