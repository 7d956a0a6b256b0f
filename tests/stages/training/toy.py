"""A training that takes a millisecond a step: what the room of trainings does is the same for it as for a real one.

It imports nothing of the tests, so that other processes can load it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from torch import Tensor, nn

from stages.contract import LEARNT_FROM, Port, StageSpec
from stages.tables import CHECKPOINT
from stages.training.corpus import Corpus, check_corpus
from stages.training.examples import Choice
from stages.training.history import as_table
from stages.training.order import Mixture
from stages.training.place import Place, Stretch
from stages.training.settings import TrainingRecipe, TrainingRun
from stages.training.task import Row
from stages.training.told import tell_drawn
from stages.training.trainer import Trainer

WIDTH = 4


class Killed(BaseException):
    """What no `except Exception` holds up."""


class ToyRecipe(TrainingRecipe):
    """How long it takes."""

    steps: int = 8
    batch_size: int = 4
    holdout: float = 0


class ToyRun(TrainingRun):
    """Where it runs."""

    device: str = "cpu"
    checkpoint_every: int = 3


class ToyLosses(NamedTuple):
    """One."""

    loss: Tensor


class Objective(nn.Module):
    """Says of rows of noise, of which some are dropped, which number was an image's."""

    def __init__(self) -> None:
        super().__init__()
        self.guess = nn.Linear(WIDTH, 1)

    def forward(self, batch: tuple[Tensor, Tensor]) -> ToyLosses:
        seen, wanted = batch
        guessed = self.guess(nn.functional.dropout(seen, 0.5)).squeeze(1)
        return ToyLosses((guessed - wanted).square().mean())


class ToyTask:
    """See `stages.training.task.Task`."""

    key = "med"
    dtype = "float32"
    accumulate = 1
    evaluate_every = None
    measures = False

    def __init__(self, recipe: ToyRecipe, corpus: Corpus) -> None:
        torch.manual_seed(recipe.seed)
        self.objective = Objective()
        self.seed, self.steps, self.batch_size = recipe.seed, recipe.steps, recipe.batch_size
        self._corpus = corpus
        self._order = Mixture(corpus.lines(recipe.seed, recipe.slices), recipe.mixture)

    def make_optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.objective.parameters(), lr=0.1)

    def rate(self, step: int) -> float:
        return 0.1 / step

    def batches(self, stretch: Stretch) -> Generator[tuple[Tensor, Tensor]]:
        own = self.batch_size // stretch.workers
        for step in range(stretch.first, stretch.last + 1):
            first = (step - 1) * self.batch_size + stretch.rank * own
            drawn = [self._image(position) for position in range(first, first + own)]
            Toy.seen.append((step, [key for key, _ in drawn]))
            numbers = torch.tensor([number for _, number in drawn])
            yield torch.outer(numbers, torch.arange(1.0, WIDTH + 1)), numbers

    def _image(self, position: int) -> tuple[str, float]:
        draw = self._order.at(position)
        examples = self._corpus.training(draw.shard)
        example = examples[draw.image % len(examples)]
        return example.key, example.identity / 2**63

    def is_fed(self, batch: Any) -> Tensor:
        return batch[0].isfinite().all()

    def told(self, step: int) -> Row:
        return {}

    def settle(self) -> None:
        pass

    def measure(self, step: int) -> Row:
        return {}


class Toy(Trainer[ToyTask]):
    """Trains the line."""

    key = "med"
    seen: list[tuple[int, list[str]]] = []  # noqa: RUF012 - what this process has drawn, step by step
    on_step: Callable[[Row], None] | None = None

    @property
    def choice(self) -> Choice:
        return Choice(self.recipe.holdout)

    def make_task(self, corpus: Corpus, place: Place) -> ToyTask:
        check_corpus(self.key, corpus, self.recipe)
        tell_drawn(self.key, ["guess.weight"])
        return ToyTask(self.recipe, corpus)

    def train(self, work: Any, **options: Any) -> None:
        super().train(work, **{"on_step": Toy.on_step, **options})

    def write_model(self, task: ToyTask, folder: Path) -> None:
        torch.save(task.objective.state_dict(), folder / "line.pt")

    def make_table(self, rows: list[Row]) -> pa.Table:
        return as_table(rows)


SPEC = StageSpec(
    name="med",
    version=1,
    reads={
        "images": Port("images"),
        "captions": Port("captions", many=True),
        "selection": Port("selection", optional=True),
        "measured": Port("images", optional=True, beside=frozenset({"measure"})),
    },
    writes=CHECKPOINT,
    recipe=ToyRecipe,
    run=ToyRun,
    compute="tests.stages.training.toy:Toy",
    uses=LEARNT_FROM,
    grain="run",
    workers="group",
)
"""It as a stage."""
