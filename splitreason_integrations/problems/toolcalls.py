"""Problems with tools: call the right one with the right arguments, then answer."""

from __future__ import annotations

import json
import random
from typing import Any

from splitreason_integrations.problems.arithmetic import (
    LIMIT,
    Operator,
    Step,
    draw_addend,
    draw_factors,
    draw_subtrahend,
)
from splitreason_integrations.problems.records import Message, Problem, ToolCall, Turn
from splitreason_integrations.problems.toolboxes import (
    Tool,
    calculator_tool,
    extra_tool,
    lookup_tool,
    operation_tool,
)
from splitreason_integrations.problems.words import CONTAINERS, NAMES, OBJECTS, SYSTEM_PROMPTS

FACTS = ("price", "weight", "stock", "size", "number")
SPOKEN = {"*": ("times", "multiplied by"), "+": ("plus",), "-": ("minus",)}
DOING = {
    "*": "I need to multiply {a} by {b}.",
    "+": "I need to add {b} to {a}.",
    "-": "I need to take {b} away from {a}.",
}


def tool_problem(rng: random.Random) -> Problem:
    """Draw a problem that is solved with one or two tool calls."""
    prompt, tools, turns, answer = draw_draft(rng)
    rng.shuffle(tools)
    messages: list[Message] = [{"role": "user", "content": prompt}]
    if rng.random() < 0.4:
        messages.insert(0, {"role": "system", "content": rng.choice(SYSTEM_PROMPTS)})
    schemas = tuple(tool.schema(rng) for tool in tools)
    return Problem("tools", tuple(messages), tuple(turns), answer, schemas)


def spare_tools(rng: random.Random, count: int) -> list[Tool]:
    """Draw different tools that the problem does not need."""
    drawn = [
        extra_tool(rng) if rng.random() < 0.6 else lookup_tool(rng, "color") for _ in range(count)
    ]
    return list({tool.name: tool for tool in drawn}.values())


Draft = tuple[str, list[Tool], list[Turn], int]
"""Question, tools on offer, turns of the reply, answer."""


def draw_draft(rng: random.Random) -> Draft:
    """Draw a problem and its tools, with up to two unneeded ones."""
    kinds = (_calculation, _short_story, _lookup, _lookup_then_call, _lookup_then_think, _unknown)
    prompt, tools, turns, answer = rng.choices(kinds, (4, 2, 3, 3, 3, 2))[0](rng)
    names = {tool.name for tool in tools}
    spare = spare_tools(rng, rng.choice((0, 0, 1, 1, 2)))
    return prompt, [*tools, *(t for t in spare if t.name not in names)], turns, answer


def _draw_step(rng: random.Random) -> Step:
    operator: Operator = rng.choice(("*", "*", "+", "-"))
    if operator == "*":
        return Step("*", *draw_factors(rng))
    total = rng.randint(11, 999)
    draw = draw_addend if operator == "+" else draw_subtrahend
    return Step(operator, total, draw(rng, total))


def _calculator_for(rng: random.Random, step: Step) -> tuple[list[Tool], ToolCall]:
    """Return tools, one of which can do the step, and the call that does it."""
    result = _wrapped(rng, "result", step.result)
    if rng.random() < 0.5:
        tool = calculator_tool(rng)
        arguments: dict[str, Any] = {tool.arguments[0]: step.question.removesuffix(" = ")}
        return [tool], ToolCall(tool.name, arguments, result)
    tool = operation_tool(rng, step.operator)
    others = [operation_tool(rng, op) for op in "*+-" if op != step.operator and rng.random() < 0.4]
    arguments = dict(zip(tool.arguments, (step.a, step.b), strict=True))
    return [tool, *others], ToolCall(tool.name, arguments, result)


def _wrapped(rng: random.Random, key: str, value: int) -> str:
    return str(value) if rng.random() < 0.6 else json.dumps({key: value})


def _call_turn(thought: str, call: ToolCall) -> Turn:
    return Turn((f'{thought} The tool "{call.name}" can do that, so I call it.',), call=call)


def _result_turn(result: int, sentence: str) -> Turn:
    return Turn((f"The tool returned {result}, so I can answer the question now.",), sentence)


def _calculation(rng: random.Random) -> Draft:
    step = _draw_step(rng)
    spoken = rng.choice((step.operator, *(f" {word} " for word in SPOKEN[step.operator])))
    form = f"{step.a}{spoken}{step.b}"
    prompt = rng.choice(
        ("What is {}?", "Calculate {}.", "How much is {}?", "Use the tool: {}", "Please compute {}")
    ).format(form)
    tools, call = _calculator_for(rng, step)
    thought = DOING[step.operator].format(a=step.a, b=step.b)
    turns = [
        _call_turn(thought, call),
        _result_turn(step.result, f"The result is {step.result}."),
    ]
    return prompt, tools, turns, step.result


def _short_story(rng: random.Random) -> Draft:
    a, b = draw_factors(rng)
    step, name, (_, things) = Step("*", a, b), rng.choice(NAMES), rng.choice(OBJECTS)
    one, many = rng.choice(CONTAINERS)
    prompt = (
        f"{name} has {a} {many} with {b} {things} in each {one}. "
        f"How many {things} does {name} have?"
    )
    tools, call = _calculator_for(rng, step)
    thought = DOING["*"].format(a=a, b=b)
    sentence = f"{name} has {step.result} {things}."
    return (
        prompt,
        tools,
        [_call_turn(thought, call), _result_turn(step.result, sentence)],
        step.result,
    )


def _lookup_call(rng: random.Random, fact: str, thing: str, value: int) -> tuple[Tool, Turn]:
    tool = lookup_tool(rng, fact)
    call = ToolCall(tool.name, {tool.arguments[0]: thing}, _wrapped(rng, fact, value))
    return tool, _call_turn(f"I need the {fact} of the {thing}.", call)


def _lookup(rng: random.Random) -> Draft:
    fact, (thing, _), value = rng.choice(FACTS), rng.choice(OBJECTS), rng.randint(2, 999)
    tool, turn = _lookup_call(rng, fact, thing, value)
    prompt = rng.choice(
        ("What is the {} of the {}?", "Tell me the {} of a {}.", "I need the {} of the {}.")
    ).format(fact, thing)
    sentence = f"The {fact} of the {thing} is {value}."
    return prompt, [tool], [turn, _result_turn(value, sentence)], value


def _purchase(rng: random.Random) -> tuple[str, Step, Tool, Turn, str]:
    """Return a question about several things of one price, and the call that finds the price."""
    (one, many), (count, price) = rng.choice(OBJECTS), draw_factors(rng)
    tool, turn = _lookup_call(rng, "price", one, price)
    prompt = rng.choice(
        ("What is the cost of {} {}?", "How much do {} {} cost?", "I want {} {}. What is the cost?")
    ).format(count, many)
    step = Step("*", count, price)
    return prompt, step, tool, turn, f"The cost of {count} {many} is {step.result} dollars."


def _lookup_then_call(rng: random.Random) -> Draft:
    prompt, step, tool, first, sentence = _purchase(rng)
    tools, call = _calculator_for(rng, step)
    thought = f"The tool returned {step.b}. " + DOING["*"].format(a=step.a, b=step.b)
    turns = [first, _call_turn(thought, call), _result_turn(step.result, sentence)]
    return prompt, [tool, *tools], turns, step.result


def _lookup_then_think(rng: random.Random) -> Draft:
    prompt, step, tool, first, sentence = _purchase(rng)
    text = f"The tool returned {step.b}, so I multiply {step.a} by {step.b} to get the cost. "
    end = f" dollars. That was the question, so the answer is {step.result}."
    return prompt, [tool], [first, Turn((text, step, end), sentence)], step.result


def _unknown(rng: random.Random) -> Draft:
    tool = extra_tool(rng)
    value: int | str = rng.randint(1, 999)
    if tool.kinds[0] == "string":
        value = rng.choice(NAMES) if rng.random() < 0.5 else rng.choice(OBJECTS)[0]
    output = rng.randint(1, LIMIT)
    call = ToolCall(tool.name, {tool.arguments[0]: value}, _wrapped(rng, "output", output))
    prompt = rng.choice(
        (
            "What is the value of {tool}({value})?",
            "Use {tool} with {value}.",
            "Run {tool} for {value}.",
        )
    ).format(tool=tool.name, value=value)
    turns = [
        _call_turn(f"The user asks for {tool.name} of {value}.", call),
        _result_turn(output, f"The result is {output}."),
    ]
    return prompt, [tool], turns, output
