"""A place that an export goes to, and what lies there: one file, or a folder of files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

from stages.errors import UserError
from stages.io.files import TEMPORARY, is_there, locate

MARK: Final = "export.json"

Names: TypeAlias = Mapping[str, int | None]
"""What lies in a place: bytes by name, None for a folder."""


@dataclass(frozen=True)
class Target:
    """A place for one file, or for a folder of files."""

    destination: str
    """A local path or an fsspec URL, without a slash at its end."""
    one_file: bool

    @classmethod
    def of(cls, destination: str, *, one_file: bool) -> Self:
        """The place that somebody names."""
        return cls(destination.rstrip("/") or "/", one_file)

    def url(self, name: str) -> str:
        """Where one of its files lies."""
        return self.destination if self.one_file else f"{self.destination}/{name}"

    @property
    def mark_url(self) -> str:
        """Where its mark lies."""
        return f"{self.destination}.{MARK}" if self.one_file else self.url(MARK)

    @property
    def name(self) -> str:
        """Its last part, by which a target for one file calls that."""
        return _last(self.destination)

    def look(self) -> Names:
        """What lies there; of a target for one file, that file.

        Raises:
            UserError: a file lies where a folder is wanted, or the other way round, or nobody can look.
        """
        with _reached(self.destination):
            filesystem, path = locate(self.destination)
            filesystem.invalidate_cache()
            if not is_there(self.destination):
                return {}
            if filesystem.isdir(path) == self.one_file:
                wrong = "a folder; name a file" if self.one_file else "a file; name a folder"
                raise UserError(f"{self.destination} is {wrong}")
            if self.one_file:
                return {self.name: filesystem.size(path)}
            found = {_last(one["name"]): one for one in filesystem.ls(path, detail=True) if _below(one["name"], path)}
        return {
            name: one["size"] if one["type"] != "directory" else None
            for name, one in found.items()
            if not TEMPORARY.fullmatch(name)
        }

    def read_mark(self) -> bytes | None:
        """The file of its mark, None where there is none."""
        with _reached(self.destination), suppress(FileNotFoundError, NotADirectoryError):
            filesystem, path = locate(self.mark_url)
            content: bytes = filesystem.cat_file(path)
            return content
        return None

    def remove(self, name: str) -> None:
        """Remove one of its files, if it is there."""
        filesystem, path = locate(self.url(name))
        with suppress(FileNotFoundError):
            filesystem.rm_file(path)


def _last(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]


def _below(path: str, folder: str) -> bool:
    """Whether it is not the folder itself, for which an object store may hold an object of its own."""
    return path.strip("/") != folder.strip("/")


@contextmanager
def _reached(destination: str) -> Iterator[None]:
    """What looks at a place; no such storage, no credentials, no permission are told in a line."""
    try:
        yield
    except (UserError, FileNotFoundError, NotADirectoryError):
        raise
    except Exception as error:  # noqa: BLE001 - every kind of storage has errors of its own
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{destination} cannot be reached ({reason})") from None
