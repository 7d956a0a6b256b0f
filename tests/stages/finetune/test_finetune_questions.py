"""A BLIP that learns to answer: what it is fed, what it begins with, what is left, and who loads it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc
import pytest
import torch
from committed import write
from transformers import BlipForQuestionAnswering

from stages.contract import CorpusJob, CorpusShard, Output, Wired
from stages.errors import UserError
from stages.finetune.build import build
from stages.finetune.compute import Finetune
from stages.finetune.spec import SPEC, FinetuneRecipe, FinetuneRun
from stages.models.bert_tokenizer import load_blip_tokenizer
from stages.models.blip.folder import write_folder
from stages.models.blip.reading import read_blip
from stages.models.blip.text import clean_question
from stages.models.blip.trainable.config import BlipConfig, TextConfig, VisionConfig
from stages.models.blip.trainable.published import describe_trained
from stages.models.blip.trainable.vqa import Vqa
from stages.tables import QUESTIONS

RUN = FinetuneRun(device="cpu", threads=1, readers=1, checkpoint_every=100)
ANSWERS = [{"answer": "red", "count": 9, "weight": 0.9}, {"answer": "two cats", "count": 1, "weight": 0.1}]
Make = Callable[..., FinetuneRecipe]


@pytest.fixture(scope="module")
def asked_corpus(human_corpus, tmp_path_factory) -> tuple[CorpusShard, ...]:
    """The learnable pictures, each with two questions, and one that nobody answered."""
    (shard,) = human_corpus
    rows = []
    for key in shard.one("images").table(["key"])["key"].to_pylist():
        for number, (question, answers) in enumerate(
            (("What colour (is) it?", ANSWERS), ("Is it large?", ANSWERS[1:]), ("Why?", []))
        ):
            rows.append({"key": key, "question_id": f"{key}{number}", "question": question, "answers": answers})
    questions = write(tmp_path_factory.mktemp("asked") / "questions.parquet", rows, QUESTIONS)
    return (replace(shard, inputs={"images": shard.all("images"), "questions": (questions,)}),)


@pytest.fixture(scope="module")
def published(clip_folder, tmp_path_factory) -> str:
    """A folder as transformers publishes models that answer, with random weights."""
    tokenizer = load_blip_tokenizer(str(clip_folder), None, "x")
    text = TextConfig(vocabulary=len(tokenizer), width=32, layers=2, heads=4, positions=40)
    config = BlipConfig(vision=VisionConfig(width=32, layers=2, heads=4, patch=8, image_size=32), text=text)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("published")
    write_folder(Vqa(config).state_dict(), describe_trained(config, 32), tokenizer, folder)
    return str(folder)


@pytest.fixture(scope="module")
def make(published) -> Make:
    def make(**changes: object) -> FinetuneRecipe:
        values = {"task": "vqa", "init": published, "image_size": 32, "batch_size": 16, "epochs": 2, "holdout": 0.2}
        return FinetuneRecipe.model_validate({"augment": "none", "lr": 1e-3, **values, **changes})

    return make


def tune(recipe: FinetuneRecipe, corpus: tuple[CorpusShard, ...], folder: Path) -> Output:
    folder.mkdir()
    return Finetune(recipe, RUN)(CorpusJob(corpus, str(folder / "checkpoints"), folder))


def values(output: Output, measure: str) -> list[float]:
    return output.table.filter(pc.field("measure") == measure)["value"].to_pylist()


def test_a_published_model_goes_on_and_transformers_loads_the_result(make, asked_corpus, tmp_path):
    found = tune(make(), asked_corpus, tmp_path / "v")
    losses = values(found, "loss")
    assert losses == values(found, "lm")
    assert losses[-1] < losses[0]
    assert values(found, "holdout_score") == [-loss for loss in values(found, "holdout_lm")]
    folder = found.sides["checkpoint"]
    assert json.loads((folder / "answer_list.json").read_text()) == ["red", "two cats"]
    model, info = BlipForQuestionAnswering.from_pretrained(folder, output_loading_info=True)
    assert not any(info[each] for each in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.config.architectures == ["BlipForQuestionAnswering"]


def test_of_each_question_all_answers_are_learnt_with_their_weights(make, asked_corpus, tmp_path, monkeypatch):
    fed = []

    def forward(self, batch, plain=Vqa.forward):
        fed.append(batch)
        return plain(self, batch)

    monkeypatch.setattr(Vqa, "forward", forward)
    tune(make(epochs=1, holdout=0), asked_corpus, tmp_path / "f")
    tokenizer = load_blip_tokenizer(make().init, None, "x")
    seen = []
    for batch in fed:
        first = 0
        texts = [tokenizer.decode(ids) for ids in batch.answers.ids.split(batch.answers.lengths)]
        questions = [tokenizer.decode(ids[1:-1]) for ids in batch.questions.ids.split(batch.questions.lengths)]
        for question, number in zip(questions, batch.answers_of, strict=True):
            own = zip(texts[first : first + number], batch.weights[first : first + number].tolist(), strict=True)
            seen.append((question, tuple((text, round(weight, 6)) for text, weight in own)))
            first += number
    ask = {
        tokenizer.decode(tokenizer(clean_question(text))["input_ids"][1:-1]): answers
        for text, answers in (("What colour (is) it?", ANSWERS), ("Is it large?", ANSWERS[1:]))
    }
    wanted = {(q, tuple((f"[CLS] {a['answer']} [SEP]", a["weight"]) for a in answers)) for q, answers in ask.items()}
    assert set(seen) == wanted
    assert len(seen) == 96  # 48 pictures, two questions that have answers


def test_what_looks_at_another_width_is_drawn_and_told(make, captioner_folder, caplog):
    with caplog.at_level(logging.WARNING):
        built = build(make(init=str(captioner_folder)), RUN)
    assert "looks at images, 32 wide, and is to look at questions, 48 wide" in caplog.text
    cross = [name for name in built.drawn if name.startswith("text_decoder")]
    assert cross
    assert all(".crossattention.self." in name and name.endswith(".weight") for name in cross)
    held = read_blip(str(captioner_folder), None, "x").state["text_decoder.bert.encoder.layer.0.output.dense.weight"]
    assert torch.equal(built.model.state_dict()["text_decoder.bert.encoder.layer.0.output.dense.weight"], held)


def test_a_model_of_two_widths_is_read_again_as_it_was(make, asked_corpus, captioner_folder, tmp_path):
    found = tune(make(init=str(captioner_folder), epochs=1, holdout=0), asked_corpus, tmp_path / "w")
    again = read_blip(str(found.sides["checkpoint"]), None, "x")
    assert again.description.text.source_width == 48
    assert build(make(init=str(found.sides["checkpoint"])), RUN).drawn == []


def test_the_defaults_are_blips(published):
    recipe = FinetuneRecipe(task="vqa", init=published)
    assert (recipe.image_size, recipe.epochs, recipe.lr, recipe.min_lr, recipe.batch_size) == (480, 10, 2e-5, 0, 256)
    assert (recipe.drop_path, recipe.max_text_tokens, recipe.max_words, recipe.weight_decay) == (0.1, 35, 50, 0.05)
    with pytest.raises(ValueError, match="task vqa makes a model of its own"):
        FinetuneRecipe(task=["vqa", "captioning"], init=published)


def test_each_task_takes_its_own_sources(make):
    assert SPEC.narrow(make()) == {"questions"}
    assert SPEC.narrow(make(task="captioning")) == {"pairs", "both"}
    wired = {"asked": Wired("questions", {"images": {}})}
    assert [words for _, words in SPEC.check(make(), wired)] == [
        "reads questions of the source 'asked', and finds none; let its 'reads:' name who writes them"
    ]


def test_a_source_without_answers_teaches_nothing(make, asked_corpus, tmp_path):
    (shard,) = asked_corpus
    rows = [row | {"answers": []} for row in shard.one("questions").table().to_pylist()]
    silent = write(tmp_path / "questions.parquet", rows, QUESTIONS)
    corpus = (replace(shard, inputs={**shard.inputs, "questions": (silent,)}),)
    with pytest.raises(UserError, match=r"finetune: the corpus has 0 image\(s\)"):
        tune(make(), corpus, tmp_path / "s")


def test_questions_are_cleaned_as_blip_cleans_them():
    assert clean_question('What "COLOUR" is the #1 car; (left): U.S.? ') == "what colour is the 1 car left us?"
    assert clean_question("one  two three", 2) == "one "  # two blanks have an empty word between them
