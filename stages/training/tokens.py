"""The tokens that a BLIP which is trained reads texts in."""

from __future__ import annotations

from typing import TypeAlias

from stages.models.blip.reading import BlipCheckpoint
from stages.models.blip.trainable.tokens import BERT, BlipTokens
from stages.training.blip_settings import BlipRecipe

Named: TypeAlias = "tuple[str, str | None]"


def read_tokens(key: str, recipe: BlipRecipe, before: BlipCheckpoint | None, text: Named | None = None) -> BlipTokens:
    """Those of `tokenizer`; else of the BLIP that it begins with, or BERT's where that has none; else of a BERT.

    Args:
        key: the section, for messages.
        recipe: of the training.
        before: the BLIP that it begins with, if it does.
        text: the BERT that it begins with, by name and revision, if it does.

    Raises:
        UserError: there is no such tokenizer.
    """
    field, (place, revision) = _found(recipe, before, text)
    return BlipTokens(place, revision, recipe.max_text_tokens, f"{key}.{field}")


def _found(recipe: BlipRecipe, before: BlipCheckpoint | None, text: Named | None) -> tuple[str, Named]:
    """The key that says which, and the name and the revision."""
    if recipe.tokenizer is not None:
        return "tokenizer", (recipe.tokenizer, recipe.tokenizer_revision)
    if before is not None:
        return "init", (before.tokenizer, recipe.init_revision) if before.tokenizer else (BERT, None)
    assert text is not None  # as the recipe sees to
    return "text", text
