"""Which models were trained on images that are forgotten: the listings that a model read say which rows it was given.

Before anything is cleared of an image that was there, the listings that count it have successors that name it as
forgotten. So a model that read an earlier one is stale from then on, and what is trained anew is another one, below
another digest. Whether the row came through the selection, and whether a batch was made of it, is not asked: a model
that it may have reached is told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

from pipeline.dag.lineage import CHECKPOINTS, checkpoints_at
from pipeline.dag.listing import PARTS, forgotten_rows, latest, listing_table, next_name, read_listing
from pipeline.dag.stale import EARLIER, LISTINGS
from pipeline.dag.stored import stored_graph, stored_names
from pipeline.store import FINGERPRINT, TABLE, Store
from pipeline.upkeep.clearing import Folder
from stages.contract import Output
from stages.errors import UserError
from stages.io.shards import BROKEN
from stages.training.lineage import all_listings
from stages.urls.known import Counted

Rows = Mapping[str, Collection[str]]
"""Keys, by the shard that they are in."""
Note = Callable[[str, BaseException], None]
"""Told of a table that is gone or broken, and how."""


@dataclass(frozen=True)
class Taught:
    """A model that keeps what it learned of forgotten images."""

    model: str
    """Where it lies."""
    step: str
    """What `--refresh` takes to train it anew without them; "" where no manifest's latest run reads it."""
    began: bool = False
    """Whether it was not trained on them itself, but began with a model that was."""
    unfinished: bool = False
    """Whether it is what an interrupted training has left: nobody can tell what of its rows it has come to."""

    @property
    def words(self) -> str:
        """What there is to say of it."""
        if self.unfinished:
            return (
                "an interrupted training may have learned of forgotten images, and keeps that in its checkpoints: "
                f"{self.model}; a run may go on from there, so delete that folder to have none of it"
            )
        why = "began with one that was trained" if self.began else "was trained"
        instead = f"`capfilt run --refresh {self.step}` trains it anew without them"
        if not self.step:
            folder, _, name = self.model.rpartition("/")
            data = name.partition(".")[0]
            files = f"{folder}/{data}.* and {folder}/{CHECKPOINTS}/{data}"
            instead = f"no manifest's latest run reads it, so delete {files}"
        return f"this model {why} on forgotten images, and keeps what it learned: {self.model}; {instead}"


@dataclass(frozen=True)
class Listed:
    """The listings of a cut source, and what was trained on them."""

    store: Store
    cut: str
    """The folder of the cut source."""
    note: Note

    def write_down(self, rows: Rows) -> None:
        """Say in a new listing of every file that counts rows that they are forgotten; one that says so stays.

        Args:
            rows: those that there were images of.
        """
        for name, counted in self._latest() if rows else ():
            now = [replace(each, forgotten=(*each.forgotten, *_given(each, rows))) for each in counted]
            if now != counted:
                stage = {"stage": self.cut.rsplit("/", 2)[1]}
                self.store.commit(f"{self.cut}/{PARTS}", next_name(name), Output(listing_table(now)), stage)

    def taught(self, models: Sequence[Folder], rows: Rows, steps: Mapping[str, str]) -> dict[str, Taught]:
        """The models that were given rows that are forgotten, and those that began with such a model, by version.

        Args:
            models: the folders of all that was ever trained on the source.
            rows: those on the removal list.
            steps: what makes the models that latest runs read, by version.
        """
        listed = cache(lambda name: read_listing(self.store, self.cut, [name]))
        gone = self._forgotten(rows)
        found: dict[str, Taught] = {}
        for folder, data, version in _versions(models) if gone else ():
            try:
                if any(_given(each, gone) for name in self._read(folder, data) for each in listed(name)):
                    found[version] = Taught(self._place(folder, data), steps.get(version, ""))
            except BROKEN as error:
                self.note(folder.table(data), error)
        while more := dict(self._heirs(models, found)):
            found |= more
        left = self._unfinished(models, found, gone) if gone else ()
        return found | {version: Taught(place, "", unfinished=True) for version, place in left}

    def _unfinished(
        self, models: Sequence[Folder], found: Mapping[str, Taught], gone: Rows
    ) -> Iterator[tuple[str, str]]:
        """What interrupted trainings have left that were given forgotten rows: versions, places."""
        for folder in models:
            began = any(each in found for each in self._inputs(folder))
            for data in self.store.names(f"{folder.url}/{CHECKPOINTS}"):
                place = checkpoints_at(folder.url, data)
                if FINGERPRINT.fullmatch(data) and data not in folder.shards and (began or self._gave(place, gone)):
                    yield f"{folder.url.rpartition('/')[2]}/{data}", place

    def _gave(self, checkpoints: str, gone: Rows) -> bool:
        """Whether a training was given forgotten rows, itself or as one that it went on from."""
        try:
            listings = all_listings(checkpoints)
            if listings is None:  # nobody can tell, so it is told if it has come to anything
                return bool(self.store.names(checkpoints))
            names = listings.get(self._source, ())
            return any(_given(each, gone) for each in read_listing(self.store, self.cut, names))
        except BROKEN as error:
            self.note(checkpoints, error)
            return True

    def _inputs(self, folder: Folder) -> list[str]:
        """The versions of what a model was made of."""
        inputs = (self.store.recipe(folder.url) or {"identity": {"inputs": {}}})["identity"]["inputs"]
        return [each for names in inputs.values() for each in names]

    def _heirs(self, models: Sequence[Folder], found: Mapping[str, Taught]) -> Iterator[tuple[str, Taught]]:
        """Models that began with one of those found; who trains that one anew makes them anew too."""
        for folder, data, version in _versions(models):
            read = [found[each] for each in self._inputs(folder) if each in found]
            if read and version not in found:
                yield version, Taught(self._place(folder, data), read[0].step, began=True)

    def _place(self, folder: Folder, data: str) -> str:
        """Where a model lies: the file or folder beside its history, which names it; else that one."""
        artifact = self.store.artifact(folder.url, data)
        try:
            sides = [name.removeprefix("side.") for name in artifact.metadata() if name.startswith("side.")]
            return artifact.side(sides[0]) if sides else artifact.url
        except BROKEN as error:
            self.note(artifact.url, error)
            return artifact.url

    def _latest(self) -> Iterator[tuple[str, list[Counted]]]:
        """The listings that count, by name."""
        for name in latest(self.store.committed(f"{self.cut}/{PARTS}")).values():
            try:
                yield name, read_listing(self.store, self.cut, [name])
            except BROKEN as error:
                self.note(f"{self.cut}/{PARTS}/{name}{TABLE}", error)

    def _forgotten(self, rows: Rows) -> dict[str, set[str]]:
        """Those of the rows that there were images of, until they were forgotten."""
        named = forgotten_rows(each for _, counted in self._latest() for each in counted) if rows else {}
        gone = {shard: keys.intersection(rows.get(shard, ())) for shard, keys in named.items()}
        return {shard: keys for shard, keys in gone.items() if keys}

    def _read(self, folder: Folder, data: str) -> list[str]:
        """The listings of the source that a model, or a training that it went on from, was trained on."""
        said = self.store.artifact(folder.url, data).metadata()
        read = [json.loads(said.get(name, "{}")).get(self._source, ()) for name in (LISTINGS, EARLIER)]
        return [*dict.fromkeys(name for names in read for name in names)]

    @cached_property
    def _source(self) -> str:
        source: str = (self.store.recipe(self.cut) or {}).get("source", "")
        return source


def _given(shard: Counted, rows: Rows) -> list[str]:
    """Those of the rows that whoever read this listing was given."""
    hit = rows.get(shard.shard, ())
    return sorted(set(hit) - {*shard.without, *shard.forgotten}) if hit else []


def steps_of(store: Store, odd: list[str]) -> dict[str, str]:
    """The steps whose models the latest run of any manifest reads, by version; what cannot be read is told in `odd`."""
    found: dict[str, str] = {}
    for name in stored_names(store):
        try:
            stored = stored_graph(store, name)
        except UserError as error:
            odd.append(str(error))
        else:
            nodes = stored.graph.nodes.values() if stored else ()
            found.update({node.version: node.step for node in nodes if node.is_model})
    return found


def _versions(models: Sequence[Folder]) -> Iterator[tuple[Folder, str, str]]:
    """Every model: its folder, its data, and both as its readers know it."""
    for folder in models:
        for data in sorted(folder.shards):
            yield folder, data, f"{folder.url.rpartition('/')[2]}/{data}"
