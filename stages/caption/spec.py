"""The caption stage, declared: n sampled captions beside each downloaded image's web text."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from stages.contract import ModelRunOptions, PretrainedRecipe, StageSpec


class CaptionRecipe(PretrainedRecipe):
    """Which BLIP captioner, and how it is sampled.

    Lengths count the tokens (word pieces) behind the prompt, the end token among them, as transformers'
    `max_new_tokens` does. BLIP's own max_length 20 and min_length 5 count [DEC] and "a picture of" too: here 16 and 1.
    """

    prompt: str = "a picture of "
    """What the captions begin with; it is not part of them."""
    candidates: Annotated[int, Field(ge=1, le=1000)] = 10
    """Captions per image."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Nucleus: the most likely tokens that together have this probability; 1 keeps all."""
    top_k: Annotated[int, Field(ge=1)] | None = None
    """At most this many tokens to choose from. BLIP's published sampling ran with transformers' hidden default, 50."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    repetition_penalty: Annotated[float, Field(gt=0)] = 1.0
    """Above 1, tokens of the prompt or already drawn become less likely. BLIP's published sampling has 1.1."""
    max_length: Annotated[int, Field(ge=1)] = 20
    """A caption is cut after so many tokens."""
    min_length: Annotated[int, Field(ge=0)] = 5
    """So many tokens come before a caption may end."""
    beams: Annotated[int, Field(ge=1)] | None = None
    """Beam search over so many texts in place of sampling; the best `candidates` of them are taken. 1 is greedy."""
    seed: int = 0
    """With an image's key and a candidate's number it determines the random numbers of that caption."""

    @model_validator(mode="after")
    def _beams_suffice(self) -> CaptionRecipe:
        if self.beams is not None and self.candidates > self.beams:
            raise ValueError(f"candidates {self.candidates} are more than the beams {self.beams}")
        return self


SPEC = StageSpec(
    name="caption",
    version=1,
    inputs=("urls", "download", "dedup"),
    recipe=CaptionRecipe,
    run=ModelRunOptions,
    compute="stages.caption.compute:Caption",
)
