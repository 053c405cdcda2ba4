"""Options that several commands share, and what they describe.

Text and range of an option of the pair come from the table that declares it.
"""

import inspect
import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from splitreason_integrations.backends.openai_server.spec import OpenAIServerModel
from splitreason_integrations.backends.registry import LargeSpec, resolve
from splitreason_integrations.checks import check_extra
from splitreason_integrations.decide.closing import parse_close
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.decide.triggers import parse_trigger
from splitreason_integrations.embedded import UNNAMED, check_pair
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.network import Network
from splitreason_integrations.evals.tasks import Task, generated, read_jsonl
from splitreason_integrations.options import (
    OPTIONS,
    TABLE,
    Option,
    names_for,
    replaced_flag,
)
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.settings import policy_files

_UNSET = re.compile(r"[;,] unset\b.*", re.DOTALL)


def declared(name: str, *, has_default: bool = False, **more: Any) -> Any:
    """Return the command-line option that the table declares: its flag, text and range.

    With a default of the command's own, the text does not say what holds where it is unset.
    """
    option = OPTIONS[name]
    text = _UNSET.sub(".", option.text) if has_default else option.text
    if option.kind in (int, float):
        more |= {
            end: bound
            for end, bound in (("min", option.least), ("max", option.most))
            if math.isfinite(bound)
        }
    return typer.Option(option.flag, help=text, **more)


def _refuse_replaced(value: str | None) -> str | None:
    if value is not None:
        raise typer.BadParameter(replaced_flag(value))
    return value


Small = Annotated[str | None, declared("small", show_default="embedded")]
Large = Annotated[str | None, declared("large", show_default="embedded")]
TriggerText = Annotated[str, declared("trigger", has_default=True)]
CloseText = Annotated[str, declared("close", has_default=True)]
OwnClose = Annotated[str | None, declared("close", show_default=False)]
OwnTrigger = Annotated[str | None, declared("trigger", show_default=False)]
CloseThreshold = Annotated[
    str | None, typer.Option("--close-threshold", hidden=True, callback=_refuse_replaced)
]
PolicyName = Annotated[str | None, declared("policy", show_default=False)]
MaxShare = Annotated[
    float | None, typer.Option(help="Cap on the offload share, 0 to 1.", show_default=False)
]
Thinking = Annotated[
    bool | None,
    typer.Option("--thinking/--no-thinking", help=OPTIONS["thinking"].text, show_default=False),
]
MaxTokens = Annotated[int, declared("max_tokens")]
Seed = Annotated[int, typer.Option(help="Seed of problems and sampling.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
ApiKeyEnv = Annotated[
    str | None,
    typer.Option(help="Environment variable with the key of both servers.", show_default=False),
]
MaxUsd = Annotated[
    float | None,
    typer.Option(
        "--max-usd",
        help="Most that the large model may cost in all, in USD; needs its prices.",
        min=0,
        show_default=False,
    ),
]
Prompts = Annotated[
    Path | None,
    typer.Option(help="JSON lines with question or messages; else fresh problems."),
]
InputUsd = Annotated[
    float,
    typer.Option(
        "--large-input-usd", min=0, help="USD per million tokens that the large model reads."
    ),
]
OutputUsd = Annotated[
    float,
    typer.Option(
        "--large-output-usd", min=0, help="USD per million tokens that the large model writes."
    ),
]
RoundTripMs = Annotated[
    float, typer.Option("--round-trip-ms", min=0, help="What a handoff takes on the network.")
]
TokensPerS = Annotated[
    float | None,
    typer.Option("--large-tokens-per-s", help="Tokens a second the large model writes."),
]


def pair(small: str | None, large: str | None) -> tuple[str, str]:
    """Return both models, the bundled ones where neither is named.

    Raises:
        ConfigurationError: only one of them is named.

    """
    check_pair(small or UNNAMED, large or UNNAMED, as_flags=True)
    return small or "embedded", large or "embedded"


def with_declared(command: Callable[..., None]) -> Callable[..., None]:
    """Add to a command an option for each number and choice of the table that it has not itself.

    The command takes the given ones by name, unset ones as None.
    """
    signature = inspect.signature(command)
    own = {
        name: one for name, one in signature.parameters.items() if one.kind is not one.VAR_KEYWORD
    }
    added = [
        inspect.Parameter(
            option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_flag(option)
        )
        for option in TABLE
        if option.kind is not object and option.name not in own
    ]
    parameters = [*own.values(), *added]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ |= {one.name: one.annotation for one in added}
    return command


def _flag(option: Option) -> Any:
    kind: Any = Literal[option.choices] if option.choices else option.kind
    default = False if option.default is None else str(option.default)
    return Annotated[kind | None, declared(option.name, show_default=default)]


def applied(engine: SplitEngine, given: Mapping[str, Any]) -> SplitEngine:
    """Return the engine with those options set that `with_declared` added and a user gave."""
    chosen = {name: given.get(name) for name in names_for("engine")}
    engine = replace(engine, **{name: one for name, one in chosen.items() if one is not None})
    if given.get("timeout") is not None:
        OPTIONS["timeout"].check(given["timeout"])
        engine = replace(engine, policy=engine.policy.within(given["timeout"]))
    if given.get("max_retries") is not None:
        engine = replace(engine, retry=replace(engine.retry, attempts=given["max_retries"] + 1))
    return engine


def sampling(given: Mapping[str, Any]) -> Sampling:
    """Return the sampling of those options that `with_declared` added and a user gave."""
    return Sampling(**{name: given.get(name) for name in names_for("sampling")})


def engine(
    small: str | None,
    large: str | None,
    trigger: str | None,
    max_share: float | None = None,
    policy: str | None = None,
    *,
    close: str | None = None,
) -> SplitEngine:
    """Return the engine that the options describe."""
    allowed = _allowed(policy, max_share)
    specs = pair(small, large)
    described = SplitEngine(
        small=specs[0],
        large=specs[1],
        trigger=parse_trigger(trigger or allowed.trigger or "auto"),
        close=parse_close(close) if close else None,
        policy=allowed,
    )
    if all(spec.startswith("embedded") for spec in specs):
        compute_on_one_thread()
    return described


def _allowed(policy: str | None, max_share: float | None) -> Policy:
    if policy is None:
        return Policy(max_offload_share=max_share)
    if max_share is not None:
        raise RequestError(
            "give either --policy or --max-share: a policy file has max_offload_share"
        )
    found = policy_files.named(policy)
    here = found.for_request({})
    if here.ask_before or here.ask_after:
        raise RequestError(
            f"the policy {policy} has a person asked, and this command has nobody to ask: use it "
            "in code, with human_check=, or a file without ask_before and ask_after"
        )
    return found


def priced(engine: SplitEngine, prices: Prices) -> SplitEngine:
    """Return the engine with the large model's prices set, if any are."""
    if prices == Prices() or not isinstance(engine.large, str):
        return engine
    return replace(engine, large=resolve(engine.large, role="large").with_prices(prices))


def keyed(engine: SplitEngine, api_key_env: str | None) -> SplitEngine:
    """Return the engine whose models on servers are called with the key in a variable."""
    small, large = keyed_specs(engine.small, engine.large, api_key_env)
    return replace(engine, small=small, large=large)


def keyed_specs(small: Any, large: Any, api_key_env: str | None) -> tuple[Any, Any]:
    """Return both specs; those of servers take the key in a variable, where one is named."""
    if api_key_env is None:
        return small, large
    pair = tuple(_with_key(spec, api_key_env) for spec in (small, large))
    if pair == (small, large):
        raise RequestError("--api-key-env is the key of models on servers: name one by its address")
    return pair


def _with_key(spec: LargeSpec, api_key_env: str) -> Any:
    if isinstance(spec, str) and spec.startswith(("http://", "https://")):
        spec = OpenAIServerModel.of(spec)
    if isinstance(spec, OpenAIServerModel):
        return replace(spec, api_key_env=api_key_env)
    return spec


def network(round_trip_ms: float, tokens_per_s: float | None) -> Network:
    """Return where the options have the large model."""
    return Network(round_trip_s=round_trip_ms / 1000, tokens_per_s=tokens_per_s)


def prompts(data: Path | None, *, samples: int, seed: int, needs_answer: bool) -> list[Task]:
    """Return the prompts of a file, or fresh problems of the development split."""
    if data is not None:
        return read_jsonl(data, needs_answer=needs_answer)[:samples]
    return generated("dev", ["word", "context"], n=samples, seed=seed)


def check_folder(path: Path | None) -> None:
    """Raise RequestError, before anything is measured, where a file could not be written."""
    if path is not None and (path.is_dir() or not os.access(path.parent, os.W_OK)):
        raise RequestError(f"{path}: cannot be written: name a file in a folder of your own")


def command_line() -> str:
    """Return the command as it was given, to publish with its figures."""
    return shlex.join(["splitreason", *sys.argv[1:]])


def compute_on_one_thread() -> None:
    """Keep torch to one thread: matrices as small as the bundled pair's lose by sharing.

    Raises:
        MissingExtraError: if torch is not installed.

    """
    check_extra("local", "torch", what="the bundled pair")
    import torch

    torch.set_num_threads(1)
