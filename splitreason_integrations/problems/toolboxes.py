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
    "*": ("Multiply two numbers.", "Return a times b.", "The product of two integers."),
    "+": ("Add two numbers.", "Return the sum.", "Adds two integers."),
    "-": ("Subtract the second number from the first.", "Return the difference."),
}
ARGUMENT_PAIRS = (("a", "b"), ("x", "y"), ("first", "second"), ("left", "right"), ("n", "m"))
CALCULATORS = ("calculator", "calculate", "compute", "evaluate", "math", "arithmetic", "calc")
EXPRESSIONS = ("expression", "formula", "input", "query", "text")
CALCULATOR_HELP = (
    "Evaluate an arithmetic expression.",
    "Calculate the value of an expression with numbers.",
    "A calculator. Use it for numbers.",
)
VERBS = ("get", "find", "lookup", "fetch", "read", "search", "check", "show", "run", "use")
LOOKUP_KEYS = ("item", "name", "product", "key", "query", "thing")
EXTRA_WORDS = ("magic", "function", "data", "report", "code", "level", "score", "weather", "value")
EXTRA_KEYS = ("input", "value", "number", "x", "id", "key", "text", "city")


@dataclass(frozen=True)
class Tool:
    """A tool that a problem offers: its schema and the names to call it by."""

    name: str
    arguments: tuple[str, ...]
    kinds: tuple[str, ...]
    description: str

    @property
    def schema(self) -> dict[str, Any]:
        """Return the JSON schema in the chat-template format."""
        properties = {
            name: {"type": kind} for name, kind in zip(self.arguments, self.kinds, strict=True)
        }
        parameters = {
            "type": "object",
            "properties": properties,
            "required": list(self.arguments),
        }
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": parameters,
        }
        return {"type": "function", "function": function}


def operation_tool(rng: random.Random, operator: str) -> Tool:
    """Draw a tool that carries out one operation on two integers."""
    name = rng.choice(OPERATION_WORDS[operator]) + rng.choice(("", "", "_numbers", "_tool"))
    help_text = rng.choice(OPERATION_HELP[operator])
    return Tool(name, rng.choice(ARGUMENT_PAIRS), ("integer", "integer"), help_text)


def calculator_tool(rng: random.Random) -> Tool:
    """Draw a tool that evaluates an expression."""
    name = rng.choice(CALCULATORS) + rng.choice(("", "", "_tool"))
    return Tool(name, (rng.choice(EXPRESSIONS),), ("string",), rng.choice(CALCULATOR_HELP))


def lookup_tool(rng: random.Random, fact: str) -> Tool:
    """Draw a tool that looks up a fact such as a price."""
    help_text = rng.choice(
        (f"Look up the {fact} of something.", f"Return the {fact}.", f"Find the {fact} of an item.")
    )
    name = f"{rng.choice(VERBS)}_{fact}"
    return Tool(name, (rng.choice(LOOKUP_KEYS),), ("string",), help_text)


def extra_tool(rng: random.Random) -> Tool:
    """Draw a tool of an unknown kind, with an integer or a string argument."""
    words = rng.sample(EXTRA_WORDS, rng.randint(1, 2))
    name = "_".join([*([rng.choice(VERBS)] if rng.random() < 0.5 else []), *words])
    help_text = f"Apply {name} to the input." if rng.random() < 0.5 else f"The {words[-1]} tool."
    kind = rng.choice(("integer", "string"))
    return Tool(name, (rng.choice(EXTRA_KEYS),), (kind,), help_text)
