"""The rules: what each of them finds in a text, and the words by which they are named."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from splitreason_integrations.checks import check_extra, check_names
from splitreason_integrations.errors import SettingError
from splitreason_integrations.privacy import presidio
from splitreason_integrations.privacy.addresses import begun_email, emails, passwords_in_addresses
from splitreason_integrations.privacy.cards import begun_card, cards
from splitreason_integrations.privacy.named import named
from splitreason_integrations.privacy.pem import private_keys
from splitreason_integrations.privacy.tokens import begun_token, tokens

Finder: TypeAlias = Callable[[str], Iterable[str]]
"""Returns the parts of a text to hide."""

Places: TypeAlias = Iterable[tuple[int, int]]
"""Where each of them begins and ends."""


@dataclass(frozen=True, slots=True)
class NamedRule:
    """A rule that has a name.

    Attributes:
        kind: what its placeholders are called.
        find: returns where a text has something to hide.
        find_begun: returns what has begun at the end of a text that may go on.
        joins: whether it knows what is split over messages, by its form alone.
        in_words: whether what it finds is hidden elsewhere as whole words only.
        judges_names: whether it judges the values of mappings by their names.

    """

    kind: str
    find: Callable[[str], Places]
    find_begun: Callable[[str], Places] | None = None
    joins: bool = False
    in_words: bool = False
    judges_names: bool = False


def _keys(text: str) -> Iterator[tuple[int, int]]:
    yield from private_keys(text)
    yield from tokens(text)
    yield from passwords_in_addresses(text)
    yield from named(text)


def _begun_keys(text: str) -> Iterator[tuple[int, int]]:
    yield from _to_the_end(begun_token)(text)
    yield from passwords_in_addresses(text, is_cut=True)
    yield from named(text, is_cut=True)


def _to_the_end(begun: Callable[[str], int | None]) -> Callable[[str], Places]:
    def find(text: str) -> Places:
        start = begun(text)
        return [] if start is None else [(start, len(text))]

    return find


_SINGLE_DIGITS = re.compile(r"(?:[0-9][ .-]){30,}")


def _phones(region: str | None) -> Callable[[str], Places]:
    def find(text: str) -> Iterator[tuple[int, int]]:
        from phonenumbers import PhoneNumberMatcher

        # No number; the search takes long for them.
        searched = _SINGLE_DIGITS.sub(lambda found: "#" * len(found[0]), text)
        for found in PhoneNumberMatcher(searched, region or "US", max_tries=len(text)):
            # Bare digits may count anything: only who names a region has them taken for a number.
            if region or not found.raw_string.isdigit():
                yield found.start, found.end

    return find


KINDS: Mapping[str, NamedRule] = {
    "email": NamedRule("email", emails, _to_the_end(begun_email)),
    "phone": NamedRule("phone", _phones(None)),
    "card": NamedRule("card", cards, _to_the_end(begun_card), joins=True),
    "key": NamedRule("key", _keys, _begun_keys, joins=True, judges_names=True),
}
"""Rules by name."""


def check_kind(name: str) -> None:
    """Raise SettingError unless `name` is a rule."""
    kind, _, region = name.partition(":")
    if kind == "presidio":
        presidio.check_entity(name)
        return
    known = [*KINDS, "presidio"]
    check_names([name if kind != "phone" else kind], known, what="kind of text to redact")
    if region:
        check_extra("redact", "phonenumbers", what=f"redact={name!r}")
        from phonenumbers import SUPPORTED_REGIONS

        if region not in SUPPORTED_REGIONS:
            raise SettingError(
                f"unknown region {region!r}: give two capital letters, as in 'phone:DE'", (name,)
            )


def named_rule(name: str) -> NamedRule:
    """Return the rule of a name that `check_kind` takes.

    Raises:
        MissingExtraError: for `phone` and `presidio` rules where their package is not installed.
        ConfigurationError: for `presidio` rules without a language model.

    """
    kind, _, region = name.partition(":")
    if kind == "presidio":
        return NamedRule(region.lower(), presidio.finder(name), in_words=True)
    if kind == "phone":
        check_extra("redact", "phonenumbers", what=f"redact={name!r}")
    return NamedRule("phone", _phones(region)) if region else KINDS[kind]
