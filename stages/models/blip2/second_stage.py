"""What BLIP-2's second stage trains: the Q-Former's query path, and a layer that makes soft prompts of its queries.

Li et al. 2023 (arXiv 2301.12597), section 3.2. Image tower and language model are frozen and no part of it.
"""

from __future__ import annotations

from torch import Tensor, nn

from stages.models.qformer.model import QFormerConfig
from stages.models.qformer.queries import query_path


class SecondStage(nn.Module):
    """Features of a frozen tower to soft prompts for a language model."""

    def __init__(self, config: QFormerConfig, width: int) -> None:
        """Draw one.

        Args:
            config: the Q-Former's sizes.
            width: of the language model's word embeddings.
        """
        super().__init__()
        self.qformer = query_path(config)
        self.language_projection = nn.Linear(config.width, width)

    def forward(self, features: Tensor) -> Tensor:
        """(images, image tokens, vision width) to (images, queries, width)."""
        prompts: Tensor = self.language_projection(self.qformer.encode_image(self.qformer.look(features)))
        return prompts
