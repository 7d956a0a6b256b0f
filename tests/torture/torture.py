"""Random faults without end: after the last rerun the tables are those of a run that nothing disturbed.

    python tests/torture/torture.py [--faults 200] [--seed N] [--place disk]

Every round begins with an empty output. Runs are started until one ends well, and while they live, faults come at
random moments. Then the tables are compared, row by row, and `capfilt clean` must leave nothing but them.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.execute.local import run_locally
from pipeline.store import Store
from pipeline.upkeep.clean import clean
from tests.pipeline.stubs import STAGES, make_execution, mark_sick
from tests.torture.contents import Contents, contents
from tests.torture.places import OUTAGE, PLACES, Place
from tests.torture.processes import raylets, stage_workers
from tests.torture.program import FILES, GIVEN_UP, graph_of

ROOT = Path(__file__).parents[2]
SHARDS = 24
"""Of a run, in the long form."""
LONGEST = 360.0
"""Seconds that one run may take."""
FAULTS_A_ROUND = 10
"""Then the runs of a round are left alone, so that one of them ends well."""


@dataclass
class Figures:
    """What happened."""

    faults: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    """How runs ended."""
    rounds: int = 0
    strays: int = 0
    """What `clean` found."""
    tables: int = 0
    """Compared, and found equal."""


Run = subprocess.Popen[bytes]
Fault = Callable[[Run, random.Random, Path], None]
"""What is done to a run, whose temporary files lie in that folder."""


def kill_driver(run: Run, rng: random.Random, scratch: Path) -> None:
    run.kill()


def terminate_driver(run: Run, rng: random.Random, scratch: Path) -> None:
    run.send_signal(rng.choice([signal.SIGTERM, signal.SIGINT]))


def kill_worker(run: Run, rng: random.Random, scratch: Path) -> None:
    os.kill(_one_of(stage_workers(run.pid), rng), signal.SIGKILL)


def sicken_worker(run: Run, rng: random.Random, scratch: Path) -> None:
    mark_sick(scratch, _one_of(stage_workers(run.pid), rng))


def kill_raylet(run: Run, rng: random.Random, scratch: Path) -> None:
    os.kill(_one_of(raylets(run.pid), rng), signal.SIGKILL)


def _one_of(processes: list[int], rng: random.Random) -> int:
    if not processes:
        raise ProcessLookupError
    return rng.choice(processes)


GROWS = "list grown"
"""The fault that is no fault: the run is stopped, and its list has a file more from then on."""
FAULTS: dict[str, tuple[Fault, float]] = {
    "driver killed": (kill_driver, 1),
    "driver terminated": (terminate_driver, 1),
    "worker killed": (kill_worker, 3),
    "worker sick": (sicken_worker, 2),
    "raylet killed": (kill_raylet, 1),
    GROWS: (terminate_driver, 1),
}
"""By name: what it does to a run, and how often it comes."""
DRIVER_KILLS = ("driver killed", "driver terminated", GROWS)
"""Those that a run on a cluster knows: there, workers and raylets are no processes of the run's."""


class Torture:
    """Rounds in one place."""

    def __init__(self, place: Place, folder: Path, seed: int, shards: int, stages: Sequence[str]) -> None:
        self._shards = shards
        self._stages = stages
        self._place = place
        self._folder = folder
        self._scratch = folder / "tmp"
        self._rng = random.Random(seed)
        faults = {name: weight for name, (_, weight) in FAULTS.items() if name in DRIVER_KILLS or not place.cluster}
        self._kinds = {**faults, **{name: 0.3 if name == OUTAGE else 2 for name in place.faults}}
        self._files = FILES
        self.figures = Figures()

    def round(self, faults: int) -> None:
        """Runs of one output, the first of them disturbed so many times."""
        store = Store.open(self._place.output)
        if store.filesystem.exists(store.root):
            store.filesystem.rm(store.root, recursive=True)
        left, self._files = faults, 1
        while True:
            with self._run() as run:
                left -= self._disturb(run, left)
                code = self._wait(run)
            self.figures.ends[str(code)] += 1
            assert code != 2, f"a run blames its user: {self._log()[-2000:]}"
            assert GIVEN_UP not in self._log(), self._log()[-2000:]
            if code == 0 and self._files == FILES:
                break
            if code == 0:
                self._files += 1
        self.figures.rounds += 1
        self._compare()
        self._clean(store)

    @contextmanager
    def _run(self) -> Iterator[Run]:
        command = [sys.executable, "-m", "tests.torture.program", self._place.output]
        command += [str(self._shards), ",".join(self._stages), str(self._files)]
        command += [self._place.cluster] if self._place.cluster else []
        command = ["ip", "netns", "exec", self._place.host, *command] if self._place.host else command
        self._scratch.mkdir(exist_ok=True)
        environment = {**os.environ, **self._place.environment, "TMPDIR": str(self._scratch), "PYTHONPATH": str(ROOT)}
        with (self._folder / "log").open("ab") as log:
            run = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            yield run
        finally:
            run.kill()  # Ray's processes follow it
            run.wait()

    def _disturb(self, run: Run, most: int) -> int:
        """Faults at random moments of a run's life; how many there were."""
        done = 0
        while done < most and self._lives(run, self._rng.uniform(0.5, 3.0)):
            kind = self._rng.choices(list(self._kinds), list(self._kinds.values()))[0]
            while self._lives(run, 0.2):
                try:
                    self._inflict(kind, run)
                except ProcessLookupError:  # there is no such process yet
                    continue
                self.figures.faults[kind] += 1
                done += 1
                break
        return done

    def _inflict(self, kind: str, run: Run) -> None:
        if kind in FAULTS:
            FAULTS[kind][0](run, self._rng, self._scratch)
            self._files = min(self._files + (kind == GROWS), FILES)
        else:
            self._place.faults[kind]()

    def _lives(self, run: Run, seconds: float) -> bool:
        try:
            run.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def _wait(self, run: Run) -> int:
        try:
            return run.wait(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"a run hangs; seed and log: {self._log()[-2000:]}") from None

    def _log(self) -> str:
        return (self._folder / "log").read_text()

    def _compare(self) -> None:
        expected, found = undisturbed(self._folder, self._shards, self._stages), contents(self._place.output)
        assert list(found) == list(expected), set(found) ^ set(expected)
        for table, rows in expected.items():
            assert found[table] == rows, table
        self.figures.tables += len(found)

    def _clean(self, store: Store) -> None:
        """After `capfilt clean` there are tables and their side files, and no scratch folder of ours."""
        for sign in range(50):  # Ray's processes of a killed driver take a moment to notice
            if not list(self._scratch.glob("capfilt-*")) or sign:
                break
            time.sleep(0.2)
        before, tempfile.tempdir = tempfile.tempdir, str(self._scratch)
        try:
            self.figures.strays += len(clean(store, older_than=timedelta(0), keep=None, dry_run=False).strays)
        finally:
            tempfile.tempdir = before
        assert list(self._scratch.glob("capfilt-*")) == []
        store.filesystem.invalidate_cache()
        there = {name for name in store.filesystem.find(store.root) if not name.endswith("/")}
        assert {name.rpartition("/")[2] for name in there} == self._named(store)

    def _named(self, store: Store) -> set[str]:
        """The names of all tables, and of all that they name."""
        names = set()
        for path in store.filesystem.glob(f"{store.root}/**/*.parquet"):
            full = str(path) if store.is_local else f"s3://{path}"
            folder, _, name = full.rpartition("/")
            artifact = store.artifact(folder, name.removesuffix(".parquet"))
            sides = {value for key, value in artifact.metadata().items() if key.startswith("side.")}
            names |= {name, *sides}
        return names


_UNDISTURBED: dict[Path, Contents] = {}


def undisturbed(folder: Path, shards: int, stages: Sequence[str]) -> Contents:
    """What a run leaves that nothing disturbs."""
    if folder not in _UNDISTURBED:
        output = folder / "undisturbed"
        execution = make_execution(graph_of(shards, stages), Store.open(str(output)))
        run_locally(execution, lambda *_: None)
        assert execution.schedule.is_finished
        _UNDISTURBED[folder] = contents(str(output))
        shutil.rmtree(output)
    return _UNDISTURBED[folder]


def torture(
    where: str, faults: int, seed: int, folder: Path, shards: int = SHARDS, stages: Sequence[str] = STAGES
) -> Figures:
    """So many faults in one place, in runs of so many shards and of these stages.

    Raises:
        AssertionError: a table is not what it should be, a run hangs, or something is left over.
    """
    with PLACES[where](folder) as place:
        os.environ.update(place.environment)
        ordeal = Torture(place, folder, seed, shards, stages)
        while (left := faults - ordeal.figures.faults.total()) > 0:
            ordeal.round(min(left, FAULTS_A_ROUND))
        return ordeal.figures


def main() -> None:
    """Every place gets its share of the faults; figures are printed place by place."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--place", choices=PLACES, action="append")
    args = parser.parse_args()
    places = args.place or list(PLACES)
    print(f"seed {args.seed}", flush=True)
    for number, where in enumerate(places):
        share = args.faults // len(places) + (number < args.faults % len(places))
        with tempfile.TemporaryDirectory(prefix="cf-", dir="/tmp") as name:
            os.environ["RAY_TMPDIR"] = f"{name}/ray"
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            started = time.monotonic()
            figures = torture(where, share, args.seed + number, Path(name))
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(figures.faults.items()))
        ends = ", ".join(f"{count} with {code}" for code, count in sorted(figures.ends.items()))
        print(f"{where}: {figures.faults.total()} faults ({told})")
        print(f"  {figures.ends.total()} runs ended {ends}; {figures.rounds} rounds, {figures.tables} tables equal")
        print(f"  {figures.strays} strays cleaned; {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
