"""Captioner and matcher of one small BLIP: what is left, who loads it, and that the best one is kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from pycocoevalcap.cider.cider import Cider
from transformers import BlipForConditionalGeneration

from stages.contract import CorpusJob, CorpusShard, Output
from stages.errors import UserError
from stages.finetune.build import build
from stages.finetune.compute import Finetune
from stages.finetune.spec import FinetuneRecipe, FinetuneRun
from stages.finetune.writing import cider
from stages.med.compute import Med
from stages.med.spec import MedRecipe, MedRun
from stages.models.blip.captioner import load_captioner
from stages.models.blip.folder import write_folder
from stages.models.blip.itm import load_itm
from stages.models.blip.reading import read_blip
from stages.models.blip.sampling import Sampling
from stages.models.blip.trainable.published import describe_trained
from stages.models.family import ModelName
from stages.training.holdout import HeldOut

SAMPLING = Sampling(top_p=0.9, top_k=None, temperature=1.0, repetition_penalty=1.0, max_length=10, min_length=1)
Make = Callable[..., FinetuneRecipe]


@pytest.fixture(scope="module")
def pretrained(clip_folder, corpus, tmp_path_factory) -> str:
    """A MED after a few steps."""
    folder = tmp_path_factory.mktemp("med")
    recipe = MedRecipe(
        tokenizer=str(clip_folder),
        image_size=32,
        patch=8,
        augment="none",
        epochs=1,
        warmup=0,
        vision_width=32,
        vision_layers=2,
        vision_heads=4,
        width=32,
        layers=2,
        heads=4,
        projection=16,
        queue=64,
        batch_size=16,
        lr=2e-3,
        max_text_tokens=16,
        holdout=0,
    )
    run = MedRun(device="cpu", threads=1, readers=1)
    return str(Med(recipe, run)(CorpusJob(corpus, str(folder / "checkpoints"), folder)).sides["checkpoint"])


@pytest.fixture(scope="module")
def make(pretrained) -> Make:
    def make(task: object, **changes: object) -> FinetuneRecipe:
        values = {"init": pretrained, "image_size": 32, "queue": 64, "batch_size": 16, "epochs": 2, "holdout": 0.2}
        return FinetuneRecipe.model_validate({"task": task, "augment": "none", "lr": 1e-3, **values, **changes})

    return make


@pytest.fixture(scope="session")
def run() -> FinetuneRun:
    return FinetuneRun(device="cpu", threads=1, readers=1, checkpoint_every=3)


def tune(recipe: FinetuneRecipe, run: FinetuneRun, corpus: tuple[CorpusShard, ...], folder: Path) -> Output:
    folder.mkdir()
    return Finetune(recipe, run)(CorpusJob(corpus, str(folder / "checkpoints"), folder))


def values(output: Output, measure: str) -> list[float]:
    return output.table.filter(pc.field("measure") == measure)["value"].to_pylist()


def name(output: Output, key: str) -> ModelName:
    return ModelName(key, str(output.sides["checkpoint"]))


def pixels() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_a_captioner_captions(make, run, human_corpus, tmp_path):
    found = tune(make("captioning"), run, human_corpus, tmp_path / "c")
    assert values(found, "lm") == values(found, "loss")
    assert values(found, "holdout_score") == [-loss for loss in values(found, "holdout_lm")]
    captioner = load_captioner(name(found, "caption.model"), "a picture of ", SAMPLING, "float32", torch.device("cpu"))
    said = captioner.caption(pixels(), np.full((2, 3, 10), 0.5))
    assert [len(captions) for captions in said] == [3, 3]


def test_the_best_captioner_may_be_told_by_what_it_writes(make, run, human_corpus, tmp_path):
    found = tune(make("captioning", best_by="cider"), run, human_corpus, tmp_path / "c")
    assert values(found, "holdout_score") == values(found, "holdout_cider")
    assert len(values(found, "holdout_lm")) == 2


def test_cider_is_that_of_what_the_folder_writes(make, run):
    recipe = make("captioning", freeze_vision=True)
    built, seen = build(recipe, run), pixels()
    said = written(built, seen)
    references = ((said[0], "a square"), ("a blue circle on white", f"one circle {said[1]}"))
    held_out = HeldOut(seen, tuple(own[0] for own in references), references, ())
    measured = cider(built, held_out, "a picture of ", "float32", torch.device("cpu"))
    with torch.no_grad():
        features = built.model.eval().visual_encoder(seen)
    frozen = cider(built, held_out._replace(images=features), "a picture of ", "float32", torch.device("cpu"))
    by_hand, _ = Cider().compute_score(
        {number: list(own) for number, own in enumerate(references)}, {number: [text] for number, text in said.items()}
    )
    assert by_hand > 0
    assert measured == pytest.approx(by_hand, rel=1e-12)
    assert frozen == pytest.approx(by_hand, rel=1e-12)


def written(built, seen: torch.Tensor) -> dict[int, str]:
    """What transformers' own beam search says of the images."""
    with tempfile.TemporaryDirectory() as folder:
        write_folder(
            built.model.state_dict(), describe_trained(built.config, None), built.tokens.tokenizer, Path(folder)
        )
        model = BlipForConditionalGeneration.from_pretrained(folder)
    prompt = built.tokens.tokenizer("a picture of ", add_special_tokens=False)["input_ids"]
    opening = torch.tensor([[built.tokens.start, *prompt, 0]] * len(seen))  # its `generate` drops the last token
    texts = model.generate(pixel_values=seen, input_ids=opening, num_beams=3, max_new_tokens=16, min_new_tokens=1)
    decode = built.tokens.tokenizer.decode
    return {
        n: decode(row, skip_special_tokens=True).removeprefix("a picture of").strip() for n, row in enumerate(texts)
    }


def test_a_matcher_matches_and_the_best_of_its_measurements_is_kept(make, run, human_corpus, tmp_path, monkeypatch):
    scores = iter([0.3, 0.9, 0.2, 0.1])
    kept: list[dict[str, torch.Tensor]] = []

    def measured(task, step):
        kept.append({name: value.clone() for name, value in task.objective.state_dict().items()})
        return {"images": 2, "score": next(scores)}

    monkeypatch.setattr("stages.finetune.task.FinetuneTask.measure", measured)
    found = tune(make("retrieval", epochs=4), run, human_corpus, tmp_path / "r")
    assert values(found, "holdout_score") == [0.3, 0.9, 0.2, 0.1]
    state = read_blip(str(found.sides["checkpoint"]), None, "x").state
    assert all(torch.equal(state[name], value) for name, value in kept[1].items() if name in state)
    scorer = load_itm(name(found, "filter.model"), "float32", torch.device("cpu"))
    assert 0 < scorer.score(pixels()[:1], [["a red circle"]])[0][0] < 1


def test_one_model_may_be_both(make, run, human_corpus, tmp_path):
    found = tune(make(["retrieval", "captioning"]), run, human_corpus, tmp_path / "b")
    for step in zip(*(values(found, each) for each in ("loss", "itc", "itm", "lm")), strict=True):
        assert step[0] == pytest.approx(sum(step[1:]), rel=1e-5)
    load_itm(name(found, "filter.model"), "float32", torch.device("cpu"))
    load_captioner(name(found, "caption.model"), "a picture of ", SAMPLING, "float32", torch.device("cpu"))


def test_only_what_people_wrote_is_learnt(make, run, corpus, tmp_path):
    without = [{role: own for role, own in shard.inputs.items() if role != "selection"} for shard in corpus]
    corpus = tuple(replace(shard, inputs=inputs) for shard, inputs in zip(corpus, without, strict=True))
    with pytest.raises(UserError, match=r"finetune: the corpus has 0 image\(s\)"):
        tune(make("captioning"), run, corpus, tmp_path / "s")
