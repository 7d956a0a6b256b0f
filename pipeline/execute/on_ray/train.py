"""Gives the plain training loop to Ray Train: as many workers as the run asks for, on whatever hosts have room.

Ray Train starts the workers, joins them into a process group, and starts all of them anew if one is lost. What it
would resume from is not used: the loop finds its own newest checkpoint, so a lost worker, a lost driver and a new run
are the same case. Every fit therefore gets a name of its own.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from fsspec.implementations.local import LocalFileSystem
from pyarrow import fs

from pipeline.execute.worker import Job, load_compute
from stages.contract import CorpusJob, Output
from stages.errors import UserError
from stages.io.files import locate
from stages.pretrain.result import is_finished, read_result
from stages.pretrain.spec import PretrainRun

if TYPE_CHECKING:
    from ray.train import RunConfig
    from ray.train.torch import TorchTrainer

# Ray Train is imported where it is used: it loads torch, which a driver that has nothing to train does without.

STATE = "ray"
"""The folder beside the checkpoints in which Ray Train keeps its own state."""


def train_on_ray(job: Job, work: CorpusJob) -> Output:
    """Train on the Ray that this process is connected to, or take up a training that was interrupted.

    Raises:
        UserError: what the workers refuse: a model is missing, the corpus is too small, a loss is no longer a number.
        TrainingFailedError: workers were lost, or raised, more often than `run.attempts` allows.
    """
    if not is_finished(work):
        result: Any = _make_trainer(job, work).fit()  # Train's second version, which its type hints do not know of
        refusal: str | None = result.return_value
        if refusal is not None:
            raise UserError(refusal)
    return read_result(work)


def _make_trainer(job: Job, work: CorpusJob) -> TorchTrainer:
    from ray.train import ScalingConfig  # noqa: PLC0415
    from ray.train.torch import TorchConfig, TorchTrainer  # noqa: PLC0415

    assert isinstance(job.run, PretrainRun)
    run = job.run
    resources = {"CPU": run.cpus, "GPU": run.gpus} if run.gpus else {"CPU": run.cpus}
    train: Any = _train_worker  # returns, which the type hints do not know of either
    return TorchTrainer(
        train,
        train_loop_config={"job": job, "work": work},
        torch_config=TorchConfig(backend="nccl" if run.gpus else "gloo"),
        scaling_config=ScalingConfig(num_workers=run.workers, use_gpu=bool(run.gpus), resources_per_worker=resources),
        run_config=_run_config(work, run),
    )


def _run_config(work: CorpusJob, run: PretrainRun) -> RunConfig:
    from ray.train import FailureConfig, RunConfig  # noqa: PLC0415

    filesystem, folder = locate(f"{work.checkpoints}/{STATE}")
    is_local = isinstance(filesystem, LocalFileSystem)
    return RunConfig(
        name=uuid.uuid4().hex[:12],
        storage_path=folder,
        # named in either case: a path alone would be read as a URI, with `%20` for a blank
        storage_filesystem=fs.LocalFileSystem() if is_local else fs.PyFileSystem(fs.FSSpecHandler(filesystem)),
        failure_config=FailureConfig(max_failures=run.attempts - 1),
    )


def _train_worker(config: dict[str, Any]) -> str | None:
    """One worker. A refusal, which the workers agree on, is returned: all that is raised is tried again."""
    import ray.train.torch  # noqa: PLC0415

    job, context = config["job"], ray.train.get_context()
    try:
        load_compute(job.compute)(job.recipe, job.run).train(
            config["work"],
            rank=context.get_world_rank(),
            world_size=context.get_world_size(),
            device=str(ray.train.torch.get_device()) if job.run.gpus else None,
        )
    except UserError as refusal:
        return str(refusal)
    return None
