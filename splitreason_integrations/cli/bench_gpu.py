"""`splitreason bench gpu`: handoffs between two resident models of real sizes."""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from splitreason_integrations.checks import check_extra
from splitreason_integrations.cli import options
from splitreason_integrations.cli.display import progress_bar
from splitreason_integrations.cli.printed_tables import print_table
from splitreason_integrations.cli.wrapping import print_lines
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.evals import report
from splitreason_integrations.evals.shapes import SHAPES
from splitreason_integrations.humans.screen import Screen, echo

if TYPE_CHECKING:
    from splitreason_integrations.backends.hf.model import HFModel

_SHAPES = ", ".join(SHAPES)
_ROOM_TOKENS = 4096


def gpu_command(
    small_shape: Annotated[str, typer.Option(help=f"One of {_SHAPES}.")] = "1.5B",
    large_shape: Annotated[str, typer.Option(help=f"One of {_SHAPES}.")] = "32B",
    context: Annotated[list[int], typer.Option(min=1, help="Context tokens; repeatable.")] = [  # noqa: B006
        2048,
        8192,
    ],
    device: Annotated[str, typer.Option(help="cuda, cuda:1 or cpu.")] = "cuda",
    rounds: Annotated[int, typer.Option(min=1, max=32, help="Handoffs and handbacks.")] = 16,
    cuda_graphs: Annotated[
        bool, typer.Option(help="Replay short passes as CUDA graphs, as the engine does.")
    ] = True,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Measure handoffs between two models of real sizes with random weights, bf16 on a GPU.

    Prints the time of a handoff relative to a step of the large model, the time of steps relative
    to reading the weights once, the time of the same segments and spans with the large model
    reading along (`disagreement`) relative to without (`tag`), tokens per second of the split and
    of each model alone, and peak memory.
    """
    result = {
        "bench": "gpu",
        "shapes": {"small": small_shape, "large": large_shape},
        "device": device,
        "cuda_graphs": cuda_graphs,
        **_measured(
            (small_shape, large_shape), context, device, rounds, seed, cuda_graphs=cuda_graphs
        ),
        **report.context(options.command_line()),
    }
    if as_json:
        echo(json.dumps(result))
    else:
        _show(result)


def _measured(
    shapes: tuple[str, str],
    contexts: list[int],
    device: str,
    rounds: int,
    seed: int,
    *,
    cuda_graphs: bool,
) -> dict[str, Any]:
    check_extra("local", "torch", what="bench gpu")
    import torch

    from splitreason_integrations.evals.relay import measure_relay

    on_gpu = device.startswith("cuda")
    if on_gpu and not torch.cuda.is_available():
        raise ConfigurationError(
            "torch sees no GPU here: use --device cpu --small-shape tiny --large-shape tiny to "
            "try the benchmark"
        )
    with progress_bar() as bar:
        room = max(contexts) + _ROOM_TOKENS
        small, large = (
            _model(shape, room, device, at, cuda_graphs=cuda_graphs)
            for at, shape in enumerate(shapes)
        )
        tasks = {context: bar.add_task(f"{context} tokens") for context in contexts}
        figures = asyncio.run(
            measure_relay(
                (small, large),
                contexts,
                rounds=rounds,
                seed=seed,
                on_progress=lambda context, done, of: bar.update(
                    tasks[context], completed=done, total=of
                ),
            )
        )
    peak = torch.cuda.max_memory_allocated() if on_gpu else None
    return {"contexts": figures, "peak_memory_bytes": peak}


def _model(shape: str, room: int, device: str, seed: int, *, cuda_graphs: bool) -> "HFModel":
    from splitreason_integrations.backends.embedded_codec import embedded_codec
    from splitreason_integrations.backends.hf.model import HFModel
    from splitreason_integrations.backends.hf.steps import steps_for
    from splitreason_integrations.evals.shapes import random_network

    network = random_network(shape, context_tokens=room, device=device, seed=seed)
    steps = steps_for(network) if cuda_graphs else None
    return HFModel(network, embedded_codec(), name=shape, steps=steps)


def _show(result: dict[str, Any]) -> None:
    figures = result["contexts"]
    table = Table("context tokens", box=None)
    for one in figures:
        table.add_column(str(one["context_tokens"]), no_wrap=True)
    rows: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("step, small", partial(_step, who="small")),
        ("  ÷ reading its weights", partial(_times, who="small")),
        ("step, large", partial(_step, who="large")),
        ("  ÷ reading its weights", partial(_times, who="large")),
        ("handoff", lambda one: f"{one['handoff_ms']:.1f} ms"),
        ("handoff ÷ step", lambda one: "{:.2f} ({:.2f} to {:.2f})".format(*_ratio(one))),
        ("handback", lambda one: f"{one['handback_ms']:.1f} ms"),
        ("reading a chunk", "{reading_ms:.1f} ms, {reading_tokens} tokens".format_map),
        ("disagreement ÷ tag", _reading),
        ("tokens/s, small alone", partial(_rate, who="small")),
        ("tokens/s, large alone", partial(_rate, who="large")),
        ("tokens/s, split", partial(_rate, who="split")),
    ]
    for name, cell in rows:
        table.add_row(name, *(cell(one) for one in figures))
    console = Screen(highlight=False)
    print_table(console, table)
    peak = result["peak_memory_bytes"]
    memory = "" if peak is None else f"; {peak / 2**30:.1f} GiB at most"
    print_lines(console, f"{result['hardware']}, {result['date']}{memory}")


def _ratio(one: dict[str, Any]) -> tuple[float, ...]:
    return (one["handoff_ratio"], *one["handoff_interval"])


def _reading(one: dict[str, Any]) -> str:
    low, high = one["reading_interval"]
    return f"{one['reading_ratio']:.2f} ({low:.2f} to {high:.2f})"


def _step(one: dict[str, Any], *, who: str) -> str:
    return f"{one['step_ms'][who]:.1f} ms"


def _times(one: dict[str, Any], *, who: str) -> str:
    return f"{one['step_ms'][who] / one['step_floor_ms'][who]:.2f}"


def _rate(one: dict[str, Any], *, who: str) -> str:
    return f"{one['tokens_per_s'][who]:.0f}"
