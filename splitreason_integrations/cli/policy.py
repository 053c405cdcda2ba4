"""`splitreason policy`: describe policies in words, write them to files, validate files."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from splitreason_integrations.cli import options
from splitreason_integrations.cli.printed_tables import print_table
from splitreason_integrations.cli.wrapping import print_lines
from splitreason_integrations.decide.ask_rules import AskRule
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.pricing import ModelTerms
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.humans.screen import Screen, echo
from splitreason_integrations.settings import policy_files
from splitreason_integrations.settings.from_data import NO_CAP
from splitreason_integrations.settings.policy_warnings import policy_warnings

app = typer.Typer(
    help="Describe ready-made policies and your own policy files; start one from another.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_WORDS = (
    ("summary", "Summary"),
    ("allows", "What it allows"),
    ("costs", "What it costs"),
    ("suits", "Whom it suits"),
    ("expect", "What to expect"),
)
_CAPS = (
    ("max_offload_share", "Large model's share of the tokens", "at most {:.1%}"),
    ("max_spans", "Spans in a reply", "at most {}"),
    ("max_span_tokens", "Tokens in a span", "at most {}"),
    ("max_span_s", "Time for a span", "at most {:g} s"),
    ("max_large_tokens", "Large model's tokens in a reply", "at most {}"),
    ("max_reasoning_tokens", "Tokens of the reasoning", "at most {}"),
    ("max_usd", "Large model's cost of a reply", "at most {:g} USD"),
    ("deadline_s", "Time for a reply", "at most {:g} s"),
)
_GATES = (
    ("min_span_tokens", "Tokens that must be left for a span to open", "{} tokens"),
    ("min_small_tokens", "Small model's tokens before the first span", "at least {}"),
    ("min_gap_tokens", "Small model's tokens between two spans", "at least {}"),
)
_CONDITIONS = (
    ("min_offload_share", "the large model's share is {:.1%} or more"),
    ("min_usd", "the cost so far is {:g} USD or more"),
    ("pattern", "the text matches {!r}"),
)


@app.command("list")
def list_templates(as_json: options.AsJson = False) -> None:
    """List the ready-made policies."""
    found = [(name, Policy.template(name).summary) for name in policy_files.template_names()]
    if as_json:
        echo(json.dumps([{"name": name, "summary": summary} for name, summary in found]))
        return
    _print(found)


@app.command()
def show(
    policy: Annotated[str, typer.Argument(help="A ready-made policy's name, or a .toml file.")],
    as_json: options.AsJson = False,
) -> None:
    """Describe a policy: its own words, then each of its settings."""
    shown = policy_files.named(policy)
    _warn(shown)
    if as_json:
        echo(json.dumps({"name": policy, **asdict(shown)}))
        return
    _print([("Policy", policy), *_rows(shown)])


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="A ready-made policy's name.")],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write; standard output by default.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Write a ready-made policy with its comments, as the start of your own."""
    text = policy_files.template_text(name)
    if out is not None:
        _write(out, text, force=force)
    if as_json:
        echo(json.dumps({"name": name, "file": None if out is None else str(out), "toml": text}))
    elif out is None:
        echo(text, nl=False)
    else:
        echo(f"wrote {name} to {out}")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A policy file.")], as_json: options.AsJson = False
) -> None:
    """Validate a policy file; if it is not valid, exit with status 2 and name line and remedy.

    Warns where its words contradict its settings, and where a cap on the cost has no prices.
    """
    checked = Policy.load(file)
    warnings = _warn(checked)
    if as_json:
        facts = {"file": str(file), "valid": True, "warnings": warnings}
        echo(json.dumps({**facts, "policy": asdict(checked)}))
        return
    echo(f"{file} is a valid policy")


def _warn(policy: Policy) -> list[str]:
    """Print on standard error, and return, what contradicts itself in a policy."""
    warnings = policy_warnings(policy)
    for warning in warnings:
        print_lines(Screen(stderr=True, highlight=False), f"warning: {warning}")
    return warnings


def _write(path: Path, text: str, *, force: bool) -> None:
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ConfigurationError(f"{path} exists; --force replaces it") from error
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error


def _print(rows: Iterable[tuple[str, str]]) -> None:
    """Print a table on a terminal, otherwise one line per row."""
    console = Screen(highlight=False)
    if not console.is_terminal:
        for title, text in rows:
            echo(f"{title}: {text}")
        return
    table = Table(show_header=False, show_lines=True)
    table.add_column(style="bold")
    for row in rows:
        table.add_row(*row)
    print_table(console, table)


def _rows(policy: Policy) -> list[tuple[str, str]]:
    place = "in the reasoning, never in the answer" if policy.only_in_reasoning else "anywhere"
    return [
        *((title, words) for name, title in _WORDS if (words := getattr(policy, name))),
        ("What opens a span", policy.trigger or "what suits the two models"),
        ("What ends a span", policy.close or "what suits the small model"),
        *((title, _limit(getattr(policy, cap), form)) for cap, title, form in _CAPS),
        *((title, _limit(getattr(policy, gate), form)) for gate, title, form in _GATES),
        ("Where spans may be", place),
        ("A person is asked before a span", _asking(policy.ask_before)),
        ("A person is asked after a span", _asking(policy.ask_after)),
        ("Redacted for servers", ", ".join(policy.redact) or "nothing"),
        *((f"Where {_pairs(rule.when) or 'anything'}", _pairs(rule.set)) for rule in policy.rules),
        *((f"Large model {name}", _terms(policy, one)) for name, one in policy.models.items()),
    ]


def _limit(value: float | None, form: str) -> str:
    return "no cap" if value is None else form.format(value)


def _asking(rule: AskRule | None) -> str:
    if rule is None:
        return "never"
    conditions = [
        form.format(getattr(rule, name))
        for name, form in _CONDITIONS
        if getattr(rule, name) is not None
    ]
    if rule.metadata:
        conditions.append(_pairs(rule.metadata))
    often = "always" if rule.sample_rate == 1 else f"in {rule.sample_rate:.1%} of the cases"
    return f"{often} where {' and '.join(conditions)}" if conditions else often


def _pairs(data: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {_plain(value)}" for name, value in data.items())


def _plain(value: Any) -> str:
    if isinstance(value, AskRule):
        return _asking(value)
    if isinstance(value, float):
        return f"{value:g}"
    return NO_CAP if value is None else str(value)


def _terms(policy: Policy, terms: ModelTerms) -> str:
    """Return a model's prices and latency, and the largest cost and time of a span."""
    parts = []
    tokens = policy.max_span_tokens
    if terms.prices is not None:
        prices = terms.prices
        parts.append(f"{prices.input_usd:g} / {prices.output_usd:g} USD per million tokens")
        if tokens is not None:
            usd = prices.cost_usd(input_tokens=0, output_tokens=tokens)
            parts.append(f"a span's tokens cost at most {usd:g} USD")
    if terms.latency is not None:
        latency = terms.latency
        parts.append(f"{latency.round_trip_s:g} s and {latency.tokens_per_s:g} tokens/s")
        if tokens is not None:
            parts.append(f"a span takes at most {latency.seconds(tokens, 1):.1f} s")
    return "; ".join(parts) or "nothing known"
