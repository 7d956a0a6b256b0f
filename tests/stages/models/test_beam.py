"""Beam search against transformers' own."""

import copy
from pathlib import Path

import pytest
import small_models
import torch
from transformers import BlipForConditionalGeneration

from stages.models.blip.beam import search
from stages.models.blip.decoding import Decoder, Prompt
from stages.models.blip.sampling import Sampling
from stages.models.blip.vision import BlipVision

PROMPT = [small_models.ID["[DEC]"], small_models.ID["a"], small_models.ID["picture"]]
END, PAD = small_models.ID["[SEP]"], small_models.ID["[PAD]"]


@pytest.fixture(scope="module")
def reference(captioner_folder: Path) -> BlipForConditionalGeneration:
    return BlipForConditionalGeneration.from_pretrained(captioner_folder)


@pytest.mark.parametrize("beams", [2, 3, 5])
@pytest.mark.parametrize(
    ("min_length", "max_length", "penalty"), [(0, 12, 1.0), (4, 12, 1.0), (0, 12, 1.3), (0, 3, 1.0)]
)
@pytest.mark.parametrize("eagerness", [0.0, 4.0])
def test_the_captions_are_those_of_generate(
    reference: BlipForConditionalGeneration,
    beams: int,
    min_length: int,
    max_length: int,
    penalty: float,
    eagerness: float,
) -> None:
    """With an end token that comes rarely, and one that comes so often that searches end early."""
    reference = copy.deepcopy(reference)
    with torch.no_grad():
        reference.text_decoder.cls.predictions.decoder.bias[END] += eagerness
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(7))
    expected = reference.generate(
        pixels,
        input_ids=torch.tensor([[*PROMPT, END]] * 4),
        do_sample=False,
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=max_length,
        min_new_tokens=min_length,
        repetition_penalty=penalty,
    )
    sampling = Sampling(1.0, None, 1.0, penalty, max_length, min_length, beams)
    embeds = BlipVision(reference.vision_model)(pixels)
    found = search(Decoder(reference.text_decoder), embeds, Prompt(PROMPT, END, PAD), sampling)

    def texts(rows: list[list[int]]) -> list[list[int]]:
        return [row[: row.index(END) + 1] if END in row else row for row in rows]

    tokens = expected[:, len(PROMPT) :].tolist()
    assert texts(found.tokens.flatten(0, 1).tolist()) == [
        [token for token in row if token != PAD] for row in texts(tokens)
    ]
