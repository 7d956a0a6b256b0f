"""A pretraining that loses its first worker; it imports nothing of the tests, so that Ray's workers can load it."""

from __future__ import annotations

import os
import signal

from stages.pretrain.compute import Pretrain


class DiesOnce(Pretrain):
    """Its process is killed after five steps, the first time."""

    def train(self, work, **options) -> None:
        def on_step(row: dict) -> None:
            mark = work.scratch / "died"
            if row["step"] == 5 and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)

        super().train(work, **options, on_step=on_step)
