"""`splitreason annotate`: find hard spans of reasoning traces by a model, two models or a rule."""

import json
from functools import partial
from typing import Annotated

import typer

from splitreason_integrations import blocking
from splitreason_integrations.annotation.annotators import SnippetsAnnotator
from splitreason_integrations.annotation.rules import RULES, RuleAnnotator
from splitreason_integrations.annotation.run import Settings
from splitreason_integrations.annotation.samples import DOMAINS, samples
from splitreason_integrations.annotation.steps import Align
from splitreason_integrations.cli import annotate_options as shared
from splitreason_integrations.cli import options
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.humans.screen import echo

app = typer.Typer(
    help="Tag the hard spans of reasoning traces.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def annotate() -> None:
    """Add `tagged` and `spans` to each trace; the same command resumes an interrupted run.

    Rows that cannot be tagged go to <out>.refused, each with its reason.
    """


@app.command()
def rule(
    source: shared.Source,
    out: shared.Out,
    name: Annotated[
        list[str] | None,
        typer.Option("--rule", help=f"Named rule, repeatable: {', '.join(sorted(RULES))}."),
    ] = None,
    pattern: Annotated[
        list[str] | None,
        typer.Option(
            help="Regular expression; its first group, or the whole match, is hard; repeatable."
        ),
    ] = None,
    align: shared.AlignTo = Align.SENTENCE,
    column: shared.Columns = None,
    small: shared.Counted = None,
    workers: shared.Workers = None,
    as_json: options.AsJson = False,
) -> None:
    """Tag what rules match."""
    annotator = partial(RuleAnnotator, name or (), pattern or ())
    settings = Settings(align=align, workers=workers or shared.cores())
    shared.run(shared.Job(source, out, column or (), as_json), annotator, settings, [small])


@app.command()
def snippets(
    source: shared.Source,
    out: shared.Out,
    align: shared.AlignTo = Align.SENTENCE,
    cutoff: shared.Cutoff = 90.0,
    column: shared.Columns = None,
    small: shared.Counted = None,
    workers: shared.Workers = None,
    as_json: options.AsJson = False,
) -> None:
    """Tag the snippets that each row quotes from its trace in a list `snippets`."""
    settings = Settings(align=align, cutoff=cutoff, workers=workers or shared.cores())
    job = shared.Job(source, out, column or (), as_json)
    shared.run(job, SnippetsAnnotator, settings, [small])


@app.command()
def gap(
    source: shared.Source,
    out: shared.Out,
    small: Annotated[
        str | None,
        typer.Option(help="Small model: embedded, or hf:<folder>.", show_default="embedded"),
    ] = None,
    large: Annotated[
        str | None,
        typer.Option(help="Large model: embedded, or hf:<folder>.", show_default="embedded"),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of tokens in spans; the threshold is chosen to reach it.",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Without --share: lowest score of a hard step.")
    ] = 0.5,
    tries: Annotated[
        float, typer.Option(help="Attempts of the small model; a step is hard if any fails.")
    ] = 1.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    batch_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens of traces per forward pass.")
    ] = 16_384,
    align: shared.AlignTo = Align.SENTENCE,
    column: shared.Columns = None,
    as_json: options.AsJson = False,
) -> None:
    """Tag the steps that the small model misses and the large one does not, without a judge.

    A score is the probability of that, computed from both models' probabilities of every token.
    """
    from splitreason_integrations.annotation.gap import GapAnnotator, load_here

    pair = options.pair(small, large)
    settings = Settings(align=align, share=share, min_score=threshold if share is None else 0.0)

    def annotator() -> GapAnnotator:
        return GapAnnotator(
            blocking.run(lambda: load_here(pair[0], role="small", device=device)),
            blocking.run(lambda: load_here(pair[1], role="large", device=device)),
            align=align,
            tries=tries,
            batch_tokens=batch_tokens,
        )

    job = shared.Job(source, out, column or (), as_json)
    shared.run(job, annotator, settings, pair)


@app.command()
def llm(
    source: shared.Source,
    out: shared.Out,
    model: Annotated[
        str, typer.Option(help="LangChain chat model, as provider:name.", show_default=False)
    ],
    input_usd: Annotated[float, typer.Option(min=0, help="USD per million tokens it reads.")] = 0.0,
    output_usd: Annotated[
        float, typer.Option(min=0, help="USD per million tokens it writes.")
    ] = 0.0,
    max_usd: Annotated[
        float | None,
        typer.Option(min=0, help="Start no call once this much is spent.", show_default=False),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Concurrent calls.")] = 8,
    requests_per_s: Annotated[
        float | None, typer.Option(help="Most calls per second.", show_default=False)
    ] = None,
    attempts: Annotated[int, typer.Option(min=1, help="Attempts per call.")] = 4,
    structured: Annotated[
        bool, typer.Option("--structured", help="Use the model's own structured output.")
    ] = False,
    share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of a text that it is asked to choose.")
    ] = 0.1,
    align: shared.AlignTo = Align.SENTENCE,
    cutoff: shared.Cutoff = 90.0,
    column: shared.Columns = None,
    small: shared.Counted = None,
    as_json: options.AsJson = False,
) -> None:
    """Tag the passages that a strong model quotes as hard.

    Replies are stored as they arrive, so that after a crash no finished row is paid for again.
    """
    from splitreason_integrations.annotation.llm import Asking, LLMAnnotator, load_chat_model

    asking = Asking(
        prices=Prices(input_usd, output_usd),
        max_usd=max_usd,
        concurrency=concurrency,
        requests_per_s=requests_per_s,
        attempts=attempts,
        structured=structured,
        share=share,
    )
    settings = Settings(align=align, cutoff=cutoff)

    def annotator() -> LLMAnnotator:
        return LLMAnnotator(load_chat_model(model), name=model, asking=asking)

    shared.run(shared.Job(source, out, column or (), as_json), annotator, settings, [small])


@app.command("samples")
def samples_command(
    domain: Annotated[
        str, typer.Argument(help=f"One of {', '.join(DOMAINS)}.", show_default=False)
    ],
    n: Annotated[int, typer.Option("--n", min=1, help="Number of traces.")] = 50,
    seed: options.Seed = 0,
) -> None:
    """Print sample traces with known hard spans (gold_spans) as JSON lines."""
    for row in samples(domain, n=n, seed=seed):
        echo(json.dumps(row, ensure_ascii=False))
