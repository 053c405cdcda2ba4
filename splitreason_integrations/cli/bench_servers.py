"""`splitreason bench servers`: two servers against the published flow, and under load."""

import asyncio
import json
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.table import Table

from splitreason_integrations import embedded
from splitreason_integrations.backends.description import ModelDescription
from splitreason_integrations.backends.openai_server.model import ServerModel
from splitreason_integrations.backends.openai_server.spec import OpenAIServerModel
from splitreason_integrations.backends.registry import load_model, resolve
from splitreason_integrations.cli import options
from splitreason_integrations.cli.bench_disagreement import reading_lines
from splitreason_integrations.cli.display import progress_bar
from splitreason_integrations.cli.printed_tables import print_table
from splitreason_integrations.cli.wrapping import print_lines
from splitreason_integrations.decide.closing import parse_close
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals import load, report, servers
from splitreason_integrations.evals.reading_cost import reading_cost
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.evals.vllm_servers import vllm_server
from splitreason_integrations.humans.screen import Screen, echo

_FAMILIES = ("word", "context")


def servers_command(
    small: options.Small = None,
    large: options.Large = None,
    samples: Annotated[int, typer.Option(min=1, help="Answers per method.")] = 40,
    spans: Annotated[int, typer.Option(min=1, help="Spans of 128 tokens per method.")] = 10,
    answers: Annotated[int, typer.Option(min=1, help="Answers under load.")] = 256,
    concurrency: Annotated[int, typer.Option(min=1, help="Concurrent answers under load.")] = 64,
    close: options.CloseText = "tag>0.5",
    close_threshold: options.CloseThreshold = None,
    seed: options.Seed = 0,
    api_key_env: options.ApiKeyEnv = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare two servers with the published flow, and measure them under load.

    Also the wall time of an answer with `disagreement` ÷ with `tag`. Starts vLLM with the bundled
    pair if no servers are named, and with its untaught small model for a row of that comparison.
    """
    rule = parse_close(close)
    specs = options.keyed_specs(*options.pair(small, large), api_key_env)
    with _specs(*specs) as pair, progress_bar() as bar:
        bars: dict[str, Any] = {}

        def on_progress(what: str, done: int, of: int) -> None:
            if what not in bars:
                bars[what] = bar.add_task(what)
            bar.update(bars[what], completed=done, total=of)

        async def measure() -> dict[str, Any]:
            models = cast(
                "tuple[ServerModel, ServerModel]",
                (await load_model(pair[0], role="small"), await load_model(pair[1], role="large")),
            )
            tasks = generated("test", _FAMILIES, n=max(samples, spans), seed=seed)
            many = generated("test", _FAMILIES, n=answers, seed=seed + 1)
            return {
                "bench": "servers",
                "answers": await servers.against_the_published_flow(
                    models, tasks[:samples], on_progress, close=rule
                ),
                "long_spans": await servers.long_spans(models, tasks[:spans], on_progress),
                "load": await load.under_load(
                    models,
                    many,
                    concurrency=concurrency,
                    max_tokens=servers.MAX_TOKENS,
                    on_progress=on_progress,
                    close=rule,
                ),
            }

        result = asyncio.run(measure())
        with _untaught(started=specs == ("embedded", "embedded")) as base:
            result["disagreement"] = asyncio.run(
                _reading(pair, base, seed=seed, samples=samples, on_progress=on_progress)
            )
    result |= report.context(options.command_line())
    if as_json:
        echo(json.dumps(result))
    else:
        _show(result)


@contextmanager
def _specs(
    small: str | ModelDescription, large: str | ModelDescription
) -> Generator[tuple[ModelDescription, ModelDescription], None, None]:
    """Yield the specs of two servers; start them if none are named."""
    if (small, large) == ("embedded", "embedded"):
        with (
            tempfile.TemporaryDirectory() as logs,
            vllm_server(embedded.path("small"), Path(logs, "small"), name="small") as one,
            vllm_server(embedded.path("large"), Path(logs, "large"), name="large") as other,
        ):
            Screen(stderr=True).print("starting two vLLM servers on the bundled pair")
            one.wait()
            other.wait()
            yield OpenAIServerModel(one.url, "small"), OpenAIServerModel(other.url, "large")
        return
    named = resolve(small, role="small"), resolve(large, role="large")
    if not all(spec.on_server for spec in named):
        raise RequestError(
            "bench servers measures two servers: give both --small and --large as "
            "http://<host>/v1#<model>, or neither"
        )
    yield named


@contextmanager
def _untaught(*, started: bool) -> Generator[ModelDescription | None, None, None]:
    """Yield the spec of a server of the bundled `base`, None where the servers were named."""
    if not started:
        yield None
        return
    with (
        tempfile.TemporaryDirectory() as logs,
        vllm_server(embedded.path("base"), Path(logs, "base"), name="base") as server,
    ):
        server.wait()
        yield OpenAIServerModel(server.url, "base", taught=False)


async def _reading(
    pair: tuple[ModelDescription, ModelDescription],
    base: ModelDescription | None,
    *,
    seed: int,
    samples: int,
    on_progress: load.OnProgress,
) -> dict[str, Any]:
    return await reading_cost(
        (await load_model(pair[0], role="small"), await load_model(pair[1], role="large")),
        generated("test", _FAMILIES, n=samples, seed=seed + 2),
        on_progress,
        untaught=await load_model(base, role="small") if base is not None else None,
    )


def _show(result: dict[str, Any]) -> None:
    answers, spans, load_ = result["answers"], result["long_spans"], result["load"]
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, cell in (
        ("wall time of an answer, ours ÷ published", _interval(answers)),
        ("wall time of generation alone ÷ published", _interval(answers, "bare")),
        ("requests per answer, ours and published", _requests(answers)),
        ("same text", f"{answers['same_text']} of {answers['n']}"),
        ("requests of a 128-token span, ours ÷ published", f"{spans['requests_ratio']:.3f}"),
        ("wall time of a 128-token span, ours ÷ published", _interval(spans)),
        (f"tokens/s, {load_['concurrency']} concurrent answers", f"{load_['tokens_per_s']:.0f}"),
        ("÷ the ideal mix", _ways(load_["ideal_ratio"])),
        ("÷ the same segments in order", f"{load_['in_turn_ratio']:.2f}"),
        ("÷ one request per model and answer", _ways(load_["undivided_ratio"])),
        ("latency p50, p99", "{p50:.2f} s, {p99:.2f} s".format(**load_["latency_s"])),
    ):
        table.add_row(name, cell)
    console = Screen(highlight=False)
    print_table(console, table)
    for line in (*reading_lines(result["disagreement"]), f"{result['hardware']}, {result['date']}"):
        print_lines(console, line)


def _interval(figures: dict[str, Any], what: str = "wall") -> str:
    low, high = figures[f"{what}_interval"]
    return f"{figures[f'{what}_ratio']:.3f} ({low:.3f} to {high:.3f}, n = {figures['n']})"


def _requests(answers: dict[str, Any]) -> str:
    ours, theirs = (answers[side]["requests_an_answer"] for side in ("ours", "published"))
    return f"{ours:.1f}, {theirs:.1f}"


def _ways(ratios: dict[str, float]) -> str:
    return ", ".join(f"{ratio:.2f} {way}" for way, ratio in ratios.items())
