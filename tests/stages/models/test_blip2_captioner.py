"""BLIP-2's captioner against transformers' own, for a language model that goes on and one that reads and writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from small_language import UNSAID, save_blip2_captioner, save_opt, save_t5
from torch import Tensor

from stages.errors import UserError
from stages.models.blip.sampling import Sampling
from stages.models.blip.writing import write
from stages.models.families import load_captioner
from stages.models.family import ModelName
from stages.models.language.model import Read
from stages.models.randomness import uniform_grid

PROMPTS = ["", "a photo of"]
END = {"opt": 202, "t5": 1}
QUERIES = 5
CPU = torch.device("cpu")


class Both(NamedTuple):
    kind: str
    folder: Path
    theirs: Any


@pytest.fixture(scope="module", params=["opt", "t5"])
def both(request, tmp_path_factory) -> Both:
    folder = tmp_path_factory.mktemp("blip2")
    {"opt": save_opt, "t5": save_t5}[request.param](folder / request.param)
    theirs = save_blip2_captioner(folder / "whole", folder / request.param)
    return Both(request.param, folder / "whole", theirs)


def settings(**changes: Any) -> Sampling:
    values = {"top_p": 0.9, "top_k": None, "temperature": 1.0, "repetition_penalty": 1.0}
    return Sampling(**(values | {"max_length": 8, "min_length": 2} | changes))


def load(both: Both, prompt: str | None, sampling: Sampling) -> Any:
    return load_captioner(ModelName("caption.model", str(both.folder)), prompt, sampling, "float32", CPU)


def pixels(images: int = 4) -> Tensor:
    return torch.randn(images, 3, 32, 32, generator=torch.Generator().manual_seed(7))


def read(captioner: Any, both: Both, prompt: str) -> list[int]:
    """What stands behind the image: the placeholders are not among it."""
    tokenizer = captioner._parts.language._tokenizer
    ids = tokenizer(prompt)["input_ids"]
    return ids if both.kind == "t5" else [2, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]


def generate(captioner: Any, both: Both, prompt: str, shown: Tensor, **how: Any) -> list[list[int]]:
    """transformers' tokens, as many of each image as are asked for, up to the end."""
    ids = torch.tensor([UNSAID[both.kind]] * QUERIES + read(captioner, both, prompt)).expand(len(shown), -1)
    marks = {"eos_token_id": END[both.kind], "pad_token_id": 0}
    said = both.theirs.generate(shown, input_ids=ids, **marks, **how).tolist()
    cut = 1 if both.kind == "t5" else ids.shape[1]
    return [row[: row.index(END[both.kind])] if END[both.kind] in row else row for row in (row[cut:] for row in said)]


def texts(captioner: Any, rows: list[list[int]]) -> list[str]:
    return [captioner._parts.language.text(row) for row in rows]


@pytest.mark.parametrize(
    ("prompt", "beams", "least", "most"), [("", 3, 0, 8), ("a photo of", 5, 3, 6), ("a photo of", 1, 2, 8)]
)
def test_beams_are_those_of_generate(both, prompt, beams, least, most):
    captioner = load(both, prompt, settings(beams=beams, min_length=least, max_length=most))
    lengths = {"num_beams": beams, "num_return_sequences": beams, "max_new_tokens": most, "min_new_tokens": least}
    expected = texts(captioner, generate(captioner, both, prompt, pixels(), do_sample=False, **lengths))
    found = captioner.caption(pixels(), uniform_grid(0, list("abcd"), beams, most))
    assert [caption.text for of_image in found for caption in of_image] == expected
    assert len(set(expected)) > 1 or beams == 1


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_logprob_is_what_the_whole_text_is_given_at_once(both, prompt):
    sampling, numbers = settings(top_p=1.0, min_length=0), torch.from_numpy(uniform_grid(3, ["a", "b"], 3, 8))
    captioner = load(both, prompt, sampling)
    soft = captioner._soft_prompts(pixels(2))
    drawn = write(captioner._writer, soft, captioner._prompt, numbers, sampling)
    rows = [
        row[: row.index(END[both.kind]) + 1] if END[both.kind] in row else row
        for row in drawn.tokens.flatten(0, 1).tolist()
    ]
    assert len({tuple(row) for row in rows}) > 3
    for number, row in enumerate(rows):
        given = read(captioner, both, prompt)
        whole = Read(*map(torch.tensor, ([given], [[True] * len(given)], [row])))
        if both.kind == "opt":
            ids = torch.tensor([given + row])
            whole = Read(ids, torch.ones_like(ids, dtype=torch.bool), ids)
        with torch.no_grad():
            logits = captioner._parts.language.logits(soft[number // 3][None], whole)[0, -len(row) :]
        wanted = sum(float(own.log_softmax(-1)[token]) for own, token in zip(logits, row, strict=True))
        assert drawn.logprobs.flatten()[number].item() == pytest.approx(wanted, rel=1e-4)


def test_a_caption_hangs_on_its_own_numbers_alone(both):
    captioner = load(both, None, settings())
    whole = captioner.caption(pixels(), uniform_grid(0, list("abcd"), 4, 8))
    (alone,) = captioner.caption(pixels()[2:3], uniform_grid(0, ["c"], 2, 8))
    for one, other in zip(alone, whole[2], strict=False):
        assert one.text == other.text
        assert one.logprob == pytest.approx(other.logprob, rel=1e-4)


def test_an_image_is_encoded_once_and_its_prompt_read_once(both, monkeypatch):
    captioner, calls = load(both, None, settings()), []
    tower, read_prompt = captioner._parts.tower, captioner._writer.read_prompt

    def encode(shown: Tensor) -> Tensor:
        calls.append(len(shown))
        return tower(shown)

    def read_once(soft: Tensor, *more: Any) -> Any:
        calls.append(len(soft))
        return read_prompt(soft, *more)

    monkeypatch.setattr(captioner, "_parts", replace(captioner._parts, tower=encode))
    monkeypatch.setattr(captioner._writer, "read_prompt", read_once)
    captioner.caption(pixels(3), uniform_grid(0, list("abc"), 10, 8))
    assert calls == [3, 3]


def test_numbers_that_are_not_finite_cost_their_image_alone(both):
    shown = pixels(3)
    shown[1] = torch.inf
    found = load(both, None, settings()).caption(shown, uniform_grid(0, list("abc"), 2, 8))
    assert [one is None for one in found] == [False, True, False]


def test_what_cannot_be_is_told(both):
    name = ModelName("caption.model", str(both.folder))
    if both.kind == "t5":
        with pytest.raises(UserError, match=r"caption\.dtype: T5's numbers overflow in float16"):
            load_captioner(name, None, settings(), "float16", CPU)
    else:
        with pytest.raises(UserError, match=r"caption\.max_length: 60 tokens behind 6 of image and prompt .* 64 posit"):
            load_captioner(name, None, settings(max_length=60), "float32", CPU)
