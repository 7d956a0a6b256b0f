"""Learn the demo models anew, and measure them.

    python -m stages.demo.train captioner --out stages/demo/checkpoints/captioner
    python -m stages.demo.train itm --out stages/demo/checkpoints/itm
    python -m stages.demo.train clip --out stages/demo/checkpoints/clip
    python -m stages.demo.train measure --out stages/demo/checkpoints

In this order: itm begins as the captioner beside it and learns from its mistakes, as BLIP's filter does, and clip
begins with the image tower of itm. A quarter of an hour each on two idle CPU cores.
"""

import argparse
import logging
import sys
from pathlib import Path

from stages.demo import train_captioner, train_clip, train_itm
from stages.demo.lessons import open_book
from stages.demo.measure import measure
from stages.demo.report import as_lines
from stages.demo.scene import Stream

STEPS = {"captioner": 3000, "itm": 3000, "clip": 1500}
IMAGES = 32_000
TEST_IMAGES = 1000


def main() -> None:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*STEPS, "measure"])
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint; measure: of all three")
    parser.add_argument("--steps", type=int, help=f"default: {STEPS}")
    parser.add_argument("--images", type=int, help=f"default: {IMAGES} to learn from, {TEST_IMAGES} to measure on")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.what == "measure":
        sys.stdout.write(as_lines(measure(options.out, images=options.images or TEST_IMAGES, seed=options.seed)))
    else:
        train(options.what, options.out, options.steps or STEPS[options.what], options.images or IMAGES, options.seed)


def train(what: str, out: Path, steps: int, images: int, seed: int) -> None:
    """Train one of the models."""
    book = open_book(seed=seed, stream=Stream.TRAIN, images=images)
    match what:
        case "captioner":
            train_captioner.train(book, out, steps=steps, seed=seed)
        case "itm":
            train_itm.train(book, out, captioner=out.parent / "captioner", steps=steps, seed=seed)
        case "clip":
            train_clip.train(book, out, itm=out.parent / "itm", steps=steps, seed=seed)


if __name__ == "__main__":
    main()
