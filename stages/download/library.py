"""img2dataset as this stage uses it. Import it from here only.

Its downloader feeds a shard's rows to a pool of threads, bounds how many are under way, and hands every row to the
writer. What it takes from outside is the writer and the resizer. What fetches a row, `download_image_with_retry`, it
takes from its own module: that one knows no limit but the time of one read, retries whatever failed, and pretends to be
a browser. So every downloader here is made from a copy of that module, of its own, in which another function stands
under that name. Whoever else uses img2dataset in this process has it as it is.

Its resizer is not used: it decodes what Pillow, which every later stage reads with, would refuse.

The package's `__init__` imports its command, and with it torch and Ray: 560 MB and six seconds for every worker. So its
modules are loaded out of a package of another name, which has none.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pyarrow as pa

FETCH: Final = "download_image_with_retry"


def downloader(  # noqa: PLR0913 - what there is to supply, each with its name
    fetch: Callable[[], tuple[int, Any, str | None]],
    *,
    writer: Any,
    resizer: Callable[..., Any],
    folder: Path,
    threads: int,
    count: int,
) -> Any:
    """img2dataset's downloader of one shard, to be asked for `download_shard`.

    Args:
        fetch: called by its threads once for every row; says which row it has chosen, and its image, of which the
            resizer makes what is stored, or an error.
        writer: is given every row, by one thread.
        resizer: called with the image, by the same thread.
        folder: where it leaves its statistics.
        threads: how many fetch.
        count: rows of the shard.

    Raises:
        ImportError: this img2dataset fetches in another way.
    """
    module = module_from_spec(_SPEC)
    assert _SPEC.loader is not None
    _SPEC.loader.exec_module(module)
    if not hasattr(module, FETCH):
        raise ImportError(f"{_SPEC.origin} has no {FETCH}; install a version of img2dataset that pyproject.toml allows")
    setattr(module, FETCH, lambda _row, **_: fetch())
    return module.Downloader(
        sample_writer_class=lambda *_: writer,
        resizer=resizer,
        thread_count=min(threads, count),
        save_caption=False,
        extract_exif=False,
        output_folder=str(folder),
        column_list=["row", "url"],
        timeout=None,
        number_sample_per_shard=count,
        oom_shard_count=1,
        compute_hash=None,
        verify_hash_type=None,
        encode_format=None,
        retries=0,
        user_agent_token=None,
        disallowed_header_directives=None,
    )


def feed(rows: Sequence[int], folder: Path) -> str:
    """The file of a shard as img2dataset reads it: its rows by number; their addresses are for `fetch` to know."""
    path = str(folder / "feed.arrow")
    table = pa.table({"row": pa.array(rows, pa.int64()), "url": pa.array([""] * len(rows), pa.string())})
    with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, table.schema) as arrow:
        arrow.write_table(table)
    return path


def _load() -> ModuleSpec:
    """Load the downloader's module with all that it imports; returns what copies of it are made from."""
    name = "img2dataset"
    found = find_spec(name)
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    package = ModuleType(f"{__name__}_{name}")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules[package.__name__] = package
    spec = import_module(f"{package.__name__}.downloader").__spec__
    assert spec is not None
    return spec


_SPEC: Final = _load()
