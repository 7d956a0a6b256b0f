"""The decoder step by step against transformers' own forward without a cache."""

import pytest
import small_models
import torch
from torch import Tensor
from transformers import BlipForConditionalGeneration

from stages.models.blip.decoding import Decoder, Prompt, sample
from stages.models.blip.sampling import Sampling
from stages.models.blip.vision import BlipVision

PROMPT = [small_models.ID["[DEC]"], small_models.ID["a"], small_models.ID["picture"]]
STEPS, CANDIDATES, IMAGES = 9, 4, 3


@pytest.fixture(scope="module", params=[1, 3, 12])
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BlipForConditionalGeneration:
    folder = small_models.save_captioner(tmp_path_factory.mktemp("models") / "captioner", text_heads=request.param)
    return BlipForConditionalGeneration.from_pretrained(folder)


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return torch.randn(IMAGES, 3, small_models.IMAGE_SIZE, small_models.IMAGE_SIZE)


@pytest.fixture(scope="module")
def forced() -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(6, len(small_models.VOCABULARY), (IMAGES * CANDIDATES, STEPS), generator=generator)


@torch.no_grad()
def expected_logits(reference: BlipForConditionalGeneration, pixels: Tensor, tokens: Tensor) -> Tensor:
    """Logits behind the prompt and behind each token, (rows, 1 + tokens, vocabulary); a row has its own image."""
    ids = torch.cat([torch.tensor([PROMPT]).expand(len(tokens), -1), tokens], dim=1)
    logits = reference(pixel_values=pixels, input_ids=ids).logits
    assert isinstance(logits, Tensor)
    return logits[:, len(PROMPT) - 1 :]


def test_the_image_tower_is_that_of_transformers(reference: BlipForConditionalGeneration, pixels: Tensor) -> None:
    with torch.no_grad():
        expected = reference.vision_model(pixels).last_hidden_state
    assert (BlipVision(reference.vision_model)(pixels) - expected).abs().max() < 1e-5


def test_the_logits_of_every_step(reference: BlipForConditionalGeneration, pixels: Tensor, forced: Tensor) -> None:
    expected = expected_logits(reference, pixels.repeat_interleave(CANDIDATES, dim=0), forced)
    embeds = BlipVision(reference.vision_model)(pixels)
    reading, logits = Decoder(reference.text_decoder).read_prompt(embeds, PROMPT, CANDIDATES, STEPS)
    assert (logits - expected[:, 0]).abs().max() < 1e-4
    for step in range(STEPS):
        assert (reading.read(forced[:, step]) - expected[:, step + 1]).abs().max() < 1e-4


def test_rows_that_leave_change_nothing_for_those_that_stay(
    reference: BlipForConditionalGeneration, pixels: Tensor, forced: Tensor
) -> None:
    """First single rows go, then a whole image, then all but one, so that images' keys move as well."""
    expected = expected_logits(reference, pixels.repeat_interleave(CANDIDATES, dim=0), forced)
    embeds = BlipVision(reference.vision_model)(pixels)
    reading, _ = Decoder(reference.text_decoder).read_prompt(embeds, PROMPT, CANDIDATES, STEPS)
    rows = list(range(IMAGES * CANDIDATES))
    for step, left in enumerate([rows, [0, 2, 3, 4, 7, 9, 11], [0, 3, 9, 11], [9, 11], [9]]):
        if left != rows:
            reading.keep([rows.index(row) for row in left])
            rows = left
        logits = reading.read(forced[rows, step])
        assert (logits - expected[rows, step + 1]).abs().max() < 1e-4


def test_retiring_seldom_draws_the_same(
    reference: BlipForConditionalGeneration, pixels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU captions that have ended stay some steps longer; what is drawn does not depend on it."""
    embeds, decoder = BlipVision(reference.vision_model)(pixels), Decoder(reference.text_decoder)
    numbers = torch.rand(IMAGES, 20, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    prompt = Prompt(PROMPT, end=small_models.ID["[SEP]"], pad=small_models.ID["[PAD]"])
    sampling = Sampling(0.95, None, 2.0, 1.1, max_length=16, min_length=1)
    first = sample(decoder, embeds, prompt, numbers, sampling)
    monkeypatch.setattr("stages.models.blip.decoding.RETIRE_EVERY", {"cpu": 5})
    second = sample(decoder, embeds, prompt, numbers, sampling)
    steps = first.tokens.shape[-1]
    assert torch.equal(second.tokens[..., :steps], first.tokens)
    assert (second.tokens[..., steps:] == prompt.pad).all()
    assert (second.logprobs - first.logprobs).abs().max() < 1e-4
    assert (first.tokens == prompt.end).any(-1).sum() > 5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(
    reference: BlipForConditionalGeneration, pixels: Tensor, forced: Tensor, dtype: torch.dtype
) -> None:
    """The error of all steps' logits is within 12 roundings of the format, and no greater than that of transformers."""
    half = BlipForConditionalGeneration.from_pretrained(reference.name_or_path, dtype=dtype)
    repeated = pixels.repeat_interleave(CANDIDATES, dim=0)
    exact = expected_logits(reference, repeated, forced)
    reading, logits = Decoder(half.text_decoder).read_prompt(BlipVision(half.vision_model)(pixels), PROMPT, 4, STEPS)
    steps = torch.stack([logits, *(reading.read(forced[:, step]) for step in range(STEPS))], dim=1)
    error = (steps - exact).square().mean().sqrt()
    published = (expected_logits(half, repeated.to(dtype), forced).float() - exact).square().mean().sqrt()
    assert error < 12 * torch.finfo(dtype).eps / 2 * exact.std()
    assert error < 1.25 * published
