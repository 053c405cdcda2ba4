"""One option of `splitreason plan` for each figure, and where in the figures it belongs."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

_OF_A_MODEL: dict[str, tuple[type, str]] = {
    "tokens_per_s": (float, "Tokens a second that a {side} replica writes, all answers together."),
    "alone_tokens_per_s": (float, "Tokens a second of an answer that has a {side} replica alone."),
    "read_tokens_per_s": (float, "Tokens a second that a {side} replica reads."),
    "gpus": (int, "GPUs of a {side} replica."),
    "usd_per_gpu_hour": (float, "USD for an hour of one of its GPUs."),
    "prices.input_usd": (float, "USD per million tokens that the {side} model reads."),
    "prices.output_usd": (float, "USD per million tokens that the {side} model writes."),
}
_OF_AN_ANSWER: dict[str, tuple[type, str]] = {
    "prompt_tokens": (float, "Tokens of a prompt."),
    "tokens": (float, "Tokens of an answer, both models' together, reasoning included."),
    "offload_share": (float, "The large model's part of them, 0 to 1."),
    "spans": (float, "Spans of an answer."),
    "surplus_tokens": (float, "Tokens of an answer that the large model writes and are dropped."),
    "large_alone_tokens": (float, "Tokens of an answer of the large model alone."),
}


@dataclass(frozen=True, slots=True)
class FigureOption:
    """An option, the way to its figure, and its unit in terms of the figure's."""

    name: str
    kind: type
    help: str
    path: tuple[str, ...]
    unit: float = 1.0

    @property
    def parameter(self) -> inspect.Parameter:
        """The option as a command's function declares it."""
        flag = f"--{self.name.replace('_', '-')}"
        names = f"{flag}/--no-{flag[2:]}" if self.kind is bool else flag
        option = typer.Option(names, help=self.help, show_default=False)
        kind = Annotated[self.kind | None, option]  # type: ignore[name-defined]
        return inspect.Parameter(
            self.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind
        )


def _all() -> Iterator[FigureOption]:
    for name, (kind, text) in _OF_AN_ANSWER.items():
        yield FigureOption(name, kind, text, ("answer", name))
    waits = "Milliseconds that a hand-over waits for the network."
    yield FigureOption("round_trip_ms", float, waits, ("round_trip_s",), unit=0.001)
    takes_turns = "Both models share a device and take turns on it."
    yield FigureOption("shared", bool, takes_turns, ("shared",))
    for side in ("small", "large"):
        for name, (kind, text) in _OF_A_MODEL.items():
            path = tuple(name.split("."))
            yield FigureOption(f"{side}_{path[-1]}", kind, text.format(side=side), (side, *path))


OPTIONS = tuple(_all())


def with_figures(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for each figure to a command, which takes those that are given by name."""
    signature = inspect.signature(command)
    own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    parameters = [*own, *(option.parameter for option in OPTIONS)]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ |= {one.name: one.annotation for one in parameters}
    return command


def placed(given: Mapping[str, Any], *, over: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain figures with those options in their places that were given."""
    figures = _copied(over)
    for option in OPTIONS:
        value = given[option.name]
        if value is not None:
            table = figures
            for name in option.path[:-1]:
                table = table.setdefault(name, {})
            table[option.path[-1]] = value * option.unit if option.kind is float else value
    return figures


def named(path: tuple[str | int, ...]) -> str | None:
    """Return the option that gives the figure at a path."""
    return next((f"--{one.name.replace('_', '-')}" for one in OPTIONS if one.path == path), None)


def _copied(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _copied(value) if isinstance(value, Mapping) else value
        for name, value in data.items()
    }
