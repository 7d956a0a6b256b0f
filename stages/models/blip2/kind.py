"""What a BLIP-2 checkpoint is, by its config.json."""

from __future__ import annotations

from typing import Final

from stages.models.family import Config, Kind, Role, sizes_of, vision_sizes

_MATCHER: Final[dict[Role, str]] = {
    "filter": "stages.models.blip2.itm:load_itm",
    "ranker": "stages.models.blip2.itm:load_itm",
    "retriever": "stages.models.blip2.itm:load_retriever",
}

SECOND_STAGE: Final = "capfilt-blip-2"
"""The `model_type` of what `align` leaves."""


def trained(config: Config) -> Kind:  # noqa: ARG001 - nothing of it matters
    """What the folder is that `align` leaves."""
    return Kind("a BLIP-2 of the second stage", {"captioner": "stages.models.blip2.captioner:load_trained"})


def kind(config: Config) -> Kind:
    """What a `Blip2Config` says: whether it is of the first stage, which matches, or of the second, which writes."""
    qformer = config.get("qformer_config") or {}
    classes = config.get("architectures") or []
    named = classes[0] if classes else ""
    sizes = vision_sizes(config) | sizes_of(config, {"queries": "num_query_tokens"})
    if named == "Blip2ForImageTextRetrieval" or (not named and qformer.get("use_qformer_text_input")):
        return Kind("a BLIP-2 matching model", _MATCHER, sizes)
    if named in {"", "Blip2ForConditionalGeneration"}:
        return Kind("a BLIP-2 captioner", {"captioner": "stages.models.blip2.captioner:load_published"}, sizes)
    return Kind(f"a part of BLIP-2 ({named})", sizes=sizes)
