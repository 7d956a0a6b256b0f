"""Pictures of another size than the tower began with: its own patches have to divide it, not those of a tower drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from small_towers import save_dinov2

from stages.errors import UserError
from stages.med.build import build


def test_the_patches_that_count_are_those_of_the_tower(make_recipe, run, tmp_path: Path) -> None:
    save_dinov2(tmp_path)  # patches of 14 pixels
    whole = make_recipe(vision=str(tmp_path), image_size=42)
    assert build(whole, run).config.vision.image_size == 42
    with pytest.raises(UserError, match=r"^med.image_size: 32 is no multiple of the tower's patches of 14 pixels"):
        build(make_recipe(vision=str(tmp_path), image_size=32), run)
    with pytest.raises(ValidationError, match="image_size 36 is no multiple of patch 8"):
        make_recipe(image_size=36)
