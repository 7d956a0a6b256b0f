"""BLIP's own trainings on two workers: a kill behind any checkpoint changes no bit, and no image of a step.

One worker is looked at beside each of them, and what is common to all trainings in test_room.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pair import WORKERS

from stages.contract import CorpusJob
from stages.finetune.compute import Finetune
from stages.finetune.spec import FinetuneRecipe, FinetuneRun
from stages.med.compute import Med
from stages.med.spec import MedRecipe, MedRun
from stages.models.blip.reading import read_blip
from stages.training.checkpoints import Checkpoints
from stages.training.result import read_result

pytestmark = pytest.mark.slow
RUN = {"device": "cpu", "threads": 1, "readers": 1, "checkpoint_every": 1, "keep_checkpoints": 100}
COMMON = {"image_size": 32, "queue": 72, "augment": "none", "batch_size": 24, "epochs": 1, "lr": 2e-3, "holdout": 0}
SMALL = {
    "vision_width": 16,
    "vision_layers": 1,
    "vision_heads": 2,
    "patch": 16,
    "width": 16,
    "layers": 1,
    "heads": 2,
    "projection": 8,
    "max_text_tokens": 16,
    "dropout": 0.1,
    "warmup": 1,
}


def work(rank: int, trainer: type[Any], recipe: Any, run: Any, jobs: list[CorpusJob]) -> None:
    """One worker's part of trainings, one after the other."""
    for job in jobs:
        trainer(recipe, run).train(job, rank=rank, world_size=WORKERS)


def killed_behind(step: int, job: CorpusJob) -> CorpusJob:
    """The same training, as a kill has left it whose newest checkpoint was of that step."""
    found = replace(job, checkpoints=f"{job.checkpoints}-{step}", scratch=job.scratch.with_name(f"scratch-{step}"))
    found.scratch.mkdir()
    shutil.copytree(job.checkpoints, found.checkpoints)
    shutil.rmtree(Path(found.checkpoints, "model"))
    Path(found.checkpoints, "history.parquet").unlink()
    for path in Path(found.checkpoints).glob("step-*"):
        if int(path.stem.removeprefix("step-")) > step:
            path.unlink()
    return found


def weights(job: CorpusJob) -> dict[str, torch.Tensor]:
    return read_blip(str(read_result(job).sides["checkpoint"]), None, "init").state


def told(job: CorpusJob) -> list[dict[str, Any]]:
    rows = Checkpoints(job.checkpoints, 1).history()
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in rows]


@pytest.fixture(scope="module")
def med(clip_folder, corpus, tmp_path_factory) -> str:
    """What is fine-tuned."""
    folder = tmp_path_factory.mktemp("med")
    recipe = MedRecipe.model_validate({"tokenizer": str(clip_folder), **COMMON, **SMALL})
    return str(Med(recipe, MedRun(**RUN))(CorpusJob(corpus, str(folder / "c"), folder)).sides["checkpoint"])


@pytest.mark.parametrize("name", ["med", "finetune"])
def test_two_workers_go_on_to_the_same_bits(name, clip_folder, med, make_job, human_corpus, pair):
    whole, trainer, run = make_job(), Med, MedRun(**RUN)
    recipe: Any = MedRecipe.model_validate({"tokenizer": str(clip_folder), **COMMON, **SMALL})
    if name == "finetune":
        whole, trainer, run = replace(whole, corpus=human_corpus), Finetune, FinetuneRun(**RUN)
        recipe = FinetuneRecipe.model_validate({"init": med, "task": ["captioning", "retrieval"], **COMMON})
    pair.together(work, trainer, recipe, run, [whole])
    steps = len(told(whole))
    killed = [killed_behind(step, whole) for step in (1, steps - 1)]
    pair.together(work, trainer, recipe, run, killed)
    for job in killed:
        assert told(job) == told(whole)
        resumed = weights(job)
        assert all(torch.equal(value, resumed[key]) for key, value in weights(whole).items())
