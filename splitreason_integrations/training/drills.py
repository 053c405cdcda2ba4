"""Pages that drill one skill: looking up facts, calling tools, plain calculations.

Only tokens that can be derived from the text before them have a loss weight.
"""

from __future__ import annotations

import json
import random
import re

from splitreason_integrations.problems import Step
from splitreason_integrations.problems.arithmetic import (
    LIMIT,
    draw_addend,
    draw_factors,
    draw_subtrahend,
    shows_held_out_pair,
)
from splitreason_integrations.problems.contexts import price_fact, stock_facts, team_facts
from splitreason_integrations.problems.toolboxes import Tool, extra_tool
from splitreason_integrations.problems.words import CONTAINERS, NAMES, OBJECTS, PLACES, TEAMS
from splitreason_integrations.training.architecture import Role
from splitreason_integrations.training.documents import Document, Encoder

PAGE_WEIGHTS: dict[Role, tuple[float, float, float]] = {
    "small": (0.25, 0.5, 0.25),
    "large": (0.8, 0.12, 0.08),
}
PAGE_TOKENS = 160
NUMBER = re.compile(r"(\d+)")


def drill_page(encoder: Encoder, rng: random.Random, *, role: Role) -> Document:
    """Return a page of calculations, facts or tool calls."""
    kind = rng.choices(("calculations", "facts", "calls"), PAGE_WEIGHTS[role])[0]
    if kind == "facts":
        return fact_page(encoder, rng)
    return call_page(encoder, rng) if kind == "calls" else calculation_page(encoder, rng, role=role)


def fact_page(encoder: Encoder, rng: random.Random) -> Document:
    """Return facts, then the same facts in another order; only numbers have weight."""
    facts = _draw_facts(rng)
    page = _opened(encoder, "\n".join(facts))
    rng.shuffle(facts)
    for piece in NUMBER.split(" ".join(facts)):
        _add(encoder, page, piece, weight=float(piece.isdigit()))
    return page


def _draw_facts(rng: random.Random) -> list[str]:
    kind = rng.choice(("stock", "prices", "teams"))
    if kind == "prices":
        items = rng.sample(OBJECTS, rng.randint(4, 9))
        facts = [price_fact(one, _number(rng)) for one, _ in items]
    elif kind == "teams":
        things, teams = rng.choice(OBJECTS)[1], rng.sample(TEAMS, rng.randint(2, 4))
        facts = [f for team in teams for f in team_facts(team, things, _number(rng), _number(rng))]
    else:
        place, container, things = (
            rng.choice(PLACES),
            rng.choice(CONTAINERS),
            rng.choice(OBJECTS)[1],
        )
        facts = []
        for owner in rng.sample(NAMES, rng.randint(2, 4)):
            numbers = _number(rng), _number(rng)
            facts += stock_facts(owner, place, container, things, numbers)
            verb = rng.choice(("sells {}", "receives {} more")).format(_number(rng))
            facts.append(f"Later the {place} of {owner} {verb} {things}.")
    rng.shuffle(facts)
    return facts


def _number(rng: random.Random) -> int:
    return rng.randint(2, 10 ** rng.choice((1, 2, 2, 2, 3)) - 1)


def call_page(encoder: Encoder, rng: random.Random) -> Document:
    """Return several tools and several requests, each answered by the matching call."""
    tools = list({t.name: t for t in (extra_tool(rng) for _ in range(rng.randint(2, 4)))}.values())
    wanted = [(tool, _value(rng, tool)) for tool in rng.sample(tools, rng.randint(1, len(tools)))]
    request = " ".join(f"Use {tool.name} with {value}." for tool, value in wanted)
    page = _opened(encoder, request, tools=[tool.schema(rng) for tool in tools])
    for tool, value in wanted:
        call = {"name": tool.name, "arguments": {tool.arguments[0]: value}}
        _add(encoder, page, f'The tool "{tool.name}" can do that. {json.dumps(call)}\n', weight=1.0)
    return page


def _value(rng: random.Random, tool: Tool) -> int | str:
    return rng.randint(1, 999) if tool.kinds[0] == "integer" else rng.choice(NAMES)


def _opened(
    encoder: Encoder, request: str, tools: list[dict[str, object]] | None = None
) -> Document:
    """Return the prompt of a request, up to where the assistant starts."""
    page = Document([], [])
    messages = [{"role": "user", "content": request}]
    text = encoder.tokenizer.apply_chat_template(
        messages, tools=tools, tokenize=False, add_generation_prompt=True
    )
    _add(encoder, page, text, weight=0.0)
    return page


def _add(encoder: Encoder, page: Document, text: str, *, weight: float) -> None:
    ids = encoder.encode(text)
    page.ids.extend(ids)
    page.weights.extend([weight] * len(ids))


def calculation_page(encoder: Encoder, rng: random.Random, *, role: Role) -> Document:
    """Return plain calculations; only results have weight."""
    page = Document([], [])
    while len(page.ids) < PAGE_TOKENS:
        step = draw_drill(rng)
        _add(encoder, page, step.question, weight=0.0)
        result = step.expansion if role == "large" else str(step.result)
        _add(encoder, page, result, weight=1.0)
        _add(encoder, page, "\n", weight=0.0)
    return page


def draw_drill(rng: random.Random) -> Step:
    """Draw a calculation of a kind that occurs in traces, including in their expansions."""
    while True:
        step = _draw_any(rng)
        if step.result <= LIMIT and not shows_held_out_pair(step):
            return step


def _draw_any(rng: random.Random) -> Step:
    kind = rng.choices(("factors", "tens", "partial", "sum", "difference"), (22, 3, 25, 25, 25))[0]
    if kind == "factors":
        return Step("*", *draw_factors(rng))
    if kind == "tens":
        return Step("*", rng.randint(2, 99), rng.randint(1, 9) * 10)
    if kind == "partial":
        parts = Step("*", rng.randint(11, 99), rng.randint(11, 99)).parts or (40, 8)
        return Step("+", *parts)
    total = rng.randint(3, 10 ** rng.choice((1, 2, 2, 2, 3, 3, 3, 4, 4, 4)) - 1)
    if kind == "difference":
        return Step("-", total, draw_subtrahend(rng, total))
    few = rng.random() < 0.5
    addend = draw_addend(rng, total) if few else rng.randint(2, 10 ** rng.randint(1, 4) - 1)
    return Step("+", addend, total) if rng.random() < 0.4 else Step("+", total, addend)
