"""The programs that read what capfilt exports, each as it is released, on a small corpus and a small model.

    python -m tests.clients.run [--folder DIR] [--keep]

Makes environments of its own (800 MB, some minutes), which take torch and torchvision from the one that runs this:

* `lavis`: salesforce-lavis 1.0.2 with what it was released for. Its calls of the hub find a folder `bert-base-uncased`
  in the working folder; what it downloads of its towers' weights is an empty state, for the export has them all; its
  towers get small sizes, which it has no configuration for; nothing else of it is touched.
* `training`: open_clip's training code with the last webdataset that it takes.
* `modern`: `datasets`, and webdataset and transformers as capfilt has them.

Prints a line per reader; exit code 1 if one of them fails.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.clients.world import make

HERE = Path(__file__).parent
LAVIS = (
    *("transformers==4.26.1", "timm==0.4.12", "fairscale==0.4.4", "opencv-python-headless==4.5.5.64", "numpy<2"),
    *("decord", "iopath", "omegaconf", "einops", "ftfy", "contexttimer", "pycocotools", "pycocoevalcap", "spacy"),
)
"""What salesforce-lavis 1.0.2 imports of what it asks for; the rest (a browser's front end, notebooks) it does not."""
READERS: dict[str, tuple[Any, ...]] = {
    "lavis_reader.py": ("lavis", LAVIS, ("--no-deps", "salesforce-lavis==1.0.2")),
    "open_clip_reader.py": ("training", ("webdataset==0.2.86",)),
    "modern_readers.py": ("modern", ("datasets",)),
}
"""What runs, the environment that it runs in, and what is installed there, step by step."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def main() -> int:
    """Make the environments and the exports, and run the readers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where everything is made; a temporary folder otherwise")
    parser.add_argument("--keep", action="store_true", help="leave it, so that the next run need not install")
    options = parser.parse_args()
    with _folder(options.folder, keep=options.keep) as folder:
        world = make(folder / "world")
        failed = [
            reader
            for reader, (name, *requirements) in READERS.items()
            if not _read(_environment(folder / name, requirements), HERE / reader, world)
        ]
    print(f"failed: {', '.join(failed)}" if failed else "every reader reads what was exported")
    return 1 if failed else 0


@contextlib.contextmanager
def _folder(wanted: Path | None, *, keep: bool) -> Iterator[Path]:
    """A folder to work in, which is gone afterwards unless it is to be kept."""
    parent = wanted.absolute() if wanted else Path(tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    if keep:
        yield parent if wanted else Path(tempfile.mkdtemp(prefix="capfilt-clients-"))
        return
    with tempfile.TemporaryDirectory(prefix="capfilt-clients-", dir=parent) as made:
        yield Path(made)


def _environment(folder: Path, requirements: Sequence[Sequence[str]]) -> Path:
    """The interpreter of an environment that has these, before all that the present one has."""
    python, done = folder / "bin/python", folder / "installed"
    if not done.exists():
        print(f"making {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        (own,) = folder.glob("lib/python*/site-packages")
        (own / "zz_present.pth").write_text(sysconfig.get_paths()["purelib"])
        for some in requirements:
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *some], check=True)
        done.touch()
    return python


def _read(python: Path, reader: Path, world: Path) -> bool:
    """Run a reader in its environment, with nothing of this project on its path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | OFFLINE
    done = subprocess.run([str(python), "-W", "ignore", str(reader)], cwd=world, env=environment, check=False)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
