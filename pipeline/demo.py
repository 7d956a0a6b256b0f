"""The demo world of a manifest: written before its lists are read, served while its images are downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.dag.plan import NodePlan
from pipeline.manifest.document import Demo
from stages.errors import UserError


def prepare(demo: Demo | None, *, write: bool) -> list[str]:
    """Write the demo world that a manifest asks for, if it is not there yet; or say that a run would."""
    if demo is None:
        return []
    from stages.demo.world import World
    from stages.demo.world import write as write_world

    folder, base_url = Path(demo.folder).expanduser(), f"http://127.0.0.1:{demo.port}"
    if not write:
        is_there = World(folder).record.exists()
        return [] if is_there else [f"the demo world is not there yet; `capfilt run` writes it into {demo.folder}"]
    try:
        sizes = {"images": demo.images, "human": demo.human, "measured": demo.measured}
        write_world(folder, **sizes, seed=demo.seed, base_url=base_url)
    except OSError as error:
        raise UserError(f"demo.folder: {demo.folder} cannot be written: {error}") from None
    return []


@contextmanager
def demo_web(demo: Demo | None, plans: Sequence[NodePlan]) -> Iterator[None]:
    """Serve the demo world while its images are still to be downloaded.

    Raises:
        UserError: the port is taken.
    """
    downloads = [plan for plan in plans if plan.node.spec.writes == "images"]
    if demo is None or all(plan.is_done for plan in downloads):
        yield
        return
    from stages.demo.web_process import serve_apart

    with ExitStack() as web:
        try:
            web.enter_context(serve_apart(Path(demo.folder).expanduser(), port=demo.port))
        except OSError as error:
            raise UserError(f"demo.port: {error.strerror or error}; choose another port") from None
        yield
