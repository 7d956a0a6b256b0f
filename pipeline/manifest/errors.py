"""What is wrong with a manifest, in words: the line, the key, what was found and what would be right."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from pipeline.manifest.changes import spot
from stages.registry import STAGES


@dataclass(frozen=True)
class Problem:
    """One mistake: where in the document, and what to say of it."""

    location: tuple[str | int, ...]
    message: str


WORDS: Mapping[str, str] = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "string_type": "must be a text; put it in quotes",
    "string_too_short": "must not be empty",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "too_short": "must have at least {min_length} entry",
    "too_long": "must have at most {max_length} entries",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "model_attributes_type": "must be a mapping of keys to values",
    "literal_error": "must be one of {expected}",
    "union_tag_invalid": "'{tag}' is no format; must be one of {expected_tags}",
    "union_tag_not_found": "missing key 'format'; it says how the source's list is laid out",
    "string_pattern_mismatch": "a name is made of lower-case letters, digits, '-' and '_'",
}
"""What would be right, by pydantic's error type; the braces are filled from the error's context."""

UNION_MEMBERS = ("str", "tuple[str, ...]")
"""How pydantic names the members of our one union of plain types, a text or a list of texts."""


def describe_all(errors: Sequence[Mapping[str, Any]], document: type[BaseModel], root: yaml.Node) -> list[Problem]:
    """Put pydantic's errors into words.

    A value that fits no member of a union has one error per member there, with the member's type as the last step of
    its location; such a group becomes one problem.

    Args:
        errors: what `ValidationError.errors()` returned.
        document: the model that was validated, for the names of the keys that exist.
        root: the file, whose own spelling of a number is shown.
    """
    problems: dict[tuple[str | int, ...], Problem] = {}
    for error in errors:
        top, below = error["loc"][:2], error["loc"][2:]  # a source may be called like a member of a union
        location = (*top, *(step for step in below if step not in UNION_MEMBERS))
        if location == tuple(error["loc"]):
            problems[location] = describe(error, document, root)
        elif location not in problems:
            found = _shown(error["input"], root, location)
            problems[location] = Problem(location, f"found {found}; must be a text or a list of texts")
    return list(problems.values())


def describe(error: Mapping[str, Any], document: type[BaseModel], root: yaml.Node) -> Problem:
    """Put one pydantic error into words; see `describe_all`."""
    location = tuple(error["loc"])
    kind = str(error["type"])
    if kind == "extra_forbidden":
        return Problem(location, _unknown_key(location, document, error["input"]))
    if kind == "missing":
        absent = location[-1]
        return Problem(location[:-1], "has too few entries" if isinstance(absent, int) else f"missing key '{absent}'")
    if kind == "union_tag_invalid":
        return Problem((*location, "format"), WORDS[kind].format(**error["ctx"]))
    if kind == "union_tag_not_found":
        return Problem(location, WORDS[kind])
    if kind == "string_pattern_mismatch" and location[-1] == "[key]":
        return Problem(location[:-1], f"{location[-2]!r} cannot be a source's name; {WORDS[kind]}")
    expected = WORDS.get(kind)
    words = (
        expected.format(**_plain(error.get("ctx", {}))) if expected else str(error["msg"]).removeprefix("Value error, ")
    )
    of_keys_together = kind == "value_error" and isinstance(error["input"], dict)
    return Problem(location, words if of_keys_together else f"found {_shown(error['input'], root, location)}; {words}")


def locate(path: Path, root: yaml.Node, problems: Sequence[Problem]) -> str:
    """One line per problem, `file:line: key: message`, in the file's order."""
    lines = []
    for problem in problems:
        _, node, keys = _find(root, problem.location)
        told = ": ".join(filter(None, (spot(path, node), ".".join(keys), problem.message)))
        lines.append((node.start_mark.line, told))
    return "\n".join(text for _, text in sorted(dict.fromkeys(lines)))


def _plain(context: Mapping[str, Any]) -> dict[str, Any]:
    """Bounds as people write them: 1, not 1.0."""
    return {name: _as_written(value) if isinstance(value, float) else value for name, value in context.items()}


def _as_written(number: float) -> str:
    return str(int(number)) if number.is_integer() else f"{number:g}"


def _shown(value: Any, root: yaml.Node, location: Sequence[str | int]) -> str:
    """A value as JSON; a number, true or false as the file spells it, which may be `1e5` or `.inf`."""
    node, _, keys = _find(root, location)
    spelled = isinstance(node, yaml.ScalarNode) and node.style is None and keys[-1:] == [str(location[-1])]
    is_word = spelled and isinstance(value, int | float)
    text = node.value if is_word else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unknown_key(location: tuple[str | int, ...], document: type[BaseModel], value: Any) -> str:
    known = _keys_at(location[:-1], document)
    key = str(location[-1])
    if isinstance(value, dict) and "stage" in value:
        return f"'{key}' cannot be a section's name; choose another of lower-case letters, digits, '-' and '_'"
    if key in _keys_at((*location[:-1], "run"), document) and "run" in known:
        return "unknown key; it stands under 'run:'"
    if location[-2:-1] == ("run",) and key in _keys_at(location[:-2], document):
        return f"unknown key; it stands under '{location[-3]}:' itself"
    near = difflib.get_close_matches(key, known, n=1)
    if near:
        return f"unknown key; did you mean '{near[0]}'?"
    if len(location) == 1 + ("rounds" in location[:1]) and (stage := _stage_with(value)):
        return f"unknown key; a section with a name of its own says its stage: did you mean 'stage: {stage}' in it?"
    return f"unknown key; the keys here are {', '.join(known)}"


def _stage_with(value: Any) -> str:
    """The first stage whose section may have all keys of a value; "" where there is none, or no key."""
    keys = {name for name in value if name not in {"run", "reads"}} if isinstance(value, dict) else set()
    return next((name for name, spec in STAGES.items() if keys and keys <= spec.recipe.model_fields.keys()), "")


def _keys_at(location: tuple[str | int, ...], document: type[BaseModel]) -> list[str]:
    """The keys that the model at `location` has."""
    here: Any = document
    for step in location:
        here = _unwrap(here)
        if isinstance(here, type) and issubclass(here, BaseModel):
            here = here.model_fields[str(step)].annotation if step in here.model_fields else here
        elif get_origin(here) is dict:
            here = get_args(here)[1]
        else:
            here = next(choice for choice in _choices(here) if step in _tags(choice))
    here = _unwrap(here)
    return list(here.model_fields) if isinstance(here, type) and issubclass(here, BaseModel) else []


def _unwrap(annotation: Any) -> Any:
    """Without `Annotated` and `| None`."""
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    choices = [choice for choice in _choices(annotation) if choice is not type(None)]
    return choices[0] if len(choices) == 1 else annotation


def _choices(annotation: Any) -> tuple[Any, ...]:
    origin = get_origin(annotation)
    return get_args(annotation) if origin is Union or str(origin) == "<class 'types.UnionType'>" else (annotation,)


def _tags(choice: Any) -> tuple[Any, ...]:
    """The values of `format` that pick this model out of the union of sources."""
    if not (isinstance(choice, type) and issubclass(choice, BaseModel) and "format" in choice.model_fields):
        return ()
    annotation = choice.model_fields["format"].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _find(root: yaml.Node, location: Sequence[str | int]) -> tuple[yaml.Node, yaml.Node, list[str]]:
    """The node at `location`, the one that begins its line, and the keys on the way, without those the file lacks."""
    node, begin, keys = root, root, []
    for position, step in enumerate(location):
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(step):
                    node, begin = value, key
                    keys.append(str(step))
                    break
            else:
                if position == len(location) - 1 and step == "format":
                    keys.append("format")
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = begin = node.value[step]
            keys.append(str(step))
    return node, begin, keys
