"""Learning rates by step, as the papers and their code have them. Steps are counted from 1."""

from __future__ import annotations

import math


def cosine(step: int, *, lr: float, min_lr: float, warmup: int, steps: int) -> float:
    """Rising in a line, then falling along half a cosine to `min_lr` at the last step: BLIP-2's first stage.

    Li et al. 2023, arXiv 2301.12597, section 3.4.
    """
    if step <= warmup:
        return lr * step / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return min_lr + (lr - min_lr) * (1 + math.cos(math.pi * done)) / 2


def by_epoch_decayed(  # noqa: PLR0913 - what the rule is made of
    step: int, *, lr: float, min_lr: float, decay: float, epoch_steps: int, warmup: int, warmup_lr: float
) -> float:
    """Less by a factor with every epoch, and in the first one rising in a line: BLIP's pretraining.

    Li et al. 2022, arXiv 2201.12086, section 4.1, and its public code: the line ends after `warmup` steps, or with the
    first epoch if that is shorter.
    """
    epoch, place = divmod(step - 1, epoch_steps)
    if epoch == 0 and place < warmup:
        return min(lr, warmup_lr + (lr - warmup_lr) * place / warmup)
    return max(min_lr, lr * decay**epoch)


def by_epoch_cosine(step: int, *, lr: float, min_lr: float, epoch_steps: int, steps: int) -> float:
    """Half a cosine, of which each epoch has one value: BLIP's fine-tuning, as its public code has it."""
    epoch, epochs = (step - 1) // epoch_steps, math.ceil(steps / epoch_steps)
    return min_lr + (lr - min_lr) * (1 + math.cos(math.pi * epoch / epochs)) / 2
