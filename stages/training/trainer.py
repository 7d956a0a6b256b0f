"""The compute that all stages share that train: from the corpus and the newest checkpoint to a model in a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import pyarrow as pa
import torch

from stages.contract import CorpusJob, Output
from stages.contract.work import OF_SOURCE
from stages.errors import UserError
from stages.io.files import scratch_folder
from stages.models.device import limit_threads, resolve_device
from stages.training.beginning import Beginning, find_beginning
from stages.training.checkpoints import Checkpoints
from stages.training.corpus import Corpus
from stages.training.counting import count, measured_on
from stages.training.curves import Curves
from stages.training.examples import Choice
from stages.training.gather import all_or_none
from stages.training.loop import OnStep, Training
from stages.training.place import Place
from stages.training.result import is_finished, read_result, write_result
from stages.training.settings import TrainingRecipe, TrainingRun
from stages.training.task import Row, Task
from stages.training.teller import telling
from stages.training.told import tell_left_out

SomeTask = TypeVar("SomeTask", bound=Task)


class Trainer(ABC, Generic[SomeTask]):
    """Trains in the process that calls it. Unlike the other stages' computes it gets all shards at once."""

    key: ClassVar[str]
    """The manifest's section, for messages."""

    def __init__(self, recipe: Any, run: TrainingRun) -> None:
        self.recipe = recipe
        self.run = run

    @property
    @abstractmethod
    def choice(self) -> Choice:
        """What of the images is trained on."""

    @abstractmethod
    def make_task(self, corpus: Corpus, place: Place) -> SomeTask:
        """Load and build; what one worker refuses, all do.

        Raises:
            UserError: a model is missing, or the corpus is too small.
        """

    @abstractmethod
    def write_model(self, task: SomeTask, folder: Path) -> None:
        """Write what was trained into an empty local folder."""

    @abstractmethod
    def make_table(self, rows: list[Row]) -> pa.Table:
        """The training's course as the stage's table."""

    def __call__(self, work: CorpusJob) -> Output:
        """Train, or take up a training that was interrupted, alone."""
        self.train(work)
        return read_result(work)

    def train(
        self,
        work: CorpusJob,
        *,
        rank: int = 0,
        world_size: int = 1,
        device: str | None = None,
        on_step: OnStep | None = None,
    ) -> None:
        """Train as one of several workers, if that is not done; rank 0 leaves checkpoints, and in the end the result.

        Args:
            work: what to read and where to leave it.
            rank: the worker's number in the process group, which exists if there are several.
            world_size: how many workers there are.
            device: overrides the run's.
            on_step: is given every row of the history as it is made, on rank 0.

        Raises:
            UserError: a model is missing, the corpus is too small, or the loss is no longer a number.
            StoppedError: somebody wants the process to end.
        """
        if is_finished(work):
            return
        checkpoints = Checkpoints(work.checkpoints, self.run.keep_checkpoints)
        with (
            torch.random.fork_rng(devices=[]),  # the loop seeds torch's generator, which others in this process share
            telling(self.key, None if rank else work.checkpoints) as teller,
        ):
            limit_threads(self.run.threads)
            where = all_or_none(lambda: resolve_device(device or self.run.device, f"{self.key}.run.device"))
            place = Place(rank, world_size, where)
            beginning, corpus = self._read_corpus(work, checkpoints, place)
            task = self.make_task(corpus, place)
            training = Training(task, place)
            if beginning.state is not None:
                training.resume(beginning.state)
            curves = Path(self.run.tensorboard).expanduser() if self.run.tensorboard and rank == 0 else None
            with Curves(curves, training.done) as drawn:
                teller.begins(training.done, task.steps, task.batch_size)
                listeners = (teller, on_step, drawn.draw) if on_step else (teller, drawn.draw)
                training.run(checkpoints, self.run.checkpoint_every, _each(*listeners))
            if rank == 0:
                training.take_best(checkpoints)
                self._leave(work, task, checkpoints, corpus)

    def _read_corpus(self, work: CorpusJob, checkpoints: Checkpoints, place: Place) -> tuple[Beginning, Corpus]:
        """Where the training stands, and what it is given."""
        shards = [s for s in work.corpus if s.maybe("images") and self.recipe.learns_from(s.source)]
        choice = replace(self.choice, measured=measured_on(work.corpus))
        now = count(shards, choice, self.run.readers, place)
        beginning = find_beginning(checkpoints, now, self.key, place)
        corpus = Corpus(shards, beginning.began, choice, self.recipe.shuffle_shards)
        tell_left_out(self.key, corpus.size)
        return beginning, corpus

    def _leave(self, work: CorpusJob, task: SomeTask, checkpoints: Checkpoints, corpus: Corpus) -> None:
        """Write the result."""
        table = self.make_table(checkpoints.history())
        with scratch_folder() as folder:
            self.write_model(task, folder)
            write_result(work, table.replace_schema_metadata(_counts(task, corpus)), folder)


def _counts(task: Task, corpus: Corpus) -> dict[str, str]:
    """What the table's metadata is to say; of what was left out only where something was."""
    left_out = {
        f"{reason}{OF_SOURCE}{source}": number
        for source, size in corpus.by_source.items()
        for reason, number in (("measured", size.measured), ("wordless", size.wordless))
        if number
    }
    return {name: str(number) for name, number in {"steps": task.steps, **left_out}.items()}


def check_parts(key: str, recipe: TrainingRecipe, place: Place) -> None:
    """See that every worker gets as many images as the others.

    Raises:
        UserError: the batch does not divide.
    """
    if recipe.batch_size % (place.world_size * recipe.accumulate):
        parts = f"run.workers {place.world_size}"
        if recipe.accumulate > 1:
            parts += f" x accumulate {recipe.accumulate}"
        raise UserError(f"{key}.batch_size: {recipe.batch_size} does not divide by {parts}")


def _each(*listeners: OnStep) -> OnStep:
    """One listener that tells several."""

    def tell(row: Row) -> None:
        for listener in listeners:
            listener(row)

    return tell
