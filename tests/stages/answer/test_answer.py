"""Answers to questions about images, as transformers' model and the rules of ranking have them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from committed import write
from PIL import Image
from pydantic import ValidationError
from torch.nn.functional import cross_entropy
from transformers import BlipForQuestionAnswering

from stages.answer.compute import Answer
from stages.answer.spec import AnswerRecipe, AnswerRun
from stages.contract import Output, Shard
from stages.errors import UserError
from stages.models.bert_tokenizer import load_blip_tokenizer
from stages.models.blip.folder import write_folder
from stages.models.blip.text import clean_question
from stages.models.blip.trainable.config import BlipConfig, TextConfig, VisionConfig
from stages.models.blip.trainable.published import describe_trained
from stages.models.blip.trainable.vqa import Vqa
from stages.tables import ANSWERED, QUESTIONS

RUN = AnswerRun(device="cpu", threads=1, batch_size=3, questions=2)
ASKED = ["Is the cat on it?", "A small, red circle: where?", "Two dogs"]
LIST = ["red", "red circle", "two", "two cats", "a dog sits", "green", "on the square", "blue", "with one cat", "at"]


def save(folder: Path, clip_folder: Path, width: int) -> str:
    """Random weights, large enough that image and question change the answer."""
    tokenizer = load_blip_tokenizer(str(clip_folder), None, "x")
    text = TextConfig(vocabulary=len(tokenizer), width=width, layers=2, heads=4, positions=40)
    config = BlipConfig(vision=VisionConfig(width=32, layers=2, heads=4, patch=8, image_size=32), text=text)
    torch.manual_seed(3)
    model = Vqa(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2 and "word_embeddings" not in name:
                parameter.normal_(std=0.25)
    write_folder(model.state_dict(), describe_trained(config, width), tokenizer, folder)
    return str(folder)


@pytest.fixture(scope="module")
def folder(clip_folder, tmp_path_factory) -> str:
    return save(tmp_path_factory.mktemp("vqa"), clip_folder, 32)


@pytest.fixture
def shard(make_shard, pictures: dict[str, Image.Image]) -> Shard:
    """Seven pictures with two or three questions each, a damaged one, and one that has no questions."""
    made = make_shard({**pictures, "web-0-0-bad": b"no picture", "web-0-0-mute": next(iter(pictures.values()))})
    made.scratch.mkdir()
    keys = [*pictures, "web-0-0-bad"]
    rows = [
        {"key": key, "question_id": f"{number}{place}", "question": question, "answers": []}
        for number, key in enumerate(keys)
        for place, question in enumerate(ASKED[: 2 + number % 2])
    ]
    questions = write(made.scratch.parent / "questions.parquet", rows, QUESTIONS)
    return replace(made, inputs={**made.inputs, "questions": (questions,)})


def answer(shard: Shard, **recipe: object) -> Output:
    return Answer(AnswerRecipe(**recipe), RUN)(shard)


@pytest.fixture(scope="module")
def theirs(folder) -> BlipForQuestionAnswering:
    return BlipForQuestionAnswering.from_pretrained(folder).eval()


def pixels(image: Image.Image) -> torch.Tensor:
    pressed = np.array(image.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    return torch.from_numpy(((pressed - mean) / std).transpose(2, 0, 1)).float()[None]


def ids_of(tokenizer, text: str, first: str) -> torch.Tensor:
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    ids[:, 0] = tokenizer.convert_tokens_to_ids(first)
    return ids


@torch.no_grad()
def states(model, tokenizer, image: Image.Image, question: str) -> torch.Tensor:
    seen = model.vision_model(pixels(image)).last_hidden_state
    ids = ids_of(tokenizer, clean_question(question), "[ENC]")
    return model.text_encoder(ids, encoder_hidden_states=seen, return_dict=True).last_hidden_state


@torch.no_grad()
def ranked(model, tokenizer, seen: torch.Tensor, top_k: int) -> str:
    """By the rules: first tokens' probabilities choose the candidates, the smoothed loss of all tokens the answer."""
    decoder = model.text_decoder
    begin = torch.tensor([[tokenizer.convert_tokens_to_ids("[DEC]")]])
    first = decoder(begin, encoder_hidden_states=seen).logits[0, -1]
    read = [ids_of(tokenizer, text, "[DEC]") for text in LIST]
    likely = torch.tensor([first[ids[0, 1]] for ids in read]).topk(top_k).indices.tolist()
    losses = {}
    for one in likely:
        logits = decoder(read[one], encoder_hidden_states=seen).logits[0, :-1]
        losses[one] = cross_entropy(logits, read[one][0, 1:], label_smoothing=0.1, reduction="sum").item()
    return LIST[min(losses, key=losses.__getitem__)]


def asked(shard: Shard) -> list[tuple[str, str]]:
    rows = shard.one("questions").table(["key", "question"]).to_pylist()
    return [(row["key"], row["question"]) for row in rows if row["key"] != "web-0-0-bad"]


@pytest.mark.parametrize("top_k", [3, 128])
def test_ranked_answers(folder, theirs, shard, pictures, tmp_path, top_k):
    listed = tmp_path / "answer_list.json"
    listed.write_text(json.dumps(LIST))
    output = answer(shard, model=folder, answer_list=str(listed), top_k=top_k)
    assert output.table.schema == ANSWERED
    tokenizer = load_blip_tokenizer(folder, None, "x")
    wanted = [
        ranked(theirs, tokenizer, states(theirs, tokenizer, pictures[key], question), min(top_k, len(LIST)))
        for key, question in asked(shard)
    ]
    found = output.table.to_pylist()
    assert [row["answer"] for row in found[:-3]] == wanted
    assert len(set(wanted)) > 1
    lost = found[-3:]
    assert [row["answer"] for row in lost] == [""] * 3
    assert all("cannot be decoded" in row["error"] for row in lost)
    assert output.counts == {"questions": 20, "failed": 3}
    official = json.loads(output.sides["json"].read_text())
    assert official == [{"question_id": int(row["question_id"]), "answer": row["answer"]} for row in found[:-3]]


@torch.no_grad()
def test_free_answers_are_transformers_beams(folder, theirs, shard, pictures):
    found = answer(shard, model=folder, decode="free").table["answer"].to_pylist()
    tokenizer = load_blip_tokenizer(folder, None, "x")
    wanted = []
    for key, question in asked(shard):
        drawn = theirs.text_decoder.generate(
            input_ids=torch.tensor([[tokenizer.convert_tokens_to_ids("[DEC]")]]),
            encoder_hidden_states=states(theirs, tokenizer, pictures[key], question),
            num_beams=3,
            max_length=10,
            min_length=1,
            do_sample=False,
            eos_token_id=tokenizer.sep_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        wanted.append(tokenizer.decode(drawn[0], skip_special_tokens=True))
    assert found[:-3] == wanted
    assert len(set(wanted)) > 1


def test_a_decoder_of_another_width_than_the_image_tower(clip_folder, shard, tmp_path):
    folder = save(tmp_path / "wide", clip_folder, 48)
    (tmp_path / "wide/answer_list.json").write_text(json.dumps(LIST))
    for decode in ("rank", "free"):
        assert answer(shard, model=folder, decode=decode).counts == {"questions": 20, "failed": 3}


def test_what_there_is_to_choose_from_is_asked_for(folder, captioner_folder, shard, tmp_path):
    with pytest.raises(UserError, match=r"answer\.answer_list: .* has no answer_list\.json to choose answers from"):
        answer(shard, model=folder)
    with pytest.raises(UserError, match=r"answer\.model: .* is a BLIP captioner; name a model that answers questions"):
        answer(shard, model=str(captioner_folder))
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UserError, match="is no JSON list of answers"):
        answer(shard, model=folder, answer_list=str(tmp_path / "bad.json"))
    with pytest.raises(ValidationError, match=r"write \./answers\.json"):
        AnswerRecipe(model=folder, answer_list="answers.json")
    with pytest.raises(ValidationError, match="decode is free"):
        AnswerRecipe(model=folder, answer_list="./a.json", decode="free")
