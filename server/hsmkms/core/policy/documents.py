"""From the JSON text of an AWS policy document to a `Policy`, or to an error that names the place that is wrong.

Accepted is what AWS accepts of versions 2012-10-17 and 2008-10-17 (the default; it has no policy variables). A key policy's statements
must name a Principal or NotPrincipal, and NotPrincipal only denies; an identity policy's must not. What AWS lets pass and ignores is
refused here: unknown elements, the same element twice, empty lists, values that are not of their operator's type.

Limits, all ours but the first: 32,768 bytes, 16 levels of nesting, 1,000 `*` and 100 `?` (which bound the time a match can take).
Source: "Grammar of the IAM JSON policy language" in AWS's IAM user guide.
"""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import Any, Final, NoReturn

from hsmkms.core.errors import MalformedPolicyDocumentException
from hsmkms.core.policy.arn_patterns import ArnPattern
from hsmkms.core.policy.conditions import NullTest, Test, compile_test, known_operator
from hsmkms.core.policy.patterns import Glob, PatternError, literal_of, tokens
from hsmkms.core.policy.principals import Principals, valid_entry
from hsmkms.core.policy.statements import Actions, Policy, Resources, Statement

MAX_POLICY_BYTES: Final = 32768
MAX_DEPTH: Final = 16
MAX_STARS: Final = 1000
MAX_QUESTION_MARKS: Final = 100

VARIABLES_VERSION: Final = "2012-10-17"
VERSIONS: Final = (VARIABLES_VERSION, "2008-10-17")

_SHOWN: Final = 60
_POLICY_ELEMENTS: Final = frozenset({"Version", "Id", "Statement"})
_STATEMENT_ELEMENTS: Final = frozenset(
    ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"]
)
_FOREIGN_PRINCIPALS: Final = frozenset({"Service", "Federated", "CanonicalUser"})
_ACTION: Final = re.compile(r"\*|[A-Za-z0-9*?-]{1,64}:[A-Za-z0-9*?]{1,128}", re.ASCII)
_CONDITION_KEY: Final = re.compile(r"[A-Za-z0-9-]{1,64}:.{1,512}", re.ASCII | re.DOTALL)
_STRUCTURE: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


class PolicyKind(Enum):
    """What a policy is attached to."""

    KEY = "key"
    IDENTITY = "identity"


class _Number(str):
    """A number of the document, as it was written."""

    __slots__ = ()


class _Object(dict[str, Any]):
    """A JSON object that remembers a key it had twice."""

    __slots__ = ("twice",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.twice: str | None = None
        if len(self) != len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    self.twice = key
                    break
                seen.add(key)


def parse_policy(text: str, kind: PolicyKind) -> Policy:
    """Return the policy that a document is.

    Args:
        text: The document's JSON text.
        kind: What it is attached to.

    Raises:
        MalformedPolicyDocumentException: it is not a valid document of that kind; the text names the place.
    """
    return _Reader(kind).policy(_load(text))


def _wrong(place: str, what: str) -> NoReturn:
    raise MalformedPolicyDocumentException(f"{place}: {what}")


def _show(text: str) -> str:
    return f"'{text}'" if len(text) <= _SHOWN else f"'{text[:_SHOWN]}…'"


def _load(text: str) -> Any:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_POLICY_BYTES:
        _wrong("Policy", f"must have at most {MAX_POLICY_BYTES} bytes")
    depth = 0
    for match in _STRUCTURE.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth > MAX_DEPTH:
            _wrong("Policy", f"must not nest deeper than {MAX_DEPTH} levels")

    def constant(name: str) -> NoReturn:
        _wrong("Policy", f"must be JSON, which has no {name}")

    try:
        return json.loads(
            text, object_pairs_hook=_Object, parse_int=_Number, parse_float=_Number, parse_constant=constant
        )
    except json.JSONDecodeError as error:
        _wrong("Policy", f"must be JSON; {error.msg} at line {error.lineno} column {error.colno}")


class _Reader:
    """Reads one document."""

    def __init__(self, kind: PolicyKind) -> None:
        self._kind = kind
        self._variables = False
        self._stars = 0
        self._question_marks = 0

    def policy(self, document: Any) -> Policy:
        elements = self._object(document, "Policy", _POLICY_ELEMENTS, "")
        version = elements.get("Version", VERSIONS[1])
        if type(version) is not str or version not in VERSIONS:
            _wrong("Version", f"must be {VERSIONS[0]} or {VERSIONS[1]}")
        if "Id" in elements:
            self._text(elements["Id"], "Id")
        self._variables = version == VARIABLES_VERSION
        if "Statement" not in elements:
            _wrong("Policy", "must have a Statement")
        written = elements["Statement"]
        if isinstance(written, list) and not written:
            _wrong("Statement", "must not be empty")
        if isinstance(written, list):
            statements = [self._statement(item, f"Statement[{index}]") for index, item in enumerate(written)]
        else:
            statements = [self._statement(written, "Statement")]
        labels: set[str] = set()
        for statement in statements:
            if statement.label in labels:
                _wrong("Statement", f"two statements have the Sid {_show(statement.label)}")
            labels.add(statement.label)
        return Policy(version, tuple(statements))

    def _statement(self, value: Any, place: str) -> Statement:
        elements = self._object(value, place, _STATEMENT_ELEMENTS, f"{place}.")
        sid = self._text(elements.get("Sid", ""), f"{place}.Sid")
        effect = elements.get("Effect")
        if type(effect) is not str or effect not in {"Allow", "Deny"}:
            _wrong(f"{place}.Effect", "must be Allow or Deny")
        action = self._one_of(elements, place, "Action", "NotAction")
        resource = self._one_of(elements, place, "Resource", "NotResource")
        return Statement(
            label=sid or place,
            denies=effect == "Deny",
            principals=self._principals(elements, place, effect),
            actions=self._actions(elements[action], f"{place}.{action}", negated=action == "NotAction"),
            resources=self._resources(elements[resource], f"{place}.{resource}", negated=resource == "NotResource"),
            tests=self._condition(elements["Condition"], f"{place}.Condition") if "Condition" in elements else (),
        )

    def _one_of(self, elements: _Object, place: str, name: str, negated: str) -> str:
        present = [element for element in (name, negated) if element in elements]
        if len(present) != 1:
            _wrong(place, f"must have either {name} or {negated}" + (", not both" if present else ""))
        return present[0]

    def _principals(self, elements: _Object, place: str, effect: str) -> Principals | None:
        if self._kind is PolicyKind.IDENTITY:
            for name in ("Principal", "NotPrincipal"):
                if name in elements:
                    _wrong(f"{place}.{name}", "must not stand in an identity policy")
            return None
        name = self._one_of(elements, place, "Principal", "NotPrincipal")
        place = f"{place}.{name}"
        negated = name == "NotPrincipal"
        if negated and effect == "Allow":
            _wrong(place, "must not stand in a statement that allows")
        element = elements[name]
        if type(element) is str:
            if element != "*":
                _wrong(place, "must be * or an object such as {AWS: …}")
            return Principals.of(["*"], negated=negated)
        kinds = self._object(element, place, _FOREIGN_PRINCIPALS | {"AWS"}, f"{place}.")
        if not kinds:
            _wrong(place, "must not be empty")
        entries = [
            entry for kind, written in kinds.items() for entry in self._entries(written, kind, f"{place}.{kind}")
        ]
        return Principals.of(entries, negated=negated)

    def _entries(self, value: Any, kind: str, place: str) -> list[str]:
        """Return the entries of one kind of principal that anyone here can be."""
        values = self._strings(value, place)
        for at, entry in values:
            if kind == "AWS" and entry != "*" and not valid_entry(entry):
                _wrong(at, f"{_show(entry)} is no account, no ARN of a principal, and not *")
            if not entry:
                _wrong(at, "must not be empty")
        return [entry for _, entry in values] if kind == "AWS" else []

    def _actions(self, value: Any, place: str, *, negated: bool) -> Actions:
        exact: set[str] = set()
        globs: list[Glob] = []
        for at, action in self._strings(value, place):
            if _ACTION.fullmatch(action) is None:
                _wrong(at, f"{_show(action)} is no action such as kms:Decrypt")
            pattern = tokens(action.lower(), variables=False, wildcards=True)
            literal = literal_of(pattern)
            if literal is None:
                globs.append(Glob.of(pattern))
            else:
                exact.add(literal)
        return Actions(negated, frozenset(exact), tuple(globs))

    def _resources(self, value: Any, place: str, *, negated: bool) -> Resources:
        patterns = []
        for at, resource in self._strings(value, place):
            try:
                patterns.append(ArnPattern.of(resource, variables=self._variables, resource=True))
            except PatternError as error:
                _wrong(at, f"{_show(resource)}: {error}")
        return Resources(negated, tuple(patterns))

    def _condition(self, value: Any, place: str) -> tuple[Test | NullTest, ...]:
        tests = []
        for operator, keys in self._object(value, place, None, f"{place}.").items():
            at = f"{place}.{operator if known_operator(operator) else _show(operator)}"
            if not known_operator(operator):
                _wrong(at, "is no condition operator")
            pairs = self._object(keys, at, None, f"{at}.")
            if not pairs:
                _wrong(at, "must not be empty")
            for key, written in pairs.items():
                if _CONDITION_KEY.fullmatch(key) is None:
                    _wrong(at, f"{_show(key)} is no condition key such as aws:PrincipalArn")
                values = self._strings(written, f"{at}.{key}", scalars=True)
                try:
                    tests.append(
                        compile_test(operator, key, tuple(text for _, text in values), variables=self._variables)
                    )
                except PatternError as error:
                    _wrong(f"{at}.{key}", str(error))
        return tuple(tests)

    def _object(self, value: Any, place: str, known: frozenset[str] | None, prefix: str) -> _Object:
        if not isinstance(value, _Object):
            _wrong(place, "must be an object")
        if value.twice is not None:
            _wrong(place, f"has the element {_show(value.twice)} twice")
        for name in value:
            if known is not None and name not in known:
                _wrong(f"{prefix}{name if len(name) <= _SHOWN else name[:_SHOWN] + '…'}", "is no element known here")
        return value

    def _text(self, value: Any, place: str) -> str:
        if type(value) is not str:
            _wrong(place, "must be a string")
        return value

    def _strings(self, value: Any, place: str, *, scalars: bool = False) -> list[tuple[str, str]]:
        """Return one string or a list of them, each with its place; `scalars` lets numbers and booleans pass for text."""
        listed = isinstance(value, list)
        if listed and not value:
            _wrong(place, "must not be empty")
        found = []
        for index, item in enumerate(value if listed else [value]):
            at = f"{place}[{index}]" if listed else place
            if scalars and isinstance(item, bool):
                item = "true" if item else "false"  # noqa: PLW2901 - the same item as text
            if not isinstance(item, str) or (isinstance(item, _Number) and not scalars):
                _wrong(at, "must be a string or a list of strings")
            found.append((at, str(item)))
            self._stars += item.count("*")
            self._question_marks += item.count("?")
        if self._stars > MAX_STARS or self._question_marks > MAX_QUESTION_MARKS:
            _wrong(place, f"a policy must have at most {MAX_STARS} * and {MAX_QUESTION_MARKS} ?")
        return found
