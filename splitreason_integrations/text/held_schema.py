"""A JSON schema in the form that a grammar holds. All that it lets through fits, or is checked.

Properties that a schema does not name are never written: they would not end. Where several parts
speak of one object, as in `allOf`, it may have what any of them names. What a grammar cannot hold,
such as `not`, is left out, and is checked afterwards.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

from splitreason_integrations.errors import RequestError
from splitreason_integrations.text.held_keywords import KEYWORDS, Piece, held_plain, held_text
from splitreason_integrations.text.held_names import (
    CONDITIONS,
    REFERENCES,
    UNIONS,
    Names,
    NamesOf,
    describes_others,
    parts_that_all_hold,
)
from splitreason_integrations.text.held_objects import held_properties
from splitreason_integrations.text.schemas import MOST_LEVELS, place_of, registered

_MOST_CHOICES = 400
"""Most optional properties of one object, and most alternatives of one value: what may come next
is one row of llguidance's parser, which has 2,000 items."""
_FLAT_LEVELS = 8
"""Levels after which a part is written apart, so that the text is nested no deeper."""
_APPLIED = frozenset({*REFERENCES, *UNIONS, "allOf"})


@lru_cache(maxsize=256)
def held(schema: str) -> str:
    """Return a schema, given as JSON, in the form that a grammar holds; raise RequestError."""
    read = json.loads(schema)
    return json.dumps(HeldSchema(read).write(read))


class HeldSchema:
    """Writes parts of one schema. A part to which references lead is written once."""

    def __init__(self, whole: Mapping[str, Any] | bool) -> None:
        resource, registry = registered(whole)
        self._root: Any = registry.resolver_with_root(resource)
        self._resolvers = dict(_resolvers(resource, self._root))
        drafts = str(whole.get("$schema", "")) if isinstance(whole, Mapping) else ""
        self._reference_is_all = "draft-0" in drafts
        self.names = NamesOf(self._target)
        self._kept: list[Any] = []  # parts are known by identity
        self._apart: dict[tuple[int, bool], str] = {}
        self._written: dict[str, Any] = {}
        self._path: list[str] = []
        self._flat_from = 0

    def write(self, part: Any) -> Any:
        """Return a part of the schema, with all to which it refers.

        Raises:
            RequestError: if it has too many levels.

        """
        self._kept.append(part)
        written = self.used(part, "")
        if not isinstance(written, dict) or not self._written:
            return written
        return {**written, "$defs": self._written}

    def used(self, schema: Any, step: str) -> Any:
        """Return the schema of a whole value, such as that of a property; `step` leads to it."""
        if not isinstance(schema, Mapping):
            return schema
        schema, reference = self._alone(schema)
        if reference is not None:
            return self._referred(schema, reference, closes=True, step=step)
        if len(self._path) - self._flat_from >= _FLAT_LEVELS or any(parts_that_all_hold(schema)):
            return self._written_apart(schema, closes=True, step=step)
        with self._inside(step):
            return self._closed(schema, {})

    def followed(self, schema: Any) -> Any:
        """Return a schema, or that to which it refers and adds nothing."""
        for _ in range(MOST_LEVELS):
            if not isinstance(schema, Mapping):
                break
            schema, reference = self._alone(schema)
            if reference is None:
                break
            schema = self._target(schema, reference)
        return schema

    def applied(self, schema: Mapping[str, Any]) -> list[Any]:
        """Return the schemas that all hold besides what one says itself."""
        return [
            self._target(schema, part) if key in REFERENCES else part
            for key, part in parts_that_all_hold(schema)
        ]

    def _alone(self, schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], str | None]:
        """Return a schema and, where it says nothing else, the reference that it is."""
        while True:
            parts = list(parts_that_all_hold(schema))
            reference = parts[0][1] if parts and parts[0][0] in REFERENCES else None
            if reference is not None and self._reference_is_all:
                return schema, reference
            if len(parts) != 1 or any(key in schema for key in UNIONS) or _plain(schema):
                return schema, None
            if reference is not None:
                return schema, reference
            if not isinstance(parts[0][1], Mapping):
                return schema, None
            schema = parts[0][1]

    def _target(self, schema: Mapping[str, Any], reference: str) -> Any:
        from referencing.exceptions import Unresolvable

        with suppress(Unresolvable):
            return self._resolvers.get(id(schema), self._root).lookup(reference).contents
        return True

    def _referred(
        self, schema: Mapping[str, Any], reference: str, *, closes: bool, step: str
    ) -> Any:
        target = self._target(schema, reference)
        if not isinstance(target, Mapping):
            return target
        return self._written_apart(target, closes=closes, step=step)

    def _written_apart(self, schema: Mapping[str, Any], *, closes: bool, step: str) -> Piece:
        key = (id(schema), closes)
        if key not in self._apart:
            name = self._apart[key] = str(len(self._apart))
            flat_from, self._flat_from = self._flat_from, len(self._path)
            with self._inside(step):
                written = self._closed(schema, {}) if closes else self._open(schema)
            self._written[name], self._flat_from = written, flat_from
        return {"$ref": f"#/$defs/{self._apart[key]}"}

    @contextmanager
    def _inside(self, step: str) -> Iterator[None]:
        if len(self._path) >= MOST_LEVELS:
            raise RequestError(
                f"the schema is nested more than {MOST_LEVELS} levels deep at "
                f"{place_of(self._path)}: flatten its inner parts"
            )
        self._path.append(step)
        try:
            yield
        finally:
            self._path.pop()

    def _open(self, schema: Any) -> Any:
        """Return a part of an object that has other parts; what none names is closed there."""
        return self._joined(schema, None) if isinstance(schema, Mapping) else schema

    def _closed(self, schema: Any, around: dict[str, None]) -> Any:
        """Return a schema without free properties; `around` are names given outside of it."""
        if not isinstance(schema, Mapping):
            return schema
        names, own = self.names(schema), self.names.own(schema)
        is_object = names.kinds is None or "object" in names.kinds
        if not is_object or describes_others(schema) or {"const", "enum"} & schema.keys():
            return self._joined(schema, None, counts=not _APPLIED & schema.keys())
        unions = [key for key in UNIONS if key in schema]
        if unions and own.patterns:
            return self._joined(schema, None)
        if any(parts_that_all_hold(schema)) or len(unions) > 1:
            parts = [self._joined(schema, None)]
            if not names.is_free and (names.is_stated or (around and names.kinds)):
                parts.append(_closing(names, around))
            return _all_of(parts)
        if unions:
            return self._joined(schema, {**around, **own.known})
        if not (own.is_stated or (around and own.kinds)):
            return self._joined(schema, None, counts=True)
        if schema.get("minProperties", 0) > len({**own.known, **around}):
            return self._joined(schema, None, counts=True)
        kinds = {} if own.kinds else {"type": "object"}
        missing = {name: _conditional(schema, name) for name in (*own.known, *around)}
        properties = {**missing, **schema.get("properties", {})}
        ordered = {name: properties[name] for name in (*schema.get("properties", {}), *missing)}
        closed = {**kinds, **schema, "properties": ordered, "additionalProperties": False}
        return self._joined(closed, None, counts=True)

    def _joined(
        self, schema: Mapping[str, Any], around: dict[str, None] | None, *, counts: bool = False
    ) -> Any:
        """Return all that a schema says, in its order, for the order of properties is that.

        Its branches are closed, with the names around them, unless these are None.
        """
        plain = _plain(schema)
        place = "properties" if "properties" in plain else next(iter(plain), None)
        pieces: list[Any] = []
        for key, kept in schema.items():
            if key == place:
                pieces += self._own(plain, counts=counts)
            elif key in REFERENCES and isinstance(kept, str):
                pieces.append(self._referred(schema, kept, closes=False, step=key))
            elif key == "allOf":
                pieces += [self._part(one, None, f"{key}/{at}") for at, one in enumerate(kept)]
            elif key in UNIONS:
                branches = [self._part(one, around, f"{key}/{at}") for at, one in enumerate(kept)]
                self._check_few(sum(map(_is_nested, branches)), "alternatives")
                pieces.append({"anyOf": branches})
        return _all_of(pieces)

    def _part(self, schema: Any, around: dict[str, None] | None, step: str) -> Any:
        if around is not None and not around:
            return self.used(schema, step)
        with self._inside(step):
            return self._open(schema) if around is None else self._closed(schema, around)

    def _own(self, plain: Mapping[str, Any], *, counts: bool) -> list[Any]:
        """Return what a schema says itself, as one piece and further ones for its patterns."""
        optional = plain.get("properties", {}).keys() - set(plain.get("required", ()))
        self._check_few(len(optional), "optional properties")
        piece = held_plain(plain, self._path)
        piece |= held_properties(plain, self, counts=counts)
        piece |= self._items(plain)
        return [piece, *held_text(plain)] if piece else held_text(plain)

    def _check_few(self, count: int, what: str) -> None:
        if count > _MOST_CHOICES:
            raise RequestError(
                f"the schema has {count:,} {what} at {place_of(self._path)}, and at most "
                f"{_MOST_CHOICES} can be held: ask for a list of names and values instead"
            )

    def _items(self, plain: Mapping[str, Any]) -> Piece:
        first, rest = plain.get("prefixItems"), plain.get("items")
        if isinstance(rest, list):
            first, rest = rest, plain.get("additionalItems")
        if rest is None and "unevaluatedItems" in plain:
            rest = plain["unevaluatedItems"]
        found: Piece = {}
        if first:
            found["prefixItems"] = [
                self.used(one, f"prefixItems/{at}") for at, one in enumerate(first)
            ]
        if rest is not None:
            found["items"] = self.used(rest, "items")
        elif first and plain.get("minItems", 0) <= len(first):
            found["items"] = False
        counted = self.followed(rest)
        if plain.get("uniqueItems") and isinstance(counted, Mapping) and "enum" in counted:
            most = len(first or ()) + len(counted["enum"])
            found["maxItems"] = min(plain.get("maxItems", most), most)
        return found


def _is_nested(written: Any) -> bool:
    """Return whether a value of a written schema may be an object or a list."""
    kinds = written.get("type", "object") if isinstance(written, Mapping) else ()
    return (
        isinstance(written, Mapping)
        and not {"const", "enum"} & written.keys()
        and ("object" in kinds or "array" in kinds)
    )


def _resolvers(resource: Any, resolver: Any) -> Iterator[tuple[int, Any]]:
    """Yield each part of a schema, by identity, with what resolves its references."""
    yield id(resource.contents), resolver
    for part in resource.subresources():
        yield from _resolvers(part, resolver.in_subresource(part))


def _conditional(schema: Mapping[str, Any], name: str) -> Any:
    """Return what the conditions of a schema say of a property that it has nowhere else."""
    parts = [schema[key] for key in CONDITIONS if isinstance(schema.get(key), Mapping)]
    found = [part["properties"][name] for part in parts if name in part.get("properties", ())]
    return {"anyOf": found} if found else True


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of a schema that say something, and apply no other schema to it."""
    return {key: kept for key, kept in schema.items() if key in KEYWORDS}


def _closing(names: Names, around: Mapping[str, None]) -> Piece:
    kinds = sorted(names.kinds or {"object"})
    closed: Piece = {"type": kinds[0] if len(kinds) == 1 else kinds}
    closed["properties"] = dict.fromkeys((*names.known, *around), True)
    if names.patterns:
        closed["patternProperties"] = dict.fromkeys(names.patterns, True)
    return {**closed, "additionalProperties": False}


def _all_of(pieces: Sequence[Any]) -> Any:
    said: list[Any] = []
    for piece in pieces:
        if isinstance(piece, dict) and piece.keys() == {"allOf"}:
            said += piece["allOf"]
        elif piece is not True and piece != {}:
            said.append(piece)
    return {"allOf": said} if len(said) > 1 else next(iter(said), True)
