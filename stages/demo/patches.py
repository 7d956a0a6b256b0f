"""A second task, thrown away after training, that teaches an image tower to see: every patch says what lies on it.

A description names few of the shapes and in any order, so from texts alone a tower takes long to tell them apart.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stages.demo.learning import PATCH
from stages.demo.lessons import PIXELS, Book
from stages.demo.scene import COLOURS, KINDS, SIZES, Scene, frame

GRID = PIXELS // PATCH
CONTENT = (len(KINDS) + 1, len(COLOURS) + 1, len(SIZES) + 1)
"""Number of classes of what a patch shows: kind, colour and size of a shape; the last of each is nothing."""

POSITION = (GRID, GRID)
"""Number of classes of where it lies: row and column."""


class PatchReader(nn.Module):
    """Reads the classes of every patch off its token."""

    def __init__(self, width: int, classes: tuple[int, ...]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, number) for number in classes)

    def forward(self, patches: Tensor, truth: Tensor) -> Tensor:
        """The loss of reading them."""
        losses = [
            functional.cross_entropy(head(patches).flatten(0, 1).float(), truth[..., number].flatten())
            for number, head in enumerate(self.heads)
        ]
        return torch.stack(losses).sum()


def content(book: Book) -> Tensor:
    """What every patch of every lesson shows: (lesson, patch, 3)."""
    return torch.from_numpy(np.stack([_content(lesson.scene) for lesson in book.lessons]))


def position(book: Book) -> Tensor:
    """Where every patch of every lesson lies: (lesson, patch, 2)."""
    return torch.cartesian_prod(torch.arange(GRID), torch.arange(GRID)).expand(len(book), -1, -1)


def _content(scene: Scene) -> NDArray[np.int64]:
    truth = np.tile(np.array(CONTENT) - 1, (GRID * GRID, 1))
    width, height = frame(scene.aspect)
    rows, columns = np.divmod(np.arange(GRID * GRID), GRID)
    for shape in scene.shapes:
        across, along = ((columns + 0.5) / GRID - shape.x) * width, ((rows + 0.5) / GRID - shape.y) * height
        truth[np.hypot(across, along) < shape.radius] = (
            KINDS.index(shape.kind),
            COLOURS.index(shape.colour),
            SIZES.index(shape.size),
        )
    return truth
