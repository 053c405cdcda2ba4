"""Word problems: a chain of moves on a running total, told as a short story.

The reasoning restates each fact in a full sentence and then carries out one step.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from splitreason_integrations.problems.arithmetic import (
    LIMIT,
    Step,
    draw_addend,
    draw_factors,
    draw_subtrahend,
)
from splitreason_integrations.problems.records import Problem, Turn
from splitreason_integrations.problems.words import CONTAINERS, NAMES, OBJECTS, Noun

EASY_SHARE = 0.12


@dataclass
class Story:
    """A problem under construction."""

    rng: random.Random
    easy: bool
    name: str
    friend: str
    thing: Noun
    total: int = 0
    facts: list[str] = field(default_factory=list)
    reasoning: list[str | Step] = field(default_factory=list)

    def tell(self, fact: str) -> None:
        """Add a sentence to the question."""
        self.facts.append(fact)

    def think(self, text: str, step: Step, unit: str) -> None:
        """Add one reasoned step; its result becomes the running total."""
        self.reasoning += [text, step, f" {unit}. "]
        self.total = step.result


def word_problem(rng: random.Random) -> Problem:
    """Draw a word problem of two to four steps."""
    name, friend = rng.sample(NAMES, 2)
    story = Story(rng, rng.random() < EASY_SHARE, name, friend, rng.choice(OBJECTS))
    story.reasoning.append("Let me go through the facts one by one. ")
    rng.choice((_groups, _rows, _daily))(story)
    for move in rng.choices((_gain, _loss, _second_groups), (3, 3, 2), k=rng.randint(0, 2)):
        move(story)
    question, sentence = _ending(story)
    story.reasoning.append(f"All the facts are used, so the answer is {story.total}.")
    prompt = " ".join([*story.facts, question])
    turn = Turn(tuple(story.reasoning), sentence.format(total=story.total))
    return Problem("word", ({"role": "user", "content": prompt},), (turn,), story.total)


def _groups(story: Story) -> None:
    a, b = draw_factors(story.rng, easy=story.easy)
    one, many = story.rng.choice(CONTAINERS)
    things = story.thing[1]
    fact = story.rng.choice(
        (
            f"{story.name} has {a} {many} with {b} {things} in each {one}.",
            f"There are {a} {many} in the house of {story.name}. Each {one} holds {b} {things}.",
            f"{story.name} buys {a} {many} of {b} {things} each.",
        )
    )
    story.tell(fact)
    text = (
        f"{story.name} has {a} {many} and each {one} has {b} {things} in it, "
        f"so I multiply {a} by {b} to count the {things} of {story.name}. "
    )
    story.think(text, Step("*", a, b), things)


def _rows(story: Story) -> None:
    a, b = draw_factors(story.rng, easy=story.easy)
    things = story.thing[1]
    story.tell(f"{story.name} lays out {a} rows of {b} {things}.")
    text = (
        f"{story.name} lays out {a} rows and there are {b} {things} in every row, "
        f"so I multiply {a} by {b} to know how many {things} there are. "
    )
    story.think(text, Step("*", a, b), things)


def _daily(story: Story) -> None:
    a, b = draw_factors(story.rng, easy=story.easy)
    things = story.thing[1]
    story.tell(f"{story.name} makes {b} {things} a day for {a} days.")
    text = (
        f"{story.name} makes {b} {things} on each of the {a} days, "
        f"so I multiply {a} by {b} to find all the {things} that {story.name} makes. "
    )
    story.think(text, Step("*", a, b), things)


def _gain(story: Story) -> None:
    if story.total > LIMIT - 99:
        return _loss(story)
    c = draw_addend(story.rng, story.total, easy=story.easy)
    things = story.thing[1]
    fact = story.rng.choice(
        (
            f"Then {story.name} finds {c} more {things}.",
            f"{story.friend} gives {story.name} {c} more {things}.",
            f"Later {story.name} buys {c} {things}.",
        )
    )
    story.tell(fact)
    text = (
        f"After that {story.name} gets {c} more {things}, "
        f"so I add {c} to the {story.total} {things} from before. "
    )
    return story.think(text, Step("+", story.total, c), things)


def _loss(story: Story) -> None:
    if story.total < 3:
        return _gain(story)
    c = draw_subtrahend(story.rng, story.total, easy=story.easy)
    things = story.thing[1]
    fact = story.rng.choice(
        (
            f"{story.name} gives {c} {things} to {story.friend}.",
            f"Then {story.name} sells {c} {things}.",
            f"After a while {story.name} loses {c} of the {things}.",
        )
    )
    story.tell(fact)
    text = (
        f"After that {story.name} has {c} {things} less, "
        f"so I take {c} away from the {story.total} {things} from before. "
    )
    return story.think(text, Step("-", story.total, c), things)


def _second_groups(story: Story) -> None:
    before = story.total
    a, b = draw_factors(story.rng, easy=story.easy)
    if before + a * b > LIMIT:
        return _loss(story)
    one, many = story.rng.choice(CONTAINERS)
    things = story.thing[1]
    story.tell(f"There are also {a} {many} that hold {b} {things} each.")
    text = (
        f"There are also {a} {many} and every {one} holds {b} {things}, "
        f"so I multiply {a} by {b} to see how many {things} that adds. "
    )
    story.think(text, Step("*", a, b), things)
    text = f"I add these {story.total} {things} to the {before} {things} from before. "
    return story.think(text, Step("+", before, story.total), things)


def _ending(story: Story) -> tuple[str, str]:
    """Ask the question; some endings need one or two more steps."""
    things, kinds = story.thing[1], [_count]
    if story.total >= 12 and story.total * 2 <= LIMIT:
        kinds.append(_together)
    if 2 <= story.total <= (9 if story.easy else 999):
        kinds.append(_money)
    if len(story.reasoning) < 5:
        kinds = kinds[1:] or [_more]
    return story.rng.choice(kinds)(story, things)


def _more(story: Story, things: str) -> tuple[str, str]:
    _gain(story) if story.total < LIMIT // 2 else _loss(story)
    return _count(story, things)


def _count(story: Story, things: str) -> tuple[str, str]:
    return (
        f"How many {things} does {story.name} have now?",
        f"{story.name} has {{total}} {things} now.",
    )


def _together(story: Story, things: str) -> tuple[str, str]:
    own = story.total
    c = draw_subtrahend(story.rng, own, easy=story.easy)
    story.tell(f"{story.friend} has {c} {things} less than {story.name}.")
    text = (
        f"{story.friend} has {c} {things} less than {story.name}, "
        f"so I take {c} away from {own} to know the {things} of {story.friend}. "
    )
    story.think(text, Step("-", own, c), things)
    text = f"Now I add the {own} {things} of {story.name} and the {own - c} of {story.friend}. "
    story.think(text, Step("+", own, own - c), things)
    return (
        f"How many {things} do {story.name} and {story.friend} have together?",
        f"{story.name} and {story.friend} have {{total}} {things} together.",
    )


def _money(story: Story, things: str) -> tuple[str, str]:
    top = 99 if story.total < 100 and story.rng.random() < 0.6 else 9
    price = story.rng.randint(2, 9 if story.easy else top)
    story.tell(f"Each {story.thing[0]} sells for {price} dollars.")
    text = (
        f"Each {story.thing[0]} brings {price} dollars and there are {story.total} {things}, "
        f"so I multiply {story.total} by {price} to get the money. "
    )
    story.think(text, Step("*", story.total, price), "dollars")
    return (
        f"How many dollars does {story.name} get for all the {things}?",
        f"{story.name} gets {{total}} dollars for all the {things}.",
    )
