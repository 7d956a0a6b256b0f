"""Every stage, and how stages follow one another: the DAG as data."""

from __future__ import annotations

from stages.annotate.spec import SPEC as ANNOTATE
from stages.caption.spec import SPEC as CAPTION
from stages.contract import StageSpec
from stages.dedup.spec import SPEC as DEDUP
from stages.download.spec import SPEC as DOWNLOAD
from stages.evaluate.spec import SPEC as EVALUATE
from stages.hash.spec import SPEC as HASH
from stages.pretrain.spec import SPEC as PRETRAIN
from stages.score.spec import FILTER, RANK
from stages.select.spec import SPEC as SELECT
from stages.urls.spec import SPEC as URLS

STAGES: dict[str, StageSpec] = {
    spec.name: spec
    for spec in (URLS, DOWNLOAD, HASH, DEDUP, ANNOTATE, CAPTION, RANK, FILTER, SELECT, PRETRAIN, EVALUATE)
}

WEB_CHAIN = ("urls", "download", "hash", "dedup", "caption", "rank", "filter", "select")
"""What the rows of a web source pass through."""

HUMAN_CHAIN = ("urls", "download", "annotate", "select")
"""Human annotations are taken as they are: no captions are written for them and no filter judges them."""

EVALUATION_CHAIN = ("urls", "download", "annotate")
"""What is evaluated on is not selected from, and never part of the corpus."""
