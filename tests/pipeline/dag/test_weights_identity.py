"""Weights in a file are known by what they hold, wherever it lies; a tag is known by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.dag.digests import Digests
from pipeline.dag.fingerprint import recipe_identity, with_absolute_paths
from stages.contract import PairModelRecipe
from stages.pretrain.spec import PretrainRecipe
from stages.score.spec import FilterRecipe, RankRecipe


@pytest.mark.parametrize("recipe", [RankRecipe, FilterRecipe, PretrainRecipe])
def test_weights_of_ones_own(recipe: type[PairModelRecipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in {"a.pt": b"one", "b.pt": b"one", "c.pt": b"two"}.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    made = [recipe(model="ViT-B-32", pretrained=name) for name in ("./a.pt", "./b.pt", "./c.pt", "openai")]
    one, same, other, tag = (recipe_identity(each, Digests())["pretrained"] for each in made)
    assert one == same != other
    assert tag == "openai"
    absolute = with_absolute_paths(made[0])
    assert isinstance(absolute, recipe)
    assert absolute.pretrained == str(tmp_path / "a.pt")
