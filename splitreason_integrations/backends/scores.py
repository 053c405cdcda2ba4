"""What a model elsewhere says of the next token: probabilities of some tokens at one place."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from splitreason_integrations.backends.base import TokenFacts, Wanted, Watch

LIKELIEST = 20
"""How many of the likeliest tokens are asked for where an entropy is wanted; vLLM's own limit."""

MOST_TOKENS = 128
"""How many chosen tokens vLLM scores at a place."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which probabilities are asked for at each place.

    Attributes:
        tokens: of these tokens; ignored with `spread`.
        spread: of the likeliest tokens instead, so that the entropy can be bounded.

    """

    tokens: tuple[int, ...] = ()
    spread: bool = False

    def __bool__(self) -> bool:
        return bool(self.tokens) or self.spread


@dataclass(frozen=True, slots=True)
class Scores:
    """What is known of the next token at one place.

    Attributes:
        probabilities: by token; a token that is not listed counts as 0.
        likeliest: the likeliest token; None if it is not among those that are known here.
        others: probabilities of tokens whose ids are not known here.

    """

    probabilities: Mapping[int, float]
    likeliest: int | None = None
    others: tuple[float, ...] = ()

    def of(self, token: int | None) -> float:
        """Return the probability of a token, 0 for None."""
        return 0.0 if token is None else self.probabilities.get(token, 0.0)

    @property
    def entropy(self) -> float:
        """The entropy in nats, at least: whatever is not listed counts as one token.

        Of V tokens n are listed, and all others together have the probability r: the true entropy
        is higher by r * ln(V - n) at most.
        """
        return least_entropy([*self.probabilities.values(), *self.others])

    def without(self, forbidden: Sequence[int]) -> "Scores":
        """Return the scores among the tokens that are not forbidden."""
        lost = sum(self.of(token) for token in forbidden)
        if not lost:
            return self
        rest = max(1.0 - lost, 1e-9)
        kept = {t: p / rest for t, p in self.probabilities.items() if t not in forbidden}
        return Scores(kept, self.likeliest, tuple(p / rest for p in self.others))

    def in_place_of(self, whole: "Scores", forbidden: Sequence[int]) -> "Scores":
        """Return these scores, which are among the tokens not forbidden, as some among all.

        What is forbidden is as probable as in `whole`.
        """
        lost = {token: whole.of(token) for token in forbidden if whole.of(token)}
        rest = max(1.0 - sum(lost.values()), 1e-9)
        kept = {t: p * rest for t, p in self.probabilities.items() if t not in lost}
        return Scores(lost | kept, self.likeliest)


def least_entropy(probabilities: Sequence[float]) -> float:
    """Return the least entropy in nats that these probabilities allow."""
    rest = max(0.0, 1.0 - sum(probabilities))
    return sum(-one * math.log(one) for one in (*probabilities, rest) if one > 0)


def asked_by(watch: Watch | None) -> Asked:
    """Return what a watch needs at every token that is written."""
    if watch is None:
        return Asked()
    spread = watch.wants_entropy or watch.wants_confidence
    return Asked(() if watch.probability_of is None else (watch.probability_of,), spread)


def places_of(wanted: Wanted, lengths: range) -> list[int]:
    """Return behind how many tokens each something has to be asked.

    `lengths` says behind which tokens facts are wanted: of token n, 1-based, at n and before it.
    """
    places = set[int]()
    if wanted.probability_of is not None or wanted.entropy:
        places |= set(lengths)
    if wanted.own:
        places |= {length - 1 for length in lengths if length > 1}
    return sorted(places)


def asked_for(wanted: Wanted, tokens: Sequence[int]) -> Asked:
    """Return what is asked for to know the wanted facts of some tokens."""
    named = dict.fromkeys((*tokens, *wanted.forbidden) if wanted.own else ())
    if wanted.probability_of is not None:
        named[wanted.probability_of] = None
    return Asked(tuple(named), wanted.entropy)


def facts_at(
    wanted: Wanted, lengths: range, token_ids: Sequence[int], scores: Mapping[int, Scores]
) -> list[TokenFacts]:
    """Return the facts of the tokens that end at these lengths, given scores by place."""
    facts = []
    for length in lengths:
        behind, before = scores.get(length), scores.get(length - 1)
        token = token_ids[length - 1]
        next_probability = behind.of(wanted.probability_of) if behind else 0.0
        next_entropy = 0.0
        if behind and wanted.entropy:
            next_entropy = behind.without(wanted.forbidden).entropy
        own, likeliest = 1.0, True
        if wanted.own and before:
            own, likeliest = before.without(wanted.forbidden).of(token), before.likeliest == token
        facts.append(TokenFacts(next_probability, next_entropy, own, likeliest))
    return facts
