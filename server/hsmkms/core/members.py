"""Constraints on request members, and AWS's texts for what breaks them.

A request is a dataclass whose fields carry a `Constraint` in their metadata. `check` lets a request pass, or reports all that is
wrong with it in one ValidationException, as AWS does: "2 validation errors detected: Value … at 'keyId' failed to satisfy …; …".
The numbers, patterns and enumerations are those of the AWS KMS model 2014-11-01; members are named in lowerCamel.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from hsmkms.core.errors import ValidationException

MAX_SHOWN_CHARACTERS: Final = 64
"""A value longer than this is cut where an error repeats it."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """What a member must satisfy.

    Args:
        required: It must be there.
        minimum: Least length (text, bytes, list) or least value (number).
        maximum: Greatest length or value.
        pattern: A regular expression that the whole text must match.
        choices: The values of the enumeration that are allowed.
        each: The constraint on each element of a list.
        sensitive: Errors do not repeat its value.
        doc: What the member is, for help texts.
        placeholder: What stands for its value in help texts.
    """

    required: bool = False
    minimum: int | None = None
    maximum: int | None = None
    pattern: str | None = None
    choices: tuple[str, ...] = ()
    each: Constraint | None = None
    sensitive: bool = False
    doc: str = ""
    placeholder: str = ""


def member(doc: str, *, default: Any = None, **constraint: Any) -> Any:
    """Declare a request member: a dataclass field with a `Constraint`.

    Args:
        doc: What the member is, with units and limits: it is shown by `--help`.
        default: The value when it is absent.
        constraint: The fields of `Constraint`.
    """
    rule = Constraint(doc=doc, **constraint)
    metadata = {"constraint": rule}
    if isinstance(default, Mapping):
        return dataclasses.field(default_factory=lambda: default, repr=not rule.sensitive, metadata=metadata)
    return dataclasses.field(default=default, repr=not rule.sensitive, metadata=metadata)


def constraint_of(field: dataclasses.Field[Any]) -> Constraint:
    """Return the constraint that a field was declared with."""
    rule: Constraint = field.metadata.get("constraint", _NO_CONSTRAINT)
    return rule


_Rules: TypeAlias = tuple[tuple[str, Callable[[Any], Any], Constraint], ...]
_RULES: Final[dict[type, _Rules]] = {}


class _Checks(NamedTuple):
    """What `check` asks of a kind of request: of those members alone that something can be wrong with.

    Args:
        values_of: Returns the values of these members.
        wells: Of each one, whether it is required, and what says of a value that is there whether it is well.
    """

    values_of: Callable[[Any], tuple[Any, ...]]
    wells: tuple[tuple[bool, Callable[[Any], bool]], ...]


_CHECKS: Final[dict[type, _Checks]] = {}
_NO_CONSTRAINT: Final = Constraint()
_ACRONYMS: Final = {"aws_account_id": "AWSAccountId"}


@functools.cache
def aws_name(field_name: str) -> str:
    """Return a member's name as AWS writes it: `key_id` is `KeyId`."""
    return _ACRONYMS.get(field_name) or "".join(part.capitalize() for part in field_name.split("_"))


@functools.cache
def wire_name(field_name: str) -> str:
    """Return a member's name as AWS's validation texts write it: `key_id` is `keyId`."""
    name = aws_name(field_name)
    return name[0].lower() + name[1:]


def check(request: Any) -> None:
    """Check every member of a request.

    Raises:
        ValidationException: with a text for each member that breaks its constraint.
    """
    kind = type(request)
    checks = _CHECKS.get(kind)
    if checks is None:
        checks = _CHECKS[kind] = _checks(kind)
    for value, (required, is_well) in zip(checks.values_of(request), checks.wells, strict=True):
        if required if value is None else not is_well(value):
            raise _refusal(request)


def _refusal(request: Any) -> ValidationException:
    """Return the error for a request that is not well: it names all that is wrong."""
    problems: list[str] = []
    for path, get, rule in _rules(type(request)):
        problems.extend(_problems(path, get(request), rule))
    count = len(problems)
    plural = "" if count == 1 else "s"
    return ValidationException(f"{count} validation error{plural} detected: " + "; ".join(problems))


def values_getter(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what returns the values of the attributes of these names, in their order, as fast as can be."""
    match names:
        case []:
            return lambda _: ()
        case [name]:
            return lambda source: (getattr(source, name),)  # attrgetter would return the value alone
    return operator.attrgetter(*names)


def _checks(kind: type) -> _Checks:
    annotations = typing.get_type_hints(kind)
    checked = []
    for field in dataclasses.fields(kind):
        rule = constraint_of(field)
        if rule != _only_described(rule) or _is_list(annotations[field.name]):
            checked.append((field.name, (rule.required, _well(wire_name(field.name), rule))))
    return _Checks(values_getter([name for name, _ in checked]), tuple(well for _, well in checked))


def _only_described(rule: Constraint) -> Constraint:
    """Return the constraint that has the texts of another one, and demands nothing."""
    return Constraint(sensitive=rule.sensitive, doc=rule.doc, placeholder=rule.placeholder)


def _is_list(annotation: Any) -> bool:
    return any(typing.get_origin(option) is tuple for option in (annotation, *typing.get_args(annotation)))


def _well(path: str, rule: Constraint) -> Callable[[Any], bool]:
    """Return what says of a value that is there whether a member may have it; most values take one comparison."""
    least = -math.inf if rule.minimum is None else rule.minimum
    most = math.inf if rule.maximum is None else rule.maximum

    def in_full(value: Any) -> bool:
        return not any(_problems(path, value, rule))

    def in_bounds(value: Any) -> bool:
        kind = type(value)
        if kind is str or kind is bytes:
            return least <= len(value) <= most
        return least <= value <= most if kind is int else in_full(value)

    def listed(value: Any) -> bool:
        return (value == () and rule.minimum is None) or in_full(value)

    if rule.pattern is not None or rule.choices:
        return in_full
    return listed if rule.each is not None else in_bounds


def _problems(path: str, value: Any, rule: Constraint) -> Iterator[str]:
    if (value is None and not rule.required) or (value == () and rule.minimum is None):
        return
    problem = _problem(path, value, rule)
    if problem:
        yield problem
    elif rule.each is None and isinstance(value, tuple):
        yield from _nested(path, value)


def _rules(kind: type) -> _Rules:
    rules = _RULES.get(kind)
    if rules is None:
        fields = dataclasses.fields(kind)
        rules = tuple((wire_name(f.name), operator.attrgetter(f.name), constraint_of(f)) for f in fields)
        _RULES[kind] = rules
    return rules


def _nested(path: str, values: tuple[Any, ...]) -> Iterator[str]:
    for position, value in enumerate(values, 1):
        if dataclasses.is_dataclass(value):
            for name, get, rule in _rules(type(value)):
                problem = _problem(f"{path}.{position}.member.{name}", get(value), rule)
                if problem:
                    yield problem


def _problem(path: str, value: Any, rule: Constraint) -> str:
    if value is None or (rule.required and value == ()):  # no face can tell an absent list from an empty one
        return f"Value null at '{path}' failed to satisfy constraint: Member must not be null" if rule.required else ""
    broken = _broken(value, rule)
    if not broken and rule.each is not None:
        for element in value:
            inner = _broken(element, rule.each)
            if inner:
                broken = f"Member must satisfy constraint: [{inner}]"
                break
    return f"Value{_shown(value, rule)} at '{path}' failed to satisfy constraint: {broken}" if broken else ""


def _broken(value: Any, rule: Constraint) -> str:
    if rule.minimum is not None or rule.maximum is not None:
        measured, noun = (value, "value") if isinstance(value, int) else (_length(value), "length")
        if rule.minimum is not None and measured < rule.minimum:
            return f"Member must have {noun} greater than or equal to {rule.minimum}"
        if rule.maximum is not None and measured > rule.maximum:
            return f"Member must have {noun} less than or equal to {rule.maximum}"
    if rule.pattern is not None and not _compiled(rule.pattern).fullmatch(value):
        return f"Member must satisfy regular expression pattern: {rule.pattern}"
    if rule.choices and value not in rule.choices:
        return f"Member must satisfy enum value set: [{', '.join(rule.choices)}]"
    return ""


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes | tuple | Mapping) else 0


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def shown(text: str) -> str:
    """Return a caller's text as an error repeats it: cut at `MAX_SHOWN_CHARACTERS`."""
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + "…"


def _shown(value: Any, rule: Constraint) -> str:
    structured = isinstance(value, tuple) and any(dataclasses.is_dataclass(element) for element in value)
    if rule.sensitive or structured or isinstance(value, bytes | Mapping):
        return ""
    text = f"[{', '.join(map(_text, value))}]" if isinstance(value, tuple) else str(value)
    return f" '{shown(text)}'"


def _text(element: Any) -> str:
    return "null" if element is None else str(element)
