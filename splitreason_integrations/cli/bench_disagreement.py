"""`splitreason bench disagreement`: what it costs that the large model reads along."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.cli import options
from splitreason_integrations.cli.display import progress_bar
from splitreason_integrations.cli.wrapping import print_lines
from splitreason_integrations.evals import report
from splitreason_integrations.evals.reading_cost import reading_cost
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.humans.screen import Screen, echo

_FAMILIES = ("word", "context")


def disagreement_command(
    samples: Annotated[int, typer.Option(min=1, help="Problems, answered in every row.")] = 40,
    small: options.Small = None,
    large: options.Large = None,
    seed: options.Seed = 0,
    api_key_env: options.ApiKeyEnv = None,
    as_json: options.AsJson = False,
) -> None:
    """Wall time of an answer with `disagreement` ÷ with `tag`, and how long a stream is delayed.

    With the bundled pair, `base` stands for a small model that was never taught. A small model
    that does not know the tags writes its answer alone with `tag`.
    """
    specs = options.keyed_specs(*options.pair(small, large), api_key_env)
    bundled = specs == ("embedded", "embedded")
    if bundled:
        options.compute_on_one_thread()
    tasks = generated("test", _FAMILIES, n=samples, seed=seed)
    with progress_bar() as bar:
        task = bar.add_task("reading along")

        async def measure() -> dict[str, Any]:
            base = await load_model("embedded:base", role="small") if bundled else None
            return await reading_cost(
                (
                    await load_model(specs[0], role="small"),
                    await load_model(specs[1], role="large"),
                ),
                tasks,
                lambda _, done, of: bar.update(task, completed=done, total=of),
                untaught=base,
            )

        found = asyncio.run(measure())
    result = {"bench": "disagreement", **found, **report.context(options.command_line())}
    if as_json:
        echo(json.dumps(result))
        return
    for line in (*reading_lines(found), f"{result['hardware']}, {result['date']}"):
        print_lines(Screen(highlight=False), line)


def reading_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what `reading_cost` found: two or three lines a row."""
    for row in found["rows"]:
        low, high = row["wall_interval"]
        yield f"{row['small']}, {row['trigger']}, {row['close']}:"
        yield (
            f"  wall time ÷ tag {row['wall_ratio']:.2f} ({low:.2f} to {high:.2f}, "
            f"n = {found['n']}): {row['seconds_an_answer']:.2f} s, "
            f"{row['tokens_an_answer']:.0f} tokens, {row['accuracy']:.0%} right, "
            f"large share {row['offload_share']:.1%}"
        )
        if row["chunks_an_answer"]:
            yield (
                f"  read in chunks of {row['chunk_tokens']:.1f} tokens, streamed "
                f"{row['shown_after_ms']:.1f} ms after they were written"
            )
