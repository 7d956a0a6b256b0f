"""The rank stage, declared: CLIP's cosine of every candidate with its image."""

from __future__ import annotations

from stages.contract import CAPTIONED, ModelRunOptions, Port, PretrainedRecipe, StageSpec


class RankRecipe(PretrainedRecipe):
    """Which CLIP model. `model` may also name an open_clip architecture, such as `ViT-L-14-quickgelu`."""

    pretrained: str | None = None
    """The tag of weights of an open_clip architecture, such as `openai`; None for a hub name or a folder."""


SPEC = StageSpec(
    name="rank",
    version=3,
    reads={
        "images": Port("images"),
        "duplicates": Port("duplicates", optional=True),
        "captions": Port("captions", many=True),
    },
    writes="similarities",
    recipe=RankRecipe,
    run=ModelRunOptions,
    compute="stages.rank.compute:Rank",
    uses=CAPTIONED,
)
