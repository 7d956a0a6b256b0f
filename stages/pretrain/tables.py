"""The table that a training leaves: its course, and what was measured on images that it did not see."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa

Phase = Literal["train", "holdout"]

METRICS = pa.schema(
    [
        pa.field("phase", pa.string(), nullable=False),  # Phase
        pa.field("step", pa.int32(), nullable=False),  # updates made, this one included; from 1
        pa.field("epochs", pa.map_(pa.string(), pa.int32()), nullable=False),  # by source, at the step's begin; from 0
        # "train" alone, None otherwise:
        pa.field("lr", pa.float64()),
        pa.field("loss", pa.float32()),  # the weighted sum of the three
        pa.field("itc", pa.float32()),
        pa.field("itm", pa.float32()),  # 0.6365 if it only knows that two pairs of three do not match
        pa.field("itg", pa.float32()),
        pa.field("itm_accuracy", pa.float32()),
        pa.field("temperature", pa.float32()),  # that the step was computed with
        pa.field("grad_norm", pa.float32()),  # over all parameters, before the update
        pa.field("images_per_second", pa.float32()),  # over all workers; the one column that another run repeats not
        # "holdout" alone, None otherwise:
        pa.field("images", pa.int32()),  # each with one caption
        pa.field("r1_image_to_text", pa.float32()),
        pa.field("r1_text_to_image", pa.float32()),
        pa.field("chance", pa.float32()),  # what guessing gives; equal captions are right for one another
    ]
)
"""One row per step, and after the steps at which retrieval was measured another one for that."""
