"""Tries capfilt on a folder of situations that people have reported: `make cases CASES=FOLDER`.

Each is a folder below it with a `try.sh`, which is called as `sh try.sh CAPFILT SCRATCH` (the path of the command,
whose folder also holds its `python`, and an empty folder) and exits 0 where capfilt does right; what it says last is
shown.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SECONDS = 600
"""What one case may take."""


@dataclass(frozen=True)
class Verdict:
    """What became of a case."""

    name: str
    right: bool
    seconds: float
    words: str
    """The last line that it said."""


def judge(case: Path, capfilt: Path, seconds: float = SECONDS) -> Verdict:
    """Run one case in an empty folder of its own, which is gone afterwards."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cf-") as scratch:
        program = subprocess.Popen(
            ["sh", str(case / "try.sh"), str(capfilt), scratch],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            said, _ = program.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            program.communicate()
            return Verdict(case.name, right=False, seconds=seconds, words=f"not done within {seconds:g} s")
    words = said.strip().splitlines()[-1] if said.strip() else ""
    return Verdict(case.name, program.returncode == 0, time.monotonic() - started, words)


def find_cases(folder: Path, left_out: list[str]) -> list[Path]:
    """The cases below a folder, by name, but for those whose names begin with what is left out."""
    found = sorted(path.parent for path in folder.glob("*/try.sh"))
    return [case for case in found if not case.name.startswith(tuple(left_out))]


def main() -> int:
    """Try every case of a folder, and say which were right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--without", nargs="*", default=[], metavar="NAME", help="cases left out, by how they begin")
    parser.add_argument("--capfilt", type=Path, default=Path(sys.executable).with_name("capfilt"))
    options = parser.parse_args()
    cases = find_cases(options.folder, options.without)
    if not cases:
        print(f"{options.folder} holds no case: no folder in it has a try.sh", file=sys.stderr)
        return 2
    wrong = 0
    for case in cases:
        verdict = judge(case, options.capfilt.absolute())
        wrong += not verdict.right
        print(
            f"{'right' if verdict.right else 'WRONG'}  {verdict.seconds:6.1f} s  {verdict.name}: {verdict.words}",
            flush=True,
        )
    print(f"{len(cases) - wrong} of {len(cases)} right")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
