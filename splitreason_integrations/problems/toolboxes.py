"""JSON schemas of tools with varied names, argument names and descriptions."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

OPERATION_WORDS = {
    "*": ("multiply", "product", "times"),
    "+": ("add", "sum", "plus"),
    "-": ("subtract", "difference", "minus"),
}
OPERATION_HELP = {
    "*": (
        "Multiply two numbers.",
        "Return a times b.",
        "The product of two integers.",
        "Multiply a and b.",
        "Multiply two integers together.",
    ),
    "+": ("Add two numbers.", "Return the sum.", "Adds two integers.", "Adds a and b."),
    "-": (
        "Subtract the second number from the first.",
        "Return the difference.",
        "Subtract b from a.",
    ),
}
ARGUMENT_PAIRS = (("a", "b"), ("x", "y"), ("first", "second"), ("left", "right"), ("n", "m"))
CALCULATORS = ("calculator", "calculate", "compute", "evaluate", "math", "arithmetic", "calc")
EXPRESSIONS = ("expression", "formula", "input", "query", "text")
CALCULATOR_HELP = (
    "Evaluate an arithmetic expression.",
    "Calculate the value of an expression with numbers.",
    "A calculator. Use it for numbers.",
)
CONSONANTS = "bcdfghjklmnprstvz"
VERBS = ("get", "find", "lookup", "fetch", "read", "search", "check", "show", "run", "use")
LOOKUP_KEYS = ("item", "name", "product", "key", "query", "thing")
EXTRA_WORDS = ("magic", "function", "data", "report", "code", "level", "score", "weather", "value")
ARGUMENT_HELP = ("The {name}.", "The {name} to use.", "What to work on.", "Value of {name}")
EXTRA_KEYS = ("input", "value", "number", "x", "id", "key", "text", "city")


@dataclass(frozen=True)
class Tool:
    """A tool of a problem.

    Attributes:
        name: Name of the tool.
        arguments: Names of its arguments.
        kinds: JSON types of its arguments.
        description: Description for the model.

    """

    name: str
    arguments: tuple[str, ...]
    kinds: tuple[str, ...]
    description: str

    def schema(self, rng: random.Random) -> dict[str, Any]:
        """Return the JSON schema in one of the layouts that libraries use."""
        titled, described = rng.random() < 0.25, rng.random() < 0.25
        properties: dict[str, Any] = {}
        for name, kind in zip(self.arguments, self.kinds, strict=True):
            properties[name] = {"title": name.title(), "type": kind} if titled else {"type": kind}
            if described:
                properties[name]["description"] = rng.choice(ARGUMENT_HELP).format(name=name)
        parameters = {"properties": properties, "required": list(self.arguments)}
        if rng.random() < 0.5:
            parameters = {"type": "object", **parameters}
        else:
            parameters = {**parameters, "type": "object"}
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": parameters,
        }
        return {"type": "function", "function": function}


def nonce(rng: random.Random) -> str:
    """Make up a word, so that the model must read names instead of guessing them."""
    return "".join(rng.choice(CONSONANTS) + rng.choice("aeiou") for _ in range(rng.randint(2, 3)))


def _argument(rng: random.Random, known: tuple[str, ...]) -> str:
    return nonce(rng) if rng.random() < 0.25 else rng.choice(known)


def operation_tool(rng: random.Random, operator: str) -> Tool:
    """Draw a tool for one operation on two integers."""
    name = rng.choice(OPERATION_WORDS[operator]) + rng.choice(("", "", "_numbers", "_tool"))
    help_text = rng.choice(OPERATION_HELP[operator])
    kind = rng.choice(("integer", "integer", "number"))
    return Tool(name, rng.choice(ARGUMENT_PAIRS), (kind, kind), help_text)


def calculator_tool(rng: random.Random) -> Tool:
    """Draw a tool that evaluates an expression."""
    name = rng.choice(CALCULATORS) + rng.choice(("", "", "_tool"))
    if rng.random() < 0.2:
        name = f"{nonce(rng)}_{name}"
    return Tool(name, (_argument(rng, EXPRESSIONS),), ("string",), rng.choice(CALCULATOR_HELP))


def lookup_tool(rng: random.Random, fact: str) -> Tool:
    """Draw a tool that looks up a fact such as a price."""
    help_text = rng.choice(
        (f"Look up the {fact} of something.", f"Return the {fact}.", f"Find the {fact} of an item.")
    )
    verb = nonce(rng) if rng.random() < 0.2 else rng.choice(VERBS)
    name = f"{verb}_{fact}"
    return Tool(name, (_argument(rng, LOOKUP_KEYS),), ("string",), help_text)


def extra_tool(rng: random.Random) -> Tool:
    """Draw a tool of an unknown kind, with an integer or a string argument."""
    words = rng.sample(EXTRA_WORDS, rng.randint(1, 2))
    if rng.random() < 0.5:
        words[-1] = nonce(rng)
    name = "_".join([*([rng.choice(VERBS)] if rng.random() < 0.5 else []), *words])
    help_text = f"Apply {name} to the input." if rng.random() < 0.5 else f"The {words[-1]} tool."
    kind = rng.choice(("integer", "string"))
    return Tool(name, (_argument(rng, EXTRA_KEYS),), (kind,), help_text)
