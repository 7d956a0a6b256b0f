"""The stages that write captions, declared: candidates for a corpus, and predictions that are measured."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from stages.contract import CAPTIONED, ModelRunOptions, Port, PretrainedRecipe, Seed, StageSpec

DRAWING = ("top_p", "top_k", "temperature")
"""The settings that say how a token is drawn, which a beam search never does."""


class CaptionRecipe(PretrainedRecipe):
    """Which BLIP captioner, and how it is sampled.

    Lengths count the tokens (word pieces) behind the prompt, the end token among them, as transformers'
    `max_new_tokens` does. BLIP's own max_length 20 and min_length 5 count [DEC] and "a picture of" too: here 16 and 1.
    """

    prompt: str | None = None
    """What the captions begin with; it is not part of them. None: what the captioner was trained with, of BLIP "a
    picture of ", of a published BLIP-2 nothing."""
    candidates: Annotated[int, Field(ge=1, le=1000)] = 10
    """Captions per image."""
    top_p: Annotated[float, Field(ge=1e-6, le=1)] = 0.9
    """Nucleus: the most likely tokens that together have this probability; 1 keeps all."""
    top_k: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """At most this many tokens to choose from. BLIP's published sampling ran with transformers' hidden default, 50."""
    temperature: Annotated[float, Field(ge=0.05, le=100)] = 1.0
    """What logits are divided by: below 1 likely tokens become likelier. Near 0 only rounding errors would choose; for
    the likeliest caption there is `beams`."""
    repetition_penalty: Annotated[float, Field(ge=0.1, le=10)] = 1.0
    """Above 1, tokens of the prompt or already drawn become less likely. BLIP's published sampling has 1.1."""
    max_length: Annotated[int, Field(ge=1, le=1024)] = 20
    """A caption is cut after so many tokens."""
    min_length: Annotated[int, Field(ge=0, le=1024)] = 5
    """So many tokens come before a caption may end."""
    beams: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Beam search over so many texts in place of sampling; the best `candidates` of them are taken. 1 is greedy.

    A text's score is its log probability divided by its length: the tokens behind the prompt, the end token among them,
    as in transformers' `generate`. BLIP's own code divides by the whole length, the prompt counted too, and so prefers
    somewhat shorter texts.
    """
    seed: Seed = 0
    """With an image's address and text, and a candidate's number, it determines the random numbers of that caption."""

    @model_validator(mode="after")
    def _settings_agree(self) -> CaptionRecipe:
        _check_lengths(self.min_length, self.max_length)
        if self.beams is None and self.top_k == 1 and self.candidates > 1:
            raise ValueError(
                f"top_k 1 leaves one token to choose, so that all candidates {self.candidates} would be the same; "
                "set candidates to 1, or raise top_k"
            )
        return self

    @model_validator(mode="after")
    def _beams_suffice(self) -> CaptionRecipe:
        if self.beams is None:
            return self
        if self.candidates > self.beams:
            raise ValueError(
                f"candidates {self.candidates} are more than the beams {self.beams}; lower the one or raise the other"
            )
        fields = type(self).model_fields
        if idle := [name for name in DRAWING if getattr(self, name) != fields[name].default]:
            raise ValueError(
                f"beams {self.beams} search for the likeliest texts, and nothing is drawn; "
                f"leave out {' and '.join(idle)}"
            )
        return self


class PredictRecipe(PretrainedRecipe):
    """Which captioner is measured, and how it searches; the defaults are BLIP's on COCO.

    Lengths are counted as in `CaptionRecipe`: BLIP's 20 and 5, less the four tokens that a caption begins with.
    """

    prompt: str | None = None
    """What the captions begin with; it is not part of them. None: what the captioner was trained with, of BLIP "a
    picture of ", of a published BLIP-2 nothing."""
    beams: Annotated[int, Field(ge=1, le=1000)] = 3
    """Texts that are followed; the best one is taken. 1 is greedy."""
    max_length: Annotated[int, Field(ge=1, le=1024)] = 16
    """A caption is cut after so many tokens."""
    min_length: Annotated[int, Field(ge=0, le=1024)] = 1
    """So many tokens come before a caption may end."""
    repetition_penalty: Annotated[float, Field(ge=0.1, le=10)] = 1.0
    """As in `CaptionRecipe`; BLIP has 1.1 on NoCaps."""

    @model_validator(mode="after")
    def _lengths_agree(self) -> PredictRecipe:
        _check_lengths(self.min_length, self.max_length)
        return self

    def writing(self) -> CaptionRecipe:
        """The same, as the caption stage is told."""
        return CaptionRecipe(candidates=1, **self.model_dump())


def _check_lengths(least: int, most: int) -> None:
    if least > most:
        raise ValueError(f"min_length {least} is more than max_length {most}; lower the one or raise the other")


PREDICT = StageSpec(
    name="predict",
    version=1,
    reads={"urls": Port("urls"), "images": Port("images")},
    writes="predictions",
    recipe=PredictRecipe,
    run=ModelRunOptions,
    model="captioner",
    compute="stages.caption.predict:Predict",
    uses=frozenset({"measure"}),
)

SPEC = StageSpec(
    name="caption",
    version=3,
    reads={"images": Port("images"), "duplicates": Port("duplicates", optional=True)},
    writes="captions",
    recipe=CaptionRecipe,
    run=ModelRunOptions,
    model="captioner",
    compute="stages.caption.compute:Caption",
    uses=CAPTIONED,
)
