"""A third task, thrown away after training, that teaches a text encoder to look: every shape's word says where it lies.

Whether "left of" is so depends on two words and two places at once, and no single one of them gives a hint. Trained on
right and wrong texts alone the encoder stays at chance on that for thousands of steps; once the words for the shapes
know their places, in the first layer already, it takes some hundreds.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.demo.language import parse
from stages.demo.patches import GRID
from stages.demo.scene import KINDS, Scene, Shape

LAYER = 1
"""Number of text layers after which a word is asked."""


class Pointer(nn.Module):
    """Reads row and column of a shape off the token that names its kind."""

    def __init__(self, width: int, kind_tokens: Sequence[int]) -> None:
        super().__init__()
        self.row, self.column = nn.Linear(width, GRID), nn.Linear(width, GRID)
        self.kind_tokens = torch.tensor(kind_tokens)
        assert len(kind_tokens) == len(KINDS)

    def forward(self, tokens: Tensor, states: Tensor, texts: Sequence[str], scenes: Sequence[Scene]) -> Tensor:
        """The loss on texts that are right for their scenes; tokens (text, token), states (text, token, width)."""
        truth = torch.tensor(
            [_cell(shape) for text, scene in zip(texts, scenes, strict=True) for shape in meant(text, scene)]
        )
        named = states[torch.isin(tokens, self.kind_tokens)]
        loss: Tensor = functional.cross_entropy(self.row(named).float(), truth[:, 0])
        return loss + functional.cross_entropy(self.column(named).float(), truth[:, 1])


def meant(text: str, scene: Scene) -> tuple[Shape, ...]:
    """The shapes that a right text names, in its order."""
    claims = parse(text)
    shapes = claims.meant(scene) if claims else None
    if shapes is None:
        raise ValueError(f"only a right text can point: {text!r}")
    return shapes


def _cell(shape: Shape) -> tuple[int, int]:
    return int(shape.y * GRID), int(shape.x * GRID)
