"""A trained BLIP for other programs: a folder for transformers, or a `.pth` file for BLIP's own code and LAVIS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from stages.export.job import TrainedFolder
from stages.io.files import fetch_folder, scratch_folder
from stages.models.bert_tokenizer import load_blip_tokenizer
from stages.models.blip.folder import write_folder
from stages.models.blip.names import classes_of, only
from stages.models.blip.published import write_pth
from stages.models.blip.reading import BlipCheckpoint, read_blip

KEY: Final = "export"


def export_folder(trained: TrainedFolder, folder: Path) -> list[str]:
    """Write what transformers' first class for the model has a place for, and nothing else.

    Args:
        trained: what to export.
        folder: where.

    Returns:
        What the user should know, a line each.
    """
    with _read(trained) as (checkpoint, place):
        first, *others = classes_of(checkpoint.state)
        tokenizer = load_blip_tokenizer(place, None, KEY)
        write_folder(only(checkpoint.state, first), checkpoint.description, tokenizer, folder)
    notes = [f"transformers' {first}.from_pretrained loads it"]
    return notes + [f"the model is a {other} too, which --to pth has a place for" for other in others]


def export_pth(trained: TrainedFolder, path: Path) -> list[str]:
    """Write `{"model": weights}` with all that there is: slow copies, queues and the temperature too."""
    with _read(trained) as (checkpoint, _):
        write_pth(checkpoint.state, checkpoint.description, path)
    return [f"BLIP's own code loads it, as one of {', '.join(classes_of(checkpoint.state))}"]


@contextmanager
def _read(trained: TrainedFolder) -> Iterator[tuple[BlipCheckpoint, str]]:
    """The model, and a local folder with it."""
    with scratch_folder() as scratch:
        fetch_folder(trained.folder, scratch / "model")
        yield read_blip(str(scratch / "model"), None, KEY), str(scratch / "model")
