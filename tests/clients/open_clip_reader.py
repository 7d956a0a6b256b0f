"""open_clip's training code, on the tars in the working folder: `--dataset-type webdataset`."""

from __future__ import annotations

import sys
from argparse import Namespace

import open_clip
import webdataset
from open_clip_train.data import get_wds_dataset

TARS = "tars/{00000..00001}.tar"
IMAGES = 24
BATCH = 4


def main() -> int:
    """Draw one epoch's batches, with and without `--dataset-resampled`; the exit code."""
    view, tokenize = open_clip.image_transform(32, is_train=True), open_clip.get_tokenizer("ViT-B-32")
    right = True
    for resampled in (False, True):
        settings = Namespace(
            train_data=TARS,
            train_num_samples=IMAGES,
            train_data_upsampling_factors=None,
            dataset_resampled=resampled,
            seed=0,
            batch_size=BATCH,
            workers=1,
            world_size=1,
        )
        batches = list(get_wds_dataset(settings, view, is_train=True, tokenizer=tokenize).dataloader)
        shapes = {tuple(images.shape) for images, _ in batches}
        read = shapes == {(BATCH, 3, 32, 32)} and all((texts[:, 1] > 0).all() for _, texts in batches)
        right &= len(batches) == IMAGES // BATCH and read
        how = "resampled" if resampled else "in order"
        print(f"open_clip {open_clip.__version__}, webdataset {webdataset.__version__}, {how}: {len(batches)} batches")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
