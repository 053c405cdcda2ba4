"""Calculation steps: results, expansions, operand pools and held-out pairs.

Every number in a step is an integer up to about ten thousand.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Operator = Literal["*", "+", "-"]
LIMIT = 9999
HELD_OUT_ONE_IN = 10
EASY_SHARE = 0.08
"""Fraction of problems in which every step is easy."""


@dataclass(frozen=True)
class Step:
    """One calculation ``a op b`` in a trace.

    Attributes:
        operator: The operator.
        a: Left operand.
        b: Right operand.

    """

    operator: Operator
    a: int
    b: int

    @property
    def result(self) -> int:
        """The exact result."""
        if self.operator == "*":
            return self.a * self.b
        return self.a + self.b if self.operator == "+" else self.a - self.b

    @property
    def question(self) -> str:
        """The text before the result, for example ``47*23 = ``."""
        return f"{self.a}{self.operator}{self.b} = "

    @property
    def parts(self) -> tuple[int, int] | None:
        """The two partial products of a long product, else None."""
        return partial_products(self.a, self.b) if self.operator == "*" else None

    @property
    def expansion(self) -> str:
        """The careful way to write the result, for example ``940+141 = 1081``.

        Sums and differences are expanded digit by digit: ``4871+65 = `` continues with ``4931+5 =
        4936``.
        """
        return "".join(f"{step.question}" for step in self.stages) + str(self.result)

    @property
    def stages(self) -> tuple[Step, ...]:
        """The intermediate sums and differences; empty if the result takes one step."""
        if self.operator == "*":
            return (Step("+", *self.parts),) if self.parts else ()
        total, rest = self.a, self.b
        stages: list[Step] = []
        while part := rest % 10 ** (len(str(rest)) - 1):
            total = Step(self.operator, total, rest - part).result
            rest = part
            stages.append(Step(self.operator, total, rest))
        return tuple(stages)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The step's own unordered operand pair, and the pair of a long product's parts."""
        own = _ordered(self.a, self.b)
        return (own, _ordered(*self.parts)) if self.parts else (own,)

    @property
    def shown_pairs(self) -> tuple[tuple[int, int], ...]:
        """All unordered operand pairs that occur in the step and its expansion."""
        return (_ordered(self.a, self.b), *(_ordered(s.a, s.b) for s in self.stages))

    @property
    def is_easy(self) -> bool:
        """Whether the step is in the times table, or a sum or difference without a carry."""
        if self.operator == "*":
            return self.a < 10 and self.b < 10
        return count_carries(self) == 0 and self.a < 1000


def partial_products(a: int, b: int) -> tuple[int, int] | None:
    """Split ``a*b`` into two products with a single-digit factor each; None if not needed."""
    if a >= 10 and b >= 10:
        tens, units = b // 10 * 10, b % 10
        return (a * tens, a * units) if units else None
    long, short = max(a, b), min(a, b)
    if long >= 100 and long % 100:
        return long // 100 * 100 * short, long % 100 * short
    return None


def count_carries(step: Step) -> int:
    """Count the carries of a sum, or the borrows of a difference."""
    a, b, carry, count = step.a, step.b, 0, 0
    while a or b:
        if step.operator == "+":
            carry = int(a % 10 + b % 10 + carry > 9)
        else:
            carry = int(a % 10 - b % 10 - carry < 0)
        count += carry
        a, b = a // 10, b // 10
    return count


def _ordered(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a <= b else (b, a)


@lru_cache(maxsize=200_000)
def is_held_out(low: int, high: int) -> bool:
    """Return whether an unordered operand pair is excluded from training.

    Pairs of a number below ten and one below a hundred are never excluded: all other results are
    built from these tables.
    """
    low, high = _ordered(low, high)
    if low < 10 and high < 100:
        return False
    digest = hashlib.sha256(f"pair:{low}:{high}".encode()).digest()
    return digest[0] * 256 + digest[1] < 65536 // HELD_OUT_ONE_IN


def has_held_out_pair(step: Step) -> bool:
    """Return whether the step's own pair, or that of its partial products, is held out."""
    return any(is_held_out(low, high) for low, high in step.pairs)


def shows_held_out_pair(step: Step) -> bool:
    """Return whether a held-out pair occurs anywhere in the step or its expansion."""
    return any(is_held_out(low, high) for low, high in step.shown_pairs)


Digits = Literal["1x1", "2x1", "2x2", "3x1"]
PRODUCT_WEIGHTS: dict[Digits, float] = {"1x1": 0.16, "2x1": 0.26, "2x2": 0.38, "3x1": 0.20}


def draw_factors(rng: random.Random, *, easy: bool = False) -> tuple[int, int]:
    """Draw the two factors of a product in random order, with graded difficulty."""
    kind = "1x1" if easy else rng.choices(list(PRODUCT_WEIGHTS), list(PRODUCT_WEIGHTS.values()))[0]
    left = {"1": (2, 9), "2": (11, 99), "3": (101, 999)}[kind[0]]
    right = (2, 9) if kind[2] == "1" else (11, 99)
    a, b = rng.randint(*left), rng.randint(*right)
    return (a, b) if rng.random() < 0.5 else (b, a)


def draw_addend(rng: random.Random, total: int, *, easy: bool = False) -> int:
    """Draw a number to add to `total`; `easy` ones cause no carry."""
    if easy:
        return _digitwise(rng, [9 - int(d) for d in f"{total:02d}"])
    return max(2, rng.randint(2, max(9, min(10 ** rng.randint(1, 3), LIMIT - total))))


def draw_subtrahend(rng: random.Random, total: int, *, easy: bool = False) -> int:
    """Draw a number below `total` to subtract; `easy` ones cause no borrow."""
    if easy:
        return min(_digitwise(rng, [int(d) for d in str(total)]), total - 1)
    return rng.randint(1, max(1, min(10 ** rng.randint(1, 3), total - 1)))


def _digitwise(rng: random.Random, ceilings: list[int]) -> int:
    return max(1, int("".join(str(rng.randint(0, ceiling)) for ceiling in ceilings[-2:])))
