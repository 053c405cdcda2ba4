"""The `splitreason` command: results go to standard output, everything else to standard error."""

import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from splitreason_integrations import __version__
from splitreason_integrations.cli import (
    annotate,
    ask,
    audit,
    bench,
    calibrate,
    chat,
    demo,
    doctor,
    evaluate,
    plan,
    policy,
    recommend,
    review,
    shadow,
    train,
)
from splitreason_integrations.cli.help_texts import describe
from splitreason_integrations.cli.wrapping import print_lines
from splitreason_integrations.errors import SplitReasonError
from splitreason_integrations.humans.screen import Screen, echo
from splitreason_integrations.processes import environment
from splitreason_integrations.records.printable import harmless

_HELP = "Usage: "
"""How a help page begins."""

app = typer.Typer(
    name="splitreason",
    help="A small model writes the chain of thought and hands the hard spans to a large one.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        echo(f"splitreason {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options that come before a command."""


app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("ask")(ask.ask)
app.command("chat")(chat.chat)
app.command("eval")(evaluate.evaluate)
app.command("calibrate")(calibrate.calibrate)
app.command("shadow")(shadow.shadow)
app.command("recommend")(recommend.recommend)
app.command("plan")(plan.plan)
app.add_typer(bench.app, name="bench")
app.add_typer(audit.app, name="audit")
app.add_typer(policy.app, name="policy")
app.add_typer(review.app, name="review")
app.add_typer(annotate.app, name="annotate")
app.add_typer(train.app, name="train")
describe(app)


def main() -> None:
    """Run the command; an error prints one line on standard error and exits with status 2."""
    if find_spec("torch") is None:
        # transformers would print that models are not available; here they are on servers.
        environment.QUIET_TRANSFORMERS.set_default()
    try:
        status = app(standalone_mode=False, prog_name="splitreason")
    except (typer.TyperException, SplitReasonError) as error:
        text = error.format_message() if hasattr(error, "format_message") else str(error)
        if text.startswith(_HELP):  # a group of commands was named alone
            echo(text, err=True)
        else:
            line = f"splitreason: {harmless(' '.join(text.split()))}"
            print_lines(Screen(stderr=True, highlight=False), line)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        echo("splitreason: interrupted", err=True)
        sys.exit(130)
    sys.exit(status if isinstance(status, int) else 0)
