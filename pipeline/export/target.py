"""Where an export goes: one rule for files and folders, whatever their format.

* What lies there and is not this export is refused; its mark (`pipeline.export.mark`) tells. `--overwrite` is for who
  means it: a file is replaced; of a folder go the files that a mark lists, and no other.
* What is this export is brought up to date: what was made of tables that have changed is written anew, and what is no
  longer in the corpus goes.
* Killed at any point, it leaves nothing that looks whole: a file is renamed into place, a model's folder gets its
  `config.json` last, and the mark says that the export is not complete. The same command goes on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pipeline.export.mark import Mark, ShardMark, Subject, Tables
from pipeline.export.place import Names, Target
from stages.errors import UserError
from stages.io.files import open_bytes, remove_leftovers, temporary_folder, usual_mode, whole_file, write_whole

SAVED_EVERY: Final = 30.0
"""Seconds after which the mark is written again while tars are: what a kill makes a later export do again at most."""
LAST: Final = "config.json"
"""Without this file nobody takes a folder for a model."""
_MEANT: Final = "or give --overwrite if you mean it"


def claim(target: Target, subject: Subject, *, overwrite: bool) -> Export:
    """Look at what lies at a place, and make it an export's.

    Raises:
        UserError: something else lies there, which nobody said to overwrite, or nobody can look.
    """
    there, content = target.look(), target.read_mark()
    mark = None if content is None else Mark.load(content)
    if not overwrite:
        _refuse_others(target, there, mark, subject)
    if mark is None and content is not None:
        raise UserError(f"{target.mark_url} is there already and is no mark of an export; move it away")
    if mark is None:
        return Export(target, Mark(subject), there, frozenset())
    changed = [name for name in mark.files if name in there and not _is_as_written(target, there, name, mark)]
    if changed and not overwrite:
        raise UserError(f"{target.url(changed[0])} is no longer what was exported; move it away, {_MEANT}")
    owned = frozenset(mark.files)
    if not (mark.subject.is_same(subject) and mark.subject.layout == subject.layout):
        return Export(target, Mark(subject), there, owned)
    whole: dict[str, dict[str, Any] | None] = {
        name: record for name, record in mark.files.items() if record and name in there and name not in changed
    }
    return Export(target, Mark(subject, whole, mark.shards, mark.complete and len(whole) == len(owned)), there, owned)


def _refuse_others(target: Target, there: Names, mark: Mark | None, subject: Subject) -> None:
    """Refuse what is not this export.

    Raises:
        UserError: it is not.
    """
    if mark is None and not there:
        return
    if mark is None:
        what = "is there already and is no export" if target.one_file else "holds something that is no export"
    elif mark.subject.format != subject.format:
        what = f"is an export to {mark.subject.format}"
    elif not mark.subject.is_same(subject):
        what = f"is the export of another {'model' if subject.format in {'hf', 'lavis', 'pth'} else 'corpus'}"
    else:
        return
    other = "name another file" if target.one_file else "name a new folder"
    raise UserError(f"{target.destination} {what}; {other}, {_MEANT}")


class Export:
    """An export under way. Not safe for use from several threads."""

    def __init__(self, target: Target, mark: Mark, there: Names, owned: Collection[str]) -> None:
        self.target, self.mark = target, mark
        self._there, self._owned = there, owned
        self._saved = time.monotonic()

    def is_made_of(self, shards: Mapping[str, Tables]) -> bool:
        """Whether it has come to its end, all of it is there, and it was made of these tables."""
        return self.mark.complete and {name: shard.tables for name, shard in self.mark.shards.items()} == shards

    def begin(self, names: Collection[str], stay: Collection[str] = ()) -> None:
        """Say which files are about to be written, and take away what earlier exports wrote beside them.

        Args:
            names: files to write.
            stay: files that are there already and stay.

        Raises:
            UserError: a file that no export wrote has one of these names.
            OSError: nothing can be written.
        """
        if not self.target.one_file:
            self._refuse_collisions(names)
        kept = {*stay, *names}
        gone = [name for name in self._owned if name not in kept]
        self.mark.complete = False
        self.mark.files = {name: self.mark.files[name] for name in stay} | dict.fromkeys([*names, *gone])
        self.save()
        for name in gone:
            self.target.remove(name)
            del self.mark.files[name]

    def _refuse_collisions(self, names: Collection[str]) -> None:
        for name in names:
            if name in self._there and name not in self._owned:
                url = self.target.url(name)
                raise UserError(f"{url} is there already and no export wrote it; move it away, or name a new folder")

    def sweep(self) -> None:
        """Remove what killed exports have left half."""
        target, names = self.target, {*self._owned, self.target.name}
        remove_leftovers([target.destination, target.mark_url, *map(target.url, names)])

    def wrote(self, name: str, record: Mapping[str, Any]) -> None:
        """A file is in its place."""
        self.mark.files[name] = dict(record)
        if time.monotonic() - self._saved > SAVED_EVERY:
            self.save()

    def save(self) -> None:
        """Write the mark."""
        write_whole(self.target.mark_url, self.mark.dump())
        self._saved = time.monotonic()

    def end(self, *, complete: bool) -> None:
        """All is written that can be."""
        self.mark.complete = complete
        self.save()

    @contextmanager
    def anew(self, shards: Mapping[str, Tables]) -> Iterator[Path]:
        """Write all files anew: a local file, or a folder to write files into, that come into place after the block.

        Args:
            shards: what they are made of.

        Raises:
            UserError: they cannot be written.
        """
        with writing(self.target.destination):
            self.sweep()
            yield from self._file() if self.target.one_file else self._folder()
            self.mark.shards = {name: ShardMark(dict(tables)) for name, tables in shards.items()}
            self.end(complete=True)

    def _file(self) -> Generator[Path]:
        with whole_file(self.target.destination) as path:
            yield path
            record = described(path)
            self.begin([self.target.name])
        self.wrote(self.target.name, record)

    def _folder(self) -> Generator[Path]:
        with temporary_folder(self.target.destination) as folder:
            yield folder
            names = sorted((file.name for file in folder.iterdir()), key=lambda name: (name == LAST, name))
            mode = usual_mode(folder)
            self.begin(names)
            self.target.remove(LAST)
            for name in names:
                record = described(folder / name)
                with whole_file(self.target.url(name)) as path:
                    (folder / name).replace(path)
                    path.chmod(mode)
                self.wrote(name, record)


def described(path: Path) -> dict[str, Any]:
    """What a mark says of a file that somebody may edit."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _is_as_written(target: Target, there: Names, name: str, mark: Mark) -> bool:
    """Whether a file that is there is the one that the mark lists; one that was being written may be anything."""
    record = mark.files[name]
    if record is None:
        return True
    if there[name] != record["bytes"]:
        return False
    return "sha256" not in record or _sha256(target.url(name)) == record["sha256"]


def _sha256(url: str) -> str:
    digest = hashlib.sha256()
    with open_bytes(url) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def writing(destination: str) -> Iterator[None]:
    """What writes to a place; a full disk or a missing permission is told in a line."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{destination} cannot be written ({error.strerror or error})") from None
