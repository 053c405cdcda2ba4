"""Questions over retrieved facts: the needed facts are mixed with facts about others.

A `Dossier` keeps facts, question and reply separate, so that it fits any prompt wording.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from splitreason_integrations.problems.arithmetic import (
    EASY_SHARE,
    LIMIT,
    Step,
    draw_addend,
    draw_factors,
    draw_subtrahend,
)
from splitreason_integrations.problems.records import Message, Problem, Turn
from splitreason_integrations.problems.words import (
    CONTAINERS,
    NAMES,
    OBJECTS,
    PLACES,
    SYSTEM_PROMPTS,
    TEAMS,
)

LOOK = "I look for the facts that I need."
WORDINGS = (
    "Facts:\n{context}\n\nQuestion: {question}",
    "{context}\n\nUse the facts above. {question}",
    "Here is what was found:\n{context}\n\nPlease answer: {question}",
    "Question: {question}\n\nDocuments:\n{context}",
    "Answer with this context only.\n\n<context>\n{context}\n</context>\n\nQuestion: {question}",
    "Context: {context}\n\nQuestion: {question}\nAnswer:",
    "Read these notes first.\n\n{context}\n\n{question}",
)


@dataclass(frozen=True)
class Dossier:
    """Facts, a question about some of them, and the reasoned reply.

    Attributes:
        facts: Shuffled facts, distractors included.
        subject: What the question is about.
        question: The question.
        turn: The correct reply.
        answer: The answer.

    """

    facts: tuple[str, ...]
    subject: str
    question: str
    turn: Turn
    answer: int


def context_problem(rng: random.Random) -> Problem:
    """Draw a look-up problem in one of our own prompt wordings."""
    dossier = draw_dossier(rng)
    context = rng.choice(("\n", "\n\n", "\n- ")).join(dossier.facts)
    wording = rng.choice(WORDINGS)
    messages: list[Message] = []
    if rng.random() < 0.15:
        messages.append({"role": "system", "content": f"{rng.choice(SYSTEM_PROMPTS)}\n\n{context}"})
        messages.append({"role": "user", "content": dossier.question})
    else:
        content = wording.format(context=context, question=dossier.question)
        messages.append({"role": "user", "content": content})
    return Problem("context", tuple(messages), (dossier.turn,), dossier.answer)


def draw_dossier(rng: random.Random, topic: str | None = None) -> Dossier:
    """Draw facts with distractors, a question and its reply, on one of `TOPICS` or a random one."""
    topic = topic or rng.choice(("stock", "stock", "prices", "teams"))
    return TOPICS[topic](rng)


def _shuffled(rng: random.Random, facts: list[str], distractors: list[str]) -> tuple[str, ...]:
    everything = facts + distractors
    rng.shuffle(everything)
    return tuple(everything)


def _stock(rng: random.Random) -> Dossier:
    """Two or three owners store things; the question is about one of them."""
    easy = rng.random() < EASY_SHARE
    owner, *others = rng.sample(NAMES, rng.randint(2, 3))
    place, (one, many), things = rng.choice(PLACES), rng.choice(CONTAINERS), rng.choice(OBJECTS)[1]
    a, b = draw_factors(rng, easy=easy)
    step = Step("*", a, b)
    facts = stock_facts(owner, place, (one, many), things, (a, b))
    reasoning: list[str | Step] = [
        f"{LOOK} {' '.join(facts)} I multiply {a} by {b} to count the {things}. ",
        step,
        f" {things}. ",
    ]
    total, ending = step.result, f"in the {place} of {owner}"
    if rng.random() < 0.75:
        fact, text, change = _change(rng, owner, place, things, total, easy=easy)
        facts.append(fact)
        reasoning += [text, change, f" {things}. "]
        total = change.result
        question = f"How many {things} are {ending} after that change of stock?"
    else:
        question = f"How many {things} are {ending}?"
    distractors: list[str] = []
    for other in others:
        factors = draw_factors(rng)
        wrong = stock_facts(other, place, (one, many), things, factors)
        distractors += rng.sample(wrong, rng.randint(1, 2))
        if rng.random() < 0.4:
            distractors.append(_change(rng, other, place, things, 50, easy=False)[0])
    if rng.random() < 0.3:
        distractors.append(f"The {place} of {owner} opened in {rng.randint(1950, 2020)}.")
    reasoning.append(f"That was the question, so the answer is {total}.")
    turn = Turn(tuple(reasoning), f"There are {total} {things} {ending}.")
    subject = f"the {place} of {owner}"
    return Dossier(_shuffled(rng, facts, distractors), subject, question, turn, total)


def stock_facts(
    owner: str, place: str, container: tuple[str, str], things: str, factors: tuple[int, int]
) -> list[str]:
    """State how many containers an owner has, and how much each holds."""
    one, many = container
    return [
        f"The {place} of {owner} has {factors[0]} {many}.",
        f"Each {one} in the {place} of {owner} holds {factors[1]} {things}.",
    ]


def _change(
    rng: random.Random, owner: str, place: str, things: str, total: int, *, easy: bool
) -> tuple[str, str, Step]:
    """Return a delivery or a sale: its fact, its reasoning and its step."""
    if total < 3 or (rng.random() < 0.5 and total <= LIMIT - 99):
        c = draw_addend(rng, total, easy=easy)
        fact = f"Later the {place} of {owner} receives {c} more {things}."
        return fact, f"{fact} I add {c} to the {total} from before. ", Step("+", total, c)
    c = draw_subtrahend(rng, total, easy=easy)
    fact = f"Later the {place} of {owner} sells {c} {things}."
    return fact, f"{fact} I take {c} away from the {total} from before. ", Step("-", total, c)


def _price_list(rng: random.Random) -> Dossier:
    """Things have prices; the question is the cost of one or two purchases."""
    easy = rng.random() < EASY_SHARE
    items = rng.sample(OBJECTS, rng.randint(3, 5))
    bought = items[: rng.randint(1, 2)]
    facts, wanted = list[str](), list[str]()
    reasoning, costs = list[str | Step](), list[int]()
    for one, many in bought:
        count, price = draw_factors(rng, easy=easy)
        if sum(costs) + count * price > LIMIT:
            count, price = draw_factors(rng, easy=True)
        facts.append(price_fact(one, price))
        wanted.append(f"{count} {many}")
        reasoning += [
            f"{facts[-1]} For {count} {many} I multiply {count} by {price} to get the cost. ",
            Step("*", count, price),
            " dollars. ",
        ]
        costs.append(count * price)
    reasoning.insert(0, f"{LOOK} The question is about {' and '.join(wanted)}. ")
    if len(costs) == 2:
        text = f"Both costs together are {costs[0]} dollars plus {costs[1]} dollars. "
        reasoning += [text, Step("+", costs[0], costs[1]), " dollars. "]
    distractors = [price_fact(one, rng.randint(2, 99)) for one, _ in items[len(bought) :]]
    reasoning.append(f"That was the question, so the answer is {sum(costs)}.")
    sentence = f"The cost of {' and '.join(wanted)} is {sum(costs)} dollars."
    question = f"What is the cost of {' and '.join(wanted)}?"
    turn = Turn(tuple(reasoning), sentence)
    subject = f"the price of {' and '.join(many for _, many in bought)}"
    return Dossier(_shuffled(rng, facts, distractors), subject, question, turn, sum(costs))


def price_fact(thing: str, price: int) -> str:
    """State the price of a thing."""
    return f"The price of one {thing} is {price} dollars."


def _teams(rng: random.Random) -> Dossier:
    """Teams make things for some days; the question is the output of one team."""
    easy = rng.random() < EASY_SHARE
    team, *others = rng.sample(TEAMS, rng.randint(2, 4))
    things = rng.choice(OBJECTS)[1]
    people, output = draw_factors(rng, easy=easy)
    step = Step("*", people, output)
    facts = team_facts(team, things, people, output)
    reasoning: list[str | Step] = [
        f"{LOOK} {' '.join(facts)} "
        f"I multiply {people} by {output} to get the {things} of one day. ",
        step,
        f" {things} a day. ",
    ]
    total, span = step.result, "in one day"
    if total <= (9 if easy else 999) and rng.random() < 0.7:
        days = rng.randint(2, 9)
        last = Step("*", total, days)
        reasoning += [
            f"The question is about {days} days, so I multiply {total} by {days}. ",
            last,
            f" {things}. ",
        ]
        total, span = last.result, f"in {days} days"
    distractors = [
        fact
        for other in others
        for fact in rng.sample(team_facts(other, things, *draw_factors(rng)), rng.randint(1, 2))
    ]
    reasoning.append(f"That was the question, so the answer is {total}.")
    question = f"How many {things} does the {team} team make {span}?"
    sentence = f"{span.capitalize()} the {team} team makes {total} {things}."
    turn = Turn(tuple(reasoning), sentence)
    subject = f"the {team} team"
    return Dossier(_shuffled(rng, facts, distractors), subject, question, turn, total)


def team_facts(team: str, things: str, people: int, output: int) -> list[str]:
    """State how many people a team has, and how much each makes."""
    return [
        f"The {team} team has {people} people.",
        f"Every person of the {team} team makes {output} {things} a day.",
    ]


TOPICS = {"stock": _stock, "prices": _price_list, "teams": _teams}
