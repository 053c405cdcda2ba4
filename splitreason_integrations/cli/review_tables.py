"""Tables of the review queue for a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from splitreason_integrations.cli.wrapping import print_lines
from splitreason_integrations.records.printable import harmless
from splitreason_integrations.reviews import Entry


def questions_table(entries: Sequence[Entry]) -> Table:
    """Return a table with one row per question."""
    table = Table(box=None, pad_edge=False)
    for words in ("question", "asked (UTC)", "status", "moment"):
        table.add_column(words, no_wrap=True)
    for numbers in ("span", "share", "USD"):
        table.add_column(numbers, justify="right", no_wrap=True)
    table.add_column("answer")
    for entry in entries:
        table.add_row(*(Text(harmless(cell)) for cell in _row(entry)))
    return table


def print_entry(entry: Entry, console: Console) -> None:
    """Print a question: its facts, the reply so far, and the large model's text if there is one."""
    question = entry.question
    facts = {
        "question": entry.id,
        "status": entry.status.value,
        "asked": entry.asked_at,
        "expires": entry.expires_at,
        "answer": _answer(entry) or None,
        "moment": f"{question.moment} span {question.span + 1}",
        "large model": question.model,
        "opened by": question.opened_by,
        "offload share so far": f"{question.offload_share:.1%}",
        "cost so far": f"{question.cost_usd:.6f} USD",
        **{f"metadata {name}": value for name, value in question.metadata.items()},
    }
    for name, value in facts.items():
        if value is not None:
            print_lines(console, harmless(f"{name}: {value}"))
    _print_text("the reply so far", question.context, console)
    if question.moment == "after":
        _print_text("what the large model wrote", question.text, console)


def _print_text(title: str, text: str, console: Console) -> None:
    console.print(Text(f"\n{title}:", style="bold"), soft_wrap=True)
    print_lines(console, harmless(text))


def _row(entry: Entry) -> list[str]:
    return [
        entry.id[:10],
        entry.asked_at[:16].replace("T", " "),
        entry.status.value,
        entry.question.moment,
        str(entry.question.span + 1),
        f"{entry.question.offload_share:.1%}",
        f"{entry.question.cost_usd:.6f}",
        _answer(entry),
    ]


def _answer(entry: Entry) -> str:
    answer = entry.answer
    if answer is None:
        return ""
    text = f" {answer.text!r}" if answer.text else ""
    return f"{answer.decision.value}{text} by {answer.by} at {answer.at}"
