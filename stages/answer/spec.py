"""The answer stage, declared: a model answers the questions that are measured on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.contract import ModelField, ModelRunOptions, Port, PretrainedRecipe, StageSpec, path_of


class AnswerRecipe(PretrainedRecipe):
    """Which model answers, and how; the defaults are BLIP's on VQAv2."""

    decode: Literal["rank", "free"] = "rank"
    """`rank`: one of a list of answers; `free`: what a beam search writes."""
    answer_list: Annotated[str | None, ModelField(on_hub=False)] = None
    """A JSON list of answers, such as BLIP's `./answer_list.json`; None: the one beside a model of `finetune`, with the
    3,128 that people gave most in its training."""
    top_k: Annotated[int, Field(ge=1, le=1_000_000)] = 128
    """So many answers of the list, those whose first token is likeliest, are compared as a whole."""
    beams: Annotated[int, Field(ge=1, le=1000)] = 3
    """Texts that a free answer is searched with."""
    max_length: Annotated[int, Field(ge=1, le=500)] = 9
    """Tokens of a free answer, its end among them: BLIP's 10 count [DEC] too."""
    min_length: Annotated[int, Field(ge=0, le=500)] = 0
    """So many tokens come before a free answer may end: BLIP's 1 is [DEC]."""
    max_text_tokens: Annotated[int, Field(ge=3, le=512)] = 35
    """Tokens that are read of a question, its marks included."""
    max_words: Annotated[int, Field(ge=1, le=512)] = 50
    """Words that are kept of a question before."""

    @model_validator(mode="after")
    def _check(self) -> AnswerRecipe:
        if self.decode == "free" and self.answer_list is not None:
            raise ValueError("answer_list is what decode: rank chooses from, and decode is free; leave one of them out")
        if self.answer_list is not None and path_of(self.answer_list) is None:
            raise ValueError(f"answer_list is a file; write ./{self.answer_list}")
        if self.min_length > self.max_length:
            raise ValueError(
                f"min_length {self.min_length} is more than max_length {self.max_length}; "
                "lower the one or raise the other"
            )
        return self


class AnswerRun(ModelRunOptions):
    """Where and how fast questions are answered; `batch_size` counts images."""

    questions: Annotated[int, Field(ge=1, le=65_536)] = 16
    """Questions per forward pass; with `rank` there are `top_k` answers to each."""


SPEC = StageSpec(
    name="answer",
    version=1,
    reads={"images": Port("images"), "questions": Port("questions")},
    writes="answers",
    recipe=AnswerRecipe,
    run=AnswerRun,
    model="answerer",
    compute="stages.answer.compute:Answer",
    uses=frozenset({"measure_questions"}),
)
