"""BLIP's pretraining step as one would write it on transformers' modules: the other side of `med.py`.

Three passes over the texts, all padded, with eager attention; the images' tokens are repeated for the wrong pairs.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from med_sizes import PADDED
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from transformers import BlipTextConfig, BlipVisionConfig
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel, BlipTextModel

from stages.models.blip.trainable.config import BlipConfig, TextConfig, VisionConfig

FOLLOWING = ("visual", "encoder", "visual_projection", "text_projection")


def vision_config(vision: VisionConfig) -> BlipVisionConfig:
    """The same sizes under transformers' names."""
    return BlipVisionConfig(
        hidden_size=vision.width,
        intermediate_size=vision.feed_forward,
        num_hidden_layers=vision.layers,
        num_attention_heads=vision.heads,
        image_size=vision.image_size,
        patch_size=vision.patch,
        hidden_act="gelu",
        attn_implementation="eager",
    )


def text_config(text: TextConfig, vision_width: int) -> BlipTextConfig:
    """The same sizes under transformers' names."""
    return BlipTextConfig(
        vocab_size=text.vocabulary,
        hidden_size=text.width,
        encoder_hidden_size=vision_width,
        intermediate_size=text.feed_forward,
        num_hidden_layers=text.layers,
        num_attention_heads=text.heads,
        max_position_embeddings=text.positions,
        hidden_dropout_prob=text.dropout,
        attention_probs_dropout_prob=text.dropout,
        hidden_act="gelu",
        is_decoder=True,  # so that there is cross-attention
        use_cache=False,
        label_smoothing=0.1,
        attn_implementation="eager",
    )


class Plain(nn.Module):
    """All parts of it, and the sum of the three losses."""

    def __init__(self, config: BlipConfig) -> None:
        super().__init__()
        self.config = config
        sizes, width = text_config(config.text, config.vision.width), config.projection
        self.visual: Any = BlipVisionModel(vision_config(config.vision))
        self.encoder: Any = BlipTextModel(sizes, add_pooling_layer=False)
        self.decoder: Any = BlipTextLMHeadModel(sizes)
        self._tie()
        self.visual_projection = nn.Linear(config.vision.width, width)
        self.text_projection = nn.Linear(config.text.width, width)
        self.match_head = nn.Linear(config.text.width, 2)
        for name in FOLLOWING:
            setattr(self, f"{name}_m", deepcopy(getattr(self, name)).requires_grad_(False))
        self.image_queue = nn.Buffer(normalize(torch.randn(width, config.queue), dim=0))
        self.text_queue = nn.Buffer(normalize(torch.randn(width, config.queue), dim=0))
        self.pointer = 0
        self.temperature = nn.Parameter(torch.tensor(0.07))

    def _tie(self) -> None:
        """Let both stacks share all but self-attention."""
        for name, value in list(self.decoder.bert.named_parameters()):
            if ".attention." not in name:
                module, _, last = name.rpartition(".")
                setattr(self.encoder.get_submodule(module), last, value)

    def forward(self, images: Tensor, ids: Tensor, mask: Tensor, alpha: float) -> Tensor:
        """Images, and texts as `Pairs.padded` has them."""
        with torch.no_grad():
            self.temperature.clamp_(0.001, 0.5)
        embeds = self.visual(pixel_values=images).last_hidden_state
        itc, image_to_text, text_to_image = self.compare(images, embeds, ids, mask, alpha)
        with torch.no_grad():
            wrong_texts, wrong_images = self.draw(image_to_text), self.draw(text_to_image)
        return itc + self.match(embeds, ids, mask, wrong_texts, wrong_images) + self.write(embeds, ids, mask)

    def compare(self, images: Tensor, embeds: Tensor, ids: Tensor, mask: Tensor, alpha: float) -> tuple[Tensor, ...]:
        """ITC, and the similarities of the batch in both directions."""
        own_images = normalize(self.visual_projection(embeds[:, 0]), dim=-1)
        read = self.encoder(ids, attention_mask=mask).last_hidden_state
        own_texts = normalize(self.text_projection(read[:, 0]), dim=-1)
        with torch.no_grad():
            slow_images, slow_texts = self.follow(images, embeds, ids, mask)
            all_images = torch.cat([slow_images.T, self.image_queue], dim=1)
            all_texts = torch.cat([slow_texts.T, self.text_queue], dim=1)
            hard = torch.zeros(len(ids), all_texts.shape[1], device=ids.device).fill_diagonal_(1)
            ways = slow_images @ all_texts, slow_texts @ all_images
            targets = [alpha * (way / self.temperature).softmax(1) + (1 - alpha) * hard for way in ways]
        logits = own_images @ all_texts / self.temperature, own_texts @ all_images / self.temperature
        both = [-(way.log_softmax(1) * wanted).sum(1).mean() for way, wanted in zip(logits, targets, strict=True)]
        self.enqueue(slow_images, slow_texts)
        return (both[0] + both[1]) / 2, *(way[:, : len(ids)] for way in logits)

    def follow(self, images: Tensor, embeds: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Move the slow copies, then embed with them; a frozen tower is its own slow copy."""
        frozen = not embeds.requires_grad
        for name in FOLLOWING[1:] if frozen else FOLLOWING:
            pairs = zip(getattr(self, name).parameters(), getattr(self, f"{name}_m").parameters(), strict=True)
            for fast, slow in pairs:
                slow.data = slow.data * self.config.momentum + fast.data * (1 - self.config.momentum)
        seen = embeds if frozen else self.visual_m(pixel_values=images).last_hidden_state
        read = self.encoder_m(ids, attention_mask=mask).last_hidden_state
        rows = self.visual_projection_m(seen[:, 0]), self.text_projection_m(read[:, 0])
        return normalize(rows[0], dim=-1), normalize(rows[1], dim=-1)

    def enqueue(self, images: Tensor, texts: Tensor) -> None:
        """In the place of the oldest."""
        end = self.pointer + len(images)
        self.image_queue[:, self.pointer : end] = images.T
        self.text_queue[:, self.pointer : end] = texts.T
        self.pointer = end % self.config.queue

    @staticmethod
    def draw(logits: Tensor) -> Tensor:
        """A wrong partner for each row."""
        weights = (logits.float().softmax(1) + 1e-4).fill_diagonal_(0)
        return torch.stack([row.multinomial(1)[0] for row in weights])

    def match(self, embeds: Tensor, ids: Tensor, mask: Tensor, wrong_texts: Tensor, wrong_images: Tensor) -> Tensor:
        """ITM: a pass over the right pairs and one over the wrong ones, as in the original."""
        ids = torch.cat([ids.new_full((len(ids), 1), self.config.text.look), ids[:, 1:]], dim=1)
        right = self.encoder(ids, attention_mask=mask, encoder_hidden_states=embeds).last_hidden_state
        wrong = self.encoder(
            torch.cat([ids, ids[wrong_texts]]),
            attention_mask=torch.cat([mask, mask[wrong_texts]]),
            encoder_hidden_states=torch.cat([embeds[wrong_images], embeds]),
        ).last_hidden_state
        logits = self.match_head(torch.cat([right[:, 0], wrong[:, 0]]))
        labels = torch.cat([torch.ones_like(wrong_texts), torch.zeros_like(wrong_texts).repeat(2)])
        return cross_entropy(logits.float(), labels)

    def write(self, embeds: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """LM."""
        ids = torch.cat([ids.new_full((len(ids), 1), self.config.text.start), ids[:, 1:]], dim=1)
        assert ids.shape[1] == PADDED
        labels = ids.masked_fill(mask == 0, -100)
        loss: Tensor = self.decoder(ids, attention_mask=mask, encoder_hidden_states=embeds, labels=labels).loss
        return loss
