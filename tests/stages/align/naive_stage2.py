"""BLIP-2's second stage, written down plainly on transformers' modules: a second opinion on every number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from stages.models.qformer.model import QFormerConfig
from stages.models.qformer.names import to_transformers


class NaiveStage2(nn.Module):
    """Features to soft prompts, with the weights of one of ours, in float64."""

    def __init__(self, config: QFormerConfig, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.query_tokens = nn.Parameter(torch.zeros(1, config.queries, config.width))
        self.qformer: Any = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=config.width,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                intermediate_size=config.feed_forward,
                encoder_hidden_size=config.vision_width,
                cross_attention_frequency=config.image_every,
            )
        )
        self.vision_model = nn.ModuleDict({"post_layernorm": nn.LayerNorm(config.vision_width)})
        self.language_projection = nn.Linear(config.width, len(state["language_projection.weight"]))
        self.double().eval().load_state_dict(theirs(state))

    def forward(self, features: Tensor) -> Tensor:
        seen = self.vision_model["post_layernorm"](features)
        asked = self.query_tokens.expand(len(features), -1, -1)
        return self.language_projection(self.qformer(asked, encoder_hidden_states=seen)[0])


def theirs(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `align` trains, or its gradients, under transformers' names."""
    own = {name.removeprefix("qformer."): value for name, value in state.items() if name.startswith("qformer.")}
    named, rest = to_transformers(own)
    assert not rest
    last = {name: value for name, value in state.items() if name.startswith("language_projection.")}
    return {name: value.double() for name, value in (named | last).items()}


def decoder_logits(model: Any, soft: Tensor, rows: list[list[int]]) -> list[Tensor]:
    """Of every text's tokens, one text after the other, without padding."""
    found = []
    for prompts, row in zip(soft, rows, strict=True):
        words = model.get_input_embeddings()(torch.tensor(row))
        logits = model(inputs_embeds=torch.cat([prompts, words])[None]).logits[0]
        found.append(logits[len(prompts) - 1 : -1])
    return found


def prefix_logits(model: Any, soft: Tensor, given: list[list[int]], said: list[list[int]]) -> list[Tensor]:
    """The same of a T5: the encoder reads queries and what is given, the decoder begins with the padding token."""
    found = []
    for prompts, read, told in zip(soft, given, said, strict=True):
        words = model.get_input_embeddings()(torch.tensor(read))
        shifted = torch.tensor([[model.config.decoder_start_token_id, *told[:-1]]])
        found.append(model(inputs_embeds=torch.cat([prompts, words])[None], decoder_input_ids=shifted).logits[0])
    return found


def loss_of(logits: list[Tensor], labels: list[list[int | None]]) -> Tensor:
    """The mean over all labels that are not None of -log p, written out."""
    told = [
        -(row[place] - row[place].logsumexp(dim=-1))[label]
        for row, own in zip(logits, labels, strict=True)
        for place, label in enumerate(own)
        if label is not None
    ]
    return torch.stack(told).mean()
