"""Word problems: a short story of changes to a running total.

The reasoning repeats each fact verbatim and then does one step.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from splitreason_integrations.problems.arithmetic import (
    EASY_SHARE,
    LIMIT,
    Step,
    draw_addend,
    draw_factors,
    draw_subtrahend,
)
from splitreason_integrations.problems.records import Problem, Turn
from splitreason_integrations.problems.words import CONTAINERS, NAMES, OBJECTS, Noun

CONNECTIVES = ("Then", "After that")


@dataclass
class Story:
    """A problem under construction.

    Attributes:
        rng: Source of randomness.
        easy: Whether every step must be easy.
        name: The main person.
        friend: The other person.
        thing: What is counted, as (singular, plural).
        total: Running total.
        facts: Sentences of the question.
        reasoning: The reasoning so far.

    """

    rng: random.Random
    easy: bool
    name: str
    friend: str
    thing: Noun
    total: int = 0
    facts: list[str] = field(default_factory=list)
    reasoning: list[str | Step] = field(default_factory=list)

    def tell(self, fact: str) -> str:
        """Add a sentence to the question and return it."""
        self.facts.append(fact)
        return fact

    def think(self, text: str, step: Step, unit: str) -> None:
        """Add one reasoned step; its result becomes the running total."""
        self.reasoning += [f"{text} ", step, f" {unit}. "]
        self.total = step.result


def word_problem(rng: random.Random) -> Problem:
    """Draw a word problem of two to four steps."""
    name, friend = rng.sample(NAMES, 2)
    story = Story(rng, rng.random() < EASY_SHARE, name, friend, rng.choice(OBJECTS))
    story.reasoning.append("Let me go through the facts one by one. ")
    _first_groups(story)
    for connective in CONNECTIVES[: rng.randint(0, 2)]:
        rng.choices((_gain, _loss, _more_groups), (3, 3, 2))[0](story, connective)
    question, sentence = _ending(story)
    story.reasoning.append(f"All the facts are used, so the answer is {story.total}.")
    prompt = " ".join([*story.facts, question])
    turn = Turn(tuple(story.reasoning), sentence.format(total=story.total))
    return Problem("word", ({"role": "user", "content": prompt},), (turn,), story.total)


def _first_groups(story: Story) -> None:
    a, b = draw_factors(story.rng, easy=story.easy)
    one, many = story.rng.choice(CONTAINERS)
    name, things = story.name, story.thing[1]
    fact = story.tell(
        story.rng.choice(
            (
                f"{name} has {a} {many} with {b} {things} in each {one}.",
                f"{name} has {a} {many} with {b} {things} each.",
                f"{name} has {a} {many}. Each {one} holds {b} {things}.",
                f"There are {a} {many} in the house of {name} and each {one} holds {b} {things}.",
                f"{name} buys {a} {many} of {b} {things} each.",
                f"{name} lays out {a} rows of {b} {things}.",
                f"{name} makes {b} {things} a day for {a} days.",
            )
        )
    )
    story.think(
        f"{fact} I multiply {a} by {b} to count all the {things} of {name}.",
        Step("*", a, b),
        things,
    )


def _gain(story: Story, connective: str) -> None:
    if story.total > LIMIT - 99:
        return _loss(story, connective)
    c = draw_addend(story.rng, story.total, easy=story.easy)
    name, things = story.name, story.thing[1]
    fact = story.tell(
        story.rng.choice(
            (
                f"{connective} {name} finds {c} more {things}.",
                f"{connective} {story.friend} gives {name} {c} more {things}.",
                f"{connective} {name} buys {c} {things}.",
            )
        )
    )
    return story.think(
        f"{fact} I add {c} to the {story.total} {things} from before.",
        Step("+", story.total, c),
        things,
    )


def _loss(story: Story, connective: str) -> None:
    if story.total < 3:
        return _gain(story, connective)
    c = draw_subtrahend(story.rng, story.total, easy=story.easy)
    name, things = story.name, story.thing[1]
    fact = story.tell(
        story.rng.choice(
            (
                f"{connective} {name} gives {c} {things} to {story.friend}.",
                f"{connective} {name} sells {c} {things}.",
                f"{connective} {name} loses {c} of the {things}.",
            )
        )
    )
    return story.think(
        f"{fact} I take {c} away from the {story.total} {things} from before.",
        Step("-", story.total, c),
        things,
    )


def _more_groups(story: Story, connective: str) -> None:
    before = story.total
    a, b = draw_factors(story.rng, easy=story.easy)
    if before + a * b > LIMIT:
        return _loss(story, connective)
    many, things = story.rng.choice(CONTAINERS)[1], story.thing[1]
    fact = story.tell(f"{connective} {story.name} gets {a} {many} that hold {b} {things} each.")
    story.think(
        f"{fact} I multiply {a} by {b} to see how many {things} that adds.", Step("*", a, b), things
    )
    return story.think(
        f"I add these {story.total} {things} to the {before} {things} from before.",
        Step("+", before, story.total),
        things,
    )


def _ending(story: Story) -> tuple[str, str]:
    """Ask the question; some endings need one or two more steps."""
    things, kinds = story.thing[1], [_count]
    if story.total >= 12 and story.total * 2 <= LIMIT:
        kinds.append(_together)
    if 2 <= story.total <= (9 if story.easy else 999):
        kinds.append(_money)
    if len(story.reasoning) < 5:
        kinds = kinds[1:] or [_after_one_more]
    return story.rng.choice(kinds)(story, things)


def _after_one_more(story: Story, things: str) -> tuple[str, str]:
    move = _gain if story.total < LIMIT // 2 else _loss
    move(story, CONNECTIVES[0])
    return _count(story, things)


def _count(story: Story, things: str) -> tuple[str, str]:
    question = story.rng.choice(
        (
            f"How many {things} does {story.name} have now?",
            f"How many {things} does {story.name} have now?",
            f"How many {things} does {story.name} have?",
            f"How many {things} does {story.name} have in total?",
            f"How many does {story.name} have now?",
        )
    )
    return question, f"{story.name} has {{total}} {things} now."


def _together(story: Story, things: str) -> tuple[str, str]:
    name, friend, own = story.name, story.friend, story.total
    c = draw_subtrahend(story.rng, own, easy=story.easy)
    fact = story.tell(f"{friend} has {c} {things} less than {name}.")
    story.think(
        f"{fact} I take {c} away from the {own} {things} of {name}.", Step("-", own, c), things
    )
    story.think(
        f"Now I add the {own} {things} of {name} and the {own - c} {things} of {friend}.",
        Step("+", own, own - c),
        things,
    )
    who = story.rng.choice((f"{name} and {friend}", f"{name} and {friend}", "they"))
    return (
        f"How many {things} do {who} have together?",
        f"{name} and {friend} have {{total}} {things} together.",
    )


def _money(story: Story, things: str) -> tuple[str, str]:
    top = 99 if story.total < 100 and story.rng.random() < 0.6 else 9
    price = story.rng.randint(2, 9 if story.easy else top)
    fact = story.tell(f"Each {story.thing[0]} sells for {price} dollars.")
    story.think(
        f"{fact} I multiply {story.total} by {price} to get the money for all the {things}.",
        Step("*", story.total, price),
        "dollars",
    )
    return (
        f"How many dollars does {story.name} get for all the {things}?",
        f"{story.name} gets {{total}} dollars for all the {things}.",
    )
