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
]
Direction = Literal["image_to_text", "text_to_image"]

RANKS = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),  # Model
        pa.field("direction", pa.string(), nullable=False),  # Direction
        pa.field("key", pa.string(), nullable=False),  # the image; of a text the first one that it is right for
        pa.field("text", pa.int32()),  # the text's number in its set; None where the image asks
        pa.field("rank", pa.int32()),  # 1 = no wrong answer scores as high; None: nothing right among the candidates
        pa.field("right", pa.int32(), nullable=False),  # how many answers are right, which is what chance depends on
    ]
)
"""One row per source, model and query: different images ask for texts, different texts for images."""

ANSWERING = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("subset", pa.string(), nullable=False),  # `all`, or a type of answers: `yes/no`, `number`, `other`
        pa.field("measure", pa.string(), nullable=False),  # `VQA accuracy`
        pa.field("value", pa.float64(), nullable=False),  # in [0, 1]
        pa.field("questions", pa.int32(), nullable=False),  # that it is the value of: answered, with people's answers
    ]
)
"""One row per source and part of it."""

Measure = Literal["CIDEr-D", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CLIPScore", "RefCLIPScore"]

CAPTIONING = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("subset", pa.string(), nullable=False),  # `all`, or a part of the source
        pa.field("key", pa.string()),  # the image that it is the value of; None: of all
        pa.field("measure", pa.string(), nullable=False),  # Measure
        pa.field("value", pa.float64()),  # CIDEr-D in [0, 10], CLIPScore in [0, 2.5], the others in [0, 1]
        pa.field("images", pa.int32(), nullable=False),  # that it is the value of
        pa.field("texts", pa.int32(), nullable=False),  # people's captions of these
        pa.field("tokenizer", pa.string()),  # what made words of captions, where words are counted
        pa.field("model", pa.string()),  # what compared captions with images, where a model did
        pa.field("error", pa.string()),  # why there is no value
    ]
)
"""One row per source, part of it, and measure; and of a whole source one with the CIDEr-D of every image."""
