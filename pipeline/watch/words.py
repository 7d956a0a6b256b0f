"""Numbers as a display says them."""

from __future__ import annotations

from stages.training.progress import Progress


def how_far(progress: Progress) -> str:
    """How far a training is: `step 120 of 500, loss 2.31, lr 0.0003, 41 images/s, 3 min 20 s left`."""
    told = [f"step {progress.step:,} of {progress.steps:,}"]
    told += [f"{name} {value:.3g}" for name in ("loss", "lr") if (value := getattr(progress, name)) is not None]
    if (rate := progress.images_per_second) is not None:
        told.append(f"{rate:,.1f} images/s" if rate < 10 else f"{rate:,.0f} images/s")
    if (left := progress.left) is not None:
        told.append(f"{duration(left)} left")
    return ", ".join(told)


def duration(seconds: float) -> str:
    """Seconds as people say them: `42 s`, `3 min 20 s`, `5 h 12 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
