"""`--set STEP.KEY=VALUE`: a manifest with other values in some places, for an arm of an experiment or a trial.

The nodes of the file are changed before anything is made of them, so that a value set is checked, and told when it is
wrong, like one that stands in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import yaml

from stages.errors import UserError

OPTION: Final = "--set"


def changed(root: yaml.MappingNode, changes: Sequence[str], loader: type[yaml.SafeLoader]) -> yaml.MappingNode:
    """A file's top node with other values; the node itself stays as it is.

    Args:
        root: the top node.
        changes: `STEP.KEY=VALUE` each, the value in YAML; a section, or another mapping, that is set to `null` goes.
        loader: what reads the values.

    Raises:
        UserError: a change is not of this form, or goes through something that has no keys.
    """
    for change in changes:
        place, is_one, text = change.partition("=")
        keys = place.strip().split(".")
        if not is_one or not all(keys):
            raise UserError(f"{OPTION} {change}: write STEP.KEY=VALUE, such as select.k=1")
        root = _with(root, keys, _composed(change, text, loader), change)
    return root


def spot(path: Path, node: yaml.Node) -> str:
    """Where a node stands, for messages: the file and its line, or the change that set it."""
    mark = node.start_mark
    return mark.name if mark.name.startswith(OPTION) else f"{path}:{mark.line + 1}"


def label(change: str) -> str:
    """What stands in messages in place of a file and its line."""
    return f"{OPTION} {change}"


def _composed(change: str, text: str, loader: type[yaml.SafeLoader]) -> yaml.Node:
    reader = loader(text)
    reader.name = label(change)
    try:
        node = reader.get_single_node()
    except yaml.YAMLError:
        raise UserError(f"{label(change)}: the value is not YAML; put what has ':' or '#' in it in quotes") from None
    mark = yaml.Mark(reader.name, 0, 0, 0, None, 0)
    return node or yaml.ScalarNode("tag:yaml.org,2002:null", "", mark, mark)


def _with(node: yaml.Node, keys: Sequence[str], value: yaml.Node, change: str) -> yaml.MappingNode:
    """A copy of a mapping in which a value stands under these keys; an alias of it elsewhere stays what it was."""
    if not isinstance(node, yaml.MappingNode):
        raise UserError(f"{label(change)}: '{keys[0]}' would stand in something that has no keys; set that as a whole")
    pairs = [pair for pair in node.value if pair[0].value != keys[0]]
    before = next((found for key, found in node.value if key.value == keys[0]), None)
    place = next((number for number, (key, _) in enumerate(node.value) if key.value == keys[0]), len(pairs))
    key = yaml.ScalarNode("tag:yaml.org,2002:str", keys[0], value.start_mark, value.start_mark)
    if len(keys) > 1:
        mark = value.start_mark
        below = before if before and not _is_null(before) else yaml.MappingNode("tag:yaml.org,2002:map", [], mark, mark)
        value = _with(below, keys[1:], value, change)
    if not (_is_null(value) and isinstance(before, yaml.MappingNode)):
        pairs.insert(place, (key, value))  # the order of sections counts
    return yaml.MappingNode(node.tag, pairs, node.start_mark, node.end_mark)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"
