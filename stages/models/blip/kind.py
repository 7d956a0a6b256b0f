"""What a BLIP checkpoint is, by its config.json."""

from __future__ import annotations

from typing import Final

from stages.models.family import Config, Kind, Role, sizes_of, vision_sizes

_CAPTIONER: Final[dict[Role, str]] = {"captioner": "stages.models.blip.captioner:load_captioner"}
_MATCHER: Final[dict[Role, str]] = {
    "filter": "stages.models.blip.itm:load_itm",
    "ranker": "stages.models.blip.itm:load_itm",
    "retriever": "stages.models.blip.itc:load_retriever",
}
_ANSWERER: Final[dict[Role, str]] = {"answerer": "stages.models.blip.answering:load_answerer"}
_CLASSES: Final[dict[str, tuple[str, dict[Role, str]]]] = {
    "BlipForConditionalGeneration": ("a BLIP captioner", _CAPTIONER),
    "BlipForImageTextRetrieval": ("a BLIP matching model", _MATCHER),
    "BlipForQuestionAnswering": ("a BLIP model that answers questions", _ANSWERER),
}


def kind(config: Config) -> Kind:
    """What a `BlipConfig` says; where it names no class, its weights have to show what they are."""
    classes = [_CLASSES.get(name, (f"a BLIP model ({name})", {})) for name in config.get("architectures") or []]
    words = " and ".join(words for words, _ in classes)
    loaders = {role: loader for _, roles in classes for role, loader in roles.items()}
    if not classes:
        words, loaders = "a BLIP model", _CAPTIONER | _MATCHER
    sizes = vision_sizes(config) | sizes_of(config.get("text_config") or {}, {"vocabulary": "vocab_size"})
    return Kind(words, loaders, sizes)
