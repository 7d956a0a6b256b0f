"""The text of a manifest as plain values, and as nodes that know their lines.

YAML 1.1, which PyYAML reads, takes more for something else than people mean: `no` is false to it, `2024-01-01` a date,
`1:30` is 90, and `1e-4` a text. Here a plain word is null, true, false or a number where the core schema of YAML 1.2
(https://yaml.org/spec/1.2.2/#103-core-schema) says so, and a text everywhere else; a key is always a text. Whole
numbers with a leading zero, on which the two disagree, are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from pipeline.manifest.changes import changed, spot
from stages.errors import UserError
from stages.words import first_line

MOST_VALUES: Final = 100_000
"""More than any manifest holds; aliases of aliases can stand for far more than a machine does."""
DEEPEST: Final = 30
"""Levels of lists and mappings; a manifest has five."""
LONGEST_NUMBER: Final = 400
"""Characters beyond which digits are no number that anybody means."""
_TAG: Final = "tag:yaml.org,2002:"
_NULL, _BOOL, _INT, _FLOAT, _STR, _MERGE = (_TAG + kind for kind in ("null", "bool", "int", "float", "str", "merge"))
_WHOLE: Final = r"[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)|0x[0-9a-fA-F]+|0o[0-7]+"
_POINT: Final = r"[-+]?(?:[0-9]+(?:_[0-9]+)*\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
_NO_NUMBER: Final = r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
_NULLS: Final = ("~", "null", "Null", "NULL", "")
_LEADING_ZERO: Final = re.compile(r"[-+]?0[0-9_]+")


class _Loader(yaml.SafeLoader):
    """PyYAML with the core schema of YAML 1.2, and with the merge key `<<`."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute


for _tag, _form, _first in (
    (_NULL, "|".join(_NULLS), ["~", "n", "N", ""]),
    (_BOOL, r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    (_INT, _WHOLE, list("-+0123456789")),
    (_FLOAT, f"{_POINT}|{_NO_NUMBER}", list("-+.0123456789")),
    (_MERGE, "<<", ["<"]),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_form})$"), _first)


def parse(path: Path, text: str, changes: Sequence[str] = ()) -> tuple[yaml.MappingNode, dict[str, Any]]:
    """Read YAML whose top is a mapping.

    Args:
        path: the file, for messages.
        text: what it holds.
        changes: what to set in it, see `pipeline.manifest.changes`.

    Returns:
        The top node, and the same as dictionaries, lists, texts, numbers, booleans and None.

    Raises:
        UserError: this is no YAML, or it holds what is ambiguous, or means nothing in a manifest; a line for each.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
        if not isinstance(root, yaml.MappingNode):
            raise UserError(f"{path}:1: a manifest is a mapping that starts with 'output:' and 'sources:'")
        root = changed(root, changes, _Loader)
        reading = _Reading(path)
        values = reading.value(root, ())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        told = str(error.problem)
        told = f"{error.context}, {told}" if told.startswith("but") else told
        raise UserError(f"{path}:{line}: not YAML: {told}; check the indentation and quotes here") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {first_line(error)}") from None
    except RecursionError:
        raise UserError(f"{path}: lists and mappings are nested too deeply; a manifest has five levels") from None
    if reading.problems:
        raise UserError("\n".join(f"{place}: {words}" for _, place, words in sorted(reading.problems)))
    return root, values


class _Reading:
    """One pass over the nodes; what is wrong is collected."""

    def __init__(self, path: Path) -> None:
        self.problems: set[tuple[int, str, str]] = set()
        self._path = path
        self._above: list[yaml.Node] = []
        self._count = 0

    def value(self, node: yaml.Node, keys: tuple[str, ...]) -> Any:
        """The plain value of a node that stands under these keys."""
        self._count += 1
        if self._count > MOST_VALUES:
            raise UserError(
                f"{spot(self._path, node)}: its aliases stand for more than {MOST_VALUES:,} values; use fewer"
            )
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, keys)
        if node in self._above:
            return self._wrong(node, keys, "holds itself by an alias; write it out")
        if len(self._above) == DEEPEST:
            return self._wrong(node, keys, f"is nested more than {DEEPEST} levels deep; a manifest has five")
        if node.tag not in {f"{_TAG}map", f"{_TAG}seq"}:
            return self._wrong(node, keys, f"the tag '{node.tag}' means nothing here; leave it out")
        self._above.append(node)
        found = self._mapping(node, keys) if isinstance(node, yaml.MappingNode) else self._list(node, keys)
        self._above.pop()
        return found

    def _list(self, node: yaml.Node, keys: tuple[str, ...]) -> list[Any]:
        return [self.value(item, keys) for item in node.value]

    def _mapping(self, node: yaml.MappingNode, keys: tuple[str, ...]) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: list[tuple[yaml.Node, Any]] = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._wrong(key, keys, "a key is a word, not a list or a mapping")
            elif key.tag == _MERGE:
                merged += [(value, one) for one in self._merged(value, keys)]
            elif key.value in own:
                self._wrong(key, (*keys, key.value), "this key stands here twice; keep one")
            else:
                own[self._text(key, keys)] = self.value(value, (*keys, key.value))
        for value, found in merged:
            if not isinstance(found, dict):
                self._wrong(value, keys, "'<<' takes a mapping, or a list of mappings")
            else:
                own = {**found, **own}
        return own

    def _merged(self, node: yaml.Node, keys: tuple[str, ...]) -> list[Any]:
        found = self.value(node, keys)
        return found if isinstance(found, list) else [found]

    def _scalar(self, node: yaml.ScalarNode, keys: tuple[str, ...]) -> Any:
        text = node.value
        if node.tag == _STR:
            if node.style is None and _LEADING_ZERO.fullmatch(text):
                words = f"found {text}, which is octal to some; leave the leading zero out, or put it in quotes"
                return self._wrong(node, keys, words)
            return self._text(node, keys)
        try:
            return _CONVERSIONS[node.tag](text)
        except KeyError:
            return self._wrong(node, keys, f"the tag '{node.tag}' means nothing here; leave it out")
        except ValueError:
            return self._wrong(node, keys, f"found {text[:60]}, which its tag does not fit; leave the tag out")

    def _text(self, node: yaml.ScalarNode, keys: tuple[str, ...]) -> str:
        """The text of a node. A NUL, or half of a pair of surrogates, stands in no name, path or query."""
        text: str = node.value
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            self._wrong(
                node, keys, f"found {repr(text)[:60]}, which has a character that no text may have; take it out"
            )
        return text

    def _wrong(self, node: yaml.Node, keys: tuple[str, ...], words: str) -> None:
        name = repr(".".join(keys))[1:-1]
        place = spot(self._path, node)
        self.problems.add((node.start_mark.line, place, f"{name}: {words}" if name else words))


def _to_int(text: str) -> int | str:
    return text if len(text) > LONGEST_NUMBER else int(text, base=0)


def _to_float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _to_bool(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError(text)
    return text.lower() == "true"


def _to_null(text: str) -> None:
    if text not in _NULLS:
        raise ValueError(text)


_CONVERSIONS: Final = {_NULL: _to_null, _INT: _to_int, _FLOAT: _to_float, _BOOL: _to_bool}
