"""Writing a WebDataset tar that is the same, byte for byte, whenever its content is."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stages.io.json_text import to_json


def write_tar(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
    """Write (key, {extension: content}) samples as members `<key>.<extension>`, in their order."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for key, parts in samples:
            for extension, content in parts.items():
                member = tarfile.TarInfo(f"{key}.{extension}")  # owner 0 and time 0: nothing of this machine or run
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def json_part(values: Mapping[str, Any]) -> bytes:
    """The JSON member of a sample; what JSON cannot say is text (dates, decimals) or null (NaN)."""
    return to_json(values, indent=4).encode()
