"""Words of help pages: one short line for every command, and readers' words for values."""

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import typer
from typer.core import TyperCommand
from typer.models import ArgumentInfo, OptionInfo

_SHORT: Mapping[str, str] = {
    "demo": "Watch the bundled pair work, and compare it.",
    "doctor": "Check the installation and two models.",
    "ask": "Ask one question, and see who wrote what.",
    "chat": "Talk with the pair in the terminal.",
    "eval": "Measure accuracy, offload share, latency and cost.",
    "calibrate": "Find the threshold that meets a bound.",
    "shadow": "Estimate handoffs from the small model alone.",
    "recommend": "Find out whether two models should share replies.",
    "plan": "Plan replicas, latency and cost of a pair.",
    "bench": "Run benchmarks.",
    "bench annotate": "Measure how snippets are placed, and how fast.",
    "bench disagreement": "Compare the time of `disagreement` and `tag`.",
    "bench figures": "Fill pages with tables of measured figures.",
    "bench gpu": "Measure handoffs between large models on a GPU.",
    "bench servers": "Compare two servers with the published flow.",
    "bench untaught": "Measure triggers that need no training.",
    "bench overhead": "Compare a generation with its forward passes.",
    "bench pair": "Measure all modes of the bundled pair.",
    "audit list": "List requests and what they took.",
    "audit show": "Show one request's records and reply.",
    "audit verify": "Verify that no line was changed.",
    "audit report": "Write one HTML page of the log.",
    "audit replay": "Print a recorded reply, or ask for it again.",
    "policy": "Describe, export and check policies.",
    "policy show": "Describe a policy and each of its settings.",
    "policy export": "Write a ready-made policy as a file.",
    "policy check": "Validate a policy file.",
    "review show": "Show one question and what it is about.",
    "annotate snippets": "Tag the snippets that each row quotes.",
    "annotate gap": "Tag the steps that only the large model gets right.",
    "annotate samples": "Print sample traces with known hard spans.",
    "train": "Train models.",
    "train sft": "Fine-tune a small model on tagged traces.",
    "train grpo": "Train a small model with real calls of the large one.",
    "train traces": "Write the bundled pair's problems as tagged traces.",
    "train pair": "Train the bundled pair.",
}
"""The line of a command in a list, where the first line of its help is longer than a terminal."""

_BRACED = re.compile(r"\{([A-Z_]+)\}")
_WORDS: Mapping[Any, str] = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


class PlainCommand(TyperCommand):
    """A command whose help page names an argument by one word, as manuals do."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line; typer puts braces around what must be given."""
        return [_BRACED.sub(r"\1", piece) for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the list of arguments and options, an argument without its Python type."""
        parameters: list[Any] = self.get_params(ctx)
        for parameter in parameters:
            if parameter.param_type_name == "argument":
                parameter.display_type_rich = lambda ctx: None
        super().format_options(ctx, formatter)


def describe(app: typer.Typer, group: str = "") -> None:
    """Give each command of an app its short line, and each value a word that readers know."""
    for command in app.registered_commands:
        command.cls = PlainCommand
        assert command.callback is not None, "a registered command has a function"
        name = command.name or command.callback.__name__
        command.short_help = _SHORT.get(f"{group} {name}".strip())
        _name_values(command.callback)
    for below in app.registered_groups:
        if below.typer_instance is not None:
            below.short_help = _SHORT.get(str(below.name))
            describe(below.typer_instance, str(below.name))


def _name_values(command: Callable[..., Any]) -> None:
    """Name what a command's options and arguments take."""
    for name, one in inspect.signature(command).parameters.items():
        kind, *infos = get_args(one.annotation) or (one.annotation,)
        for info in infos:
            if isinstance(info, ArgumentInfo):
                info.metavar = info.metavar or name.upper()
            elif isinstance(info, OptionInfo):
                info.metavar = info.metavar or _word(kind)


def _word(kind: Any) -> str | None:
    """Return what an option's value is called; None where its choices say it."""
    origin = get_origin(kind)
    if origin in (Union, UnionType, list):
        return next((word for word in map(_word, get_args(kind)) if word), None)
    return None if origin is Literal else _WORDS.get(kind)
