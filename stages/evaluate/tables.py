"""The tables that evaluations leave."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa

Model = Literal[
    "qformer_itm",  # the best of ITC, ranked anew by ITM: what BLIP-2 reports
    "qformer_itc",  # the Q-Former's embeddings alone
    "clip_zero_shot",  # the embeddings of the CLIP whose image tower is frozen under the Q-Former
    "mean_pooled",  # the features that the Q-Former reads, averaged, as CLIP's image embedding
    "matcher_itm",  # a matching model's, ranked anew likewise: what BLIP reports
    "matcher_itc",  # its embeddings alone
    "chance",  # any order, as likely as any other
]
Direction = Literal["image_to_text", "text_to_image"]

RETRIEVAL = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),  # Model
        pa.field("direction", pa.string(), nullable=False),  # Direction
        pa.field("k", pa.int32(), nullable=False),
        pa.field("recall", pa.float64(), nullable=False),  # share of queries with a right answer among the best k
        pa.field("images", pa.int32(), nullable=False),  # different ones
        pa.field("texts", pa.int32(), nullable=False),  # different ones
    ]
)
"""One row per source, model, direction and k."""
