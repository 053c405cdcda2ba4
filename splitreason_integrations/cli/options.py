"""Options that several commands share, and the engine they describe."""

from typing import Annotated

import typer

from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.policy import Policy
from splitreason_integrations.triggers import parse_trigger

Small = Annotated[str, typer.Option(help="Small model: embedded or hf:<folder or name>.")]
Large = Annotated[str, typer.Option(help="Large model: embedded or hf:<folder or name>.")]
TriggerText = Annotated[
    str,
    typer.Option(
        help="What opens a span: tag, tag>0.2, entropy>1.5, random:0.05, keyword:PATTERN, "
        "always, never."
    ),
]
MaxShare = Annotated[
    float | None, typer.Option(help="Cap on the offload share, 0 to 1.", show_default=False)
]
MaxTokens = Annotated[int, typer.Option(help="Longest reply in tokens, reasoning included.")]
Seed = Annotated[int, typer.Option(help="Seed of problems and sampling.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def engine(small: str, large: str, trigger: str, max_share: float | None = None) -> SplitEngine:
    """Return the engine that the options describe."""
    described = SplitEngine(
        small=small,
        large=large,
        trigger=parse_trigger(trigger),
        policy=Policy(max_offload_share=max_share),
    )
    if all(spec.startswith("embedded") for spec in (small, large)):
        compute_on_one_thread()
    return described


def compute_on_one_thread() -> None:
    """Keep torch to one thread: matrices as small as the embedded pair's lose by sharing."""
    import torch

    torch.set_num_threads(1)
