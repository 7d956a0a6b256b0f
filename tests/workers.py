"""How `pytest -n 2` shares the tests out: modules, since their tests share what they set up, or groups of modules."""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadScopeScheduling

GROUPS = {
    "ray": (
        "test_executors",
        "test_groups",
        "test_job_submit",
        "test_kill",
        "test_pretrain_on_ray",
        "test_ray_asks_nobody",
        "test_ray_cluster",
        "test_rounds",
        "test_sick_workers",
        "test_torture",
    ),
    "pair": (
        "test_align_workers",
        "test_blip_workers",
        "test_room",
        "test_pretrain_objective",
        "test_pretrain_training",
        "test_pretrain_workers",
    ),
}
"""Modules that one worker runs one after the other: there is one Ray at a time, and the fixture `pair` starts once."""


def group_of(nodeid: str) -> str:
    """The group of a test's module, or the module itself."""
    module = nodeid.partition("::")[0]
    name = module.rpartition("/")[2].removesuffix(".py")
    return next((group for group, modules in GROUPS.items() if name in modules), module)


class ByGroup(LoadScopeScheduling):
    """Hands groups to workers as these become free, in the order in which tests were collected."""

    def __init__(self, config: Any, log: Any) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
