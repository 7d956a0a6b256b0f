"""Every stage, in the order in which a main job passes through them."""

from __future__ import annotations

from stages.align.spec import SPEC as ALIGN
from stages.annotate.spec import QUESTIONS
from stages.annotate.spec import SPEC as ANNOTATE
from stages.answer.spec import SPEC as ANSWER
from stages.caption.spec import PREDICT
from stages.caption.spec import SPEC as CAPTION
from stages.contract import StageSpec
from stages.dedup.spec import SPEC as DEDUP
from stages.download.spec import SPEC as DOWNLOAD
from stages.evaluate.spec import ANSWERS as EVALUATE_ANSWERS
from stages.evaluate.spec import CAPTIONS as EVALUATE_CAPTIONS
from stages.evaluate.spec import SPEC as EVALUATE
from stages.finetune.spec import SPEC as FINETUNE
from stages.hash.spec import SPEC as HASH
from stages.med.spec import SPEC as MED
from stages.pretrain.spec import SPEC as PRETRAIN
from stages.repeats.spec import SPEC as REPEATS
from stages.score.spec import FILTER, RANK
from stages.select.spec import SPEC as SELECT
from stages.shuffle.spec import SPEC as SHUFFLE
from stages.urls.spec import SPEC as URLS
from stages.weigh.spec import SPEC as WEIGH

STAGES: dict[str, StageSpec] = {
    spec.name: spec
    for spec in (
        URLS,
        DOWNLOAD,
        HASH,
        DEDUP,
        ANNOTATE,
        QUESTIONS,
        SHUFFLE,
        CAPTION,
        RANK,
        FILTER,
        WEIGH,
        REPEATS,
        SELECT,
        MED,
        FINETUNE,
        PRETRAIN,
        ALIGN,
        EVALUATE,
        PREDICT,
        EVALUATE_CAPTIONS,
        ANSWER,
        EVALUATE_ANSWERS,
    )
}
