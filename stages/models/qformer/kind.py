"""What the folder of a Q-Former is that was trained here, by its config.json."""

from __future__ import annotations

from typing import Final

from stages.models.family import Config, Kind

MODEL_TYPE: Final = "capfilt-qformer"


def kind(config: Config) -> Kind:  # noqa: ARG001 - nothing of it matters
    """A Q-Former is no model that others load; `pretrain` and `align` begin with one."""
    return Kind("a Q-Former of BLIP-2's first stage")
