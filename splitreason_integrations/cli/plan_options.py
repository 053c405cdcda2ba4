"""One option of `splitreason plan` per figure, and its place in the figures."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

_OF_A_MODEL: dict[str, tuple[type, str]] = {
    "tokens_per_s": (float, "Tokens/s that a {side} replica writes, over all answers."),
    "alone_tokens_per_s": (float, "Tokens/s of a single answer on a {side} replica."),
    "read_tokens_per_s": (float, "Prompt tokens/s that a {side} replica reads."),
    "gpus": (int, "GPUs per {side} replica."),
    "usd_per_gpu_hour": (float, "USD per GPU-hour of a {side} replica."),
    "prices.input_usd": (float, "USD per million tokens that the {side} model reads."),
    "prices.output_usd": (float, "USD per million tokens that the {side} model writes."),
}
_OF_AN_ANSWER: dict[str, tuple[type, str]] = {
    "prompt_tokens": (float, "Tokens per prompt."),
    "tokens": (float, "Tokens per answer by both models, reasoning included."),
    "offload_share": (float, "Large model's share of these tokens, 0 to 1."),
    "spans": (float, "Spans per answer."),
    "surplus_tokens": (float, "Large-model tokens per answer that are generated and dropped."),
    "large_alone_tokens": (float, "Tokens per answer of the large model alone."),
    "read_ahead_tokens": (float, "Tokens per answer that the large model reads meanwhile."),
    "small_surplus_tokens": (float, "Small-model tokens per answer that are dropped."),
}


@dataclass(frozen=True, slots=True)
class FigureOption:
    """An option of the command, and the figure that it sets.

    Attributes:
        name: Name of the parameter.
        kind: Type of the value.
        help: Help text.
        path: Keys of the figure in the plain data.
        unit: Factor from the option's unit to the figure's.

    """

    name: str
    kind: type
    help: str
    path: tuple[str, ...]
    unit: float = 1.0

    @property
    def parameter(self) -> inspect.Parameter:
        """The option as a parameter of a command's function."""
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
    round_trip = "Network milliseconds per handoff."
    yield FigureOption("round_trip_ms", float, round_trip, ("round_trip_s",), unit=0.001)
    yield FigureOption("shared", bool, "Both models share one device.", ("shared",))
    for side in ("small", "large"):
        for name, (kind, text) in _OF_A_MODEL.items():
            path = tuple(name.split("."))
            yield FigureOption(f"{side}_{path[-1]}", kind, text.format(side=side), (side, *path))


OPTIONS = tuple(_all())


def with_figures(command: Callable[..., None]) -> Callable[..., None]:
    """Add one option per figure to a command, which receives them as keyword arguments."""
    signature = inspect.signature(command)
    own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    parameters = [*own, *(option.parameter for option in OPTIONS)]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ |= {one.name: one.annotation for one in parameters}
    return command


def placed(given: Mapping[str, Any], *, over: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain figures with the given options applied."""
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
    """Return the option that sets the figure at a path."""
    return next((f"--{one.name.replace('_', '-')}" for one in OPTIONS if one.path == path), None)


def _copied(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _copied(value) if isinstance(value, Mapping) else value
        for name, value in data.items()
    }
