"""A trained BLIP for other programs: all of it in a file, and what transformers has a place for in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BlipForConditionalGeneration, BlipForImageTextRetrieval

from stages.export.blip import export_folder, export_pth
from stages.export.job import TrainedFolder
from stages.models.bert_tokenizer import load_blip_tokenizer
from stages.models.blip.folder import REST_FILE, write_folder
from stages.models.blip.reading import read_blip
from stages.models.blip.trainable.both import CaptioningRetrieval
from stages.models.blip.trainable.captioning import Captioning
from stages.models.blip.trainable.config import BlipConfig, TextConfig, VisionConfig
from stages.models.blip.trainable.published import describe_trained


@pytest.fixture
def save(clip_folder, tmp_path):
    """Models as a training leaves them."""
    tokenizer = load_blip_tokenizer(str(clip_folder), None, "x")

    def made(kind: type) -> TrainedFolder:
        text = TextConfig(len(tokenizer), 64, layers=2, heads=1, positions=20)
        config = BlipConfig(VisionConfig(64, 2, 1, 8, 16), text, projection=16, queue=8)
        torch.manual_seed(0)
        write_folder(kind(config, 4).state_dict(), describe_trained(config), tokenizer, tmp_path / "trained")
        return TrainedFolder(str(tmp_path / "trained"))

    return made


def test_a_file_holds_all_of_it(save, tmp_path: Path) -> None:
    trained = save(CaptioningRetrieval)
    notes = export_pth(trained, tmp_path / "blip.pth")
    found, kept = (read_blip(place, None, "x").state for place in (str(tmp_path / "blip.pth"), trained.folder))
    assert found.keys() == kept.keys()
    assert {"temp", "image_queue", "idx_queue", "visual_encoder_m.norm.weight"} <= found.keys()
    assert all(torch.equal(value, kept[name]) for name, value in found.items())
    assert "BlipForImageTextRetrieval" in notes[0]


@pytest.mark.parametrize(
    ("kind", "model_class"),
    [(CaptioningRetrieval, BlipForImageTextRetrieval), (Captioning, BlipForConditionalGeneration)],
)
def test_a_folder_holds_what_transformers_has_a_place_for(save, tmp_path: Path, kind, model_class) -> None:
    trained = save(kind)
    notes = export_folder(trained, tmp_path / "hf")
    _, told = model_class.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    assert not (tmp_path / "hf" / REST_FILE).exists()
    assert len(notes) == 1 + (kind is CaptioningRetrieval)
