"""Document analysis: contracts, invoices and reports that must be compared with each other."""

import random
from collections.abc import Callable
from datetime import date, timedelta

from splitreason_integrations.annotation.samples.cases import Case, Hard, usd
from splitreason_integrations.annotation.samples.support import day

_FIRMS = ("Orlan", "Vestra", "Kilder", "Moraine", "Tessel", "Quill & Sons", "Nordhafen", "Ardent")
_GOODS = ("pallets", "sensors", "valves", "crates", "panels", "filters")
_LINES = ("cloud", "hardware", "services", "licences")


def notice(rng: random.Random) -> Case:
    """Ask whether a notice ends a contract in time, by two clauses that refer to each other."""
    first, second = rng.sample(_FIRMS, 2)
    ends = date(2027, 1, 31) + timedelta(rng.randrange(330))
    term = rng.choice((30, 45, 60, 90))
    served = rng.choice((3, 5, 7))
    latest = ends - timedelta(term)
    sent = latest - timedelta(rng.randrange(-9, 12))
    received = sent + timedelta(served)
    in_time = received <= latest
    question = (
        f"Clause 4.2: the agreement between {first} and {second} runs until {day(ends)} and is "
        f"renewed for a year unless notice is served at least {term} days before. Clause 11.1: a "
        f"notice by post counts as served {served} days after it was sent. {first} posted its "
        f"notice on {day(sent)}. Is the agreement renewed?"
    )
    verdict = "not renewed" if in_time else "renewed for a year"
    compared = "is not later than" if in_time else "comes after"
    paragraphs = (
        (
            "Clause 4.2 sets the end and the length of the notice.",
            "Clause 11.1 says when a notice by post counts.",
            "Both are needed together.",
        ),
        (
            Hard(f"Going back {term} days from {day(ends)} gives {day(latest)} as the last day."),
            Hard(f"The notice posted on {day(sent)} counts {served} days later, {day(received)}."),
            Hard(
                f"{day(received)} {compared} {day(latest)}, so under both clauses the agreement is "
                f"{verdict}."
            ),
            "I quote both clauses in the answer.",
        ),
    )
    return Case(question, paragraphs, f"The agreement is {verdict}.")


def invoice(rng: random.Random) -> Case:
    """Ask whether an invoice of three lines and a discount matches its order."""
    firm, goods = rng.choice(_FIRMS), rng.sample(_GOODS, 3)
    counts = [rng.randrange(12, 90) for _ in goods]
    prices = [rng.randrange(11, 95) * 100 for _ in goods]
    sums = [count * price for count, price in zip(counts, prices, strict=True)]
    net = sum(sums)
    discount = rng.choice((2, 3, 5))
    due = net - net * discount // 100
    stated = due if rng.random() < 0.5 else due + rng.randrange(1, 40) * 100
    ordered = "; ".join(
        f"{count} {name} at {usd(price)}"
        for count, name, price in zip(counts, goods, prices, strict=True)
    )
    question = (
        f"Order to {firm}: {ordered}; {discount} percent discount on the whole. The invoice asks "
        f"for {usd(stated)}. Does it fit the order?"
    )
    lines: tuple[str | Hard, ...] = tuple(
        Hard(f"The {name} come to {count} * {usd(price)} = {usd(total)}.")
        for name, count, price, total in zip(goods, counts, prices, sums, strict=True)
    )
    wrong = stated - due
    compared: str | Hard = "That is the amount of the invoice."
    if wrong:
        compared = Hard(f"The invoice asks for {usd(stated)} - {usd(due)} = {usd(wrong)} more.")
    paragraphs = (
        ("I rebuild the amount from the order, line by line.", *lines),
        (
            Hard(f"Together: {' + '.join(map(usd, sums))} = {usd(net)}."),
            Hard(f"The discount is {usd(net)} * {discount / 100:.2f} = {usd(net - due)}."),
            Hard(f"Due are {usd(net)} - {usd(net - due)} = {usd(due)}."),
            compared,
            "I note the result beside the invoice.",
        ),
    )
    answer = f"No: it asks for {usd(wrong)} too much." if wrong else "Yes."
    return Case(question, paragraphs, answer)


def growth(rng: random.Random) -> Case:
    """Ask which line of business grew fastest, by a table and a note that changes it."""
    firm, lines = rng.choice(_FIRMS), rng.sample(_LINES, 3)
    before = [rng.randrange(120, 900) for _ in lines]
    after = [value + rng.randrange(15, 320) for value in before]
    moved = rng.randrange(12, min(after) // 2)
    restated = [after[0] - moved, after[1] + moved, after[2]]
    rates = [100 * (b - a) / a for a, b in zip(before, restated, strict=True)]
    fastest = lines[rates.index(max(rates))]
    rows = "; ".join(f"{line} {a} and {b}" for line, a, b in zip(lines, before, after, strict=True))
    question = (
        f"Report of {firm}, sales of last year and this year in thousands: {rows}. Note 7: "
        f"this year's figure for {lines[0]} still holds {moved} that belong to {lines[1]}. Which "
        "line grew fastest?"
    )
    growths: tuple[str | Hard, ...] = tuple(
        Hard(f"{line.capitalize()} went from {a} to {b}: ({b} - {a}) / {a} = {rate:.1f} percent.")
        for line, a, b, rate in zip(lines, before, restated, rates, strict=True)
    )
    paragraphs = (
        (
            "The table has two years for three lines.",
            "Note 7 changes two of the figures, so the table cannot be used as it stands.",
            Hard(f"{lines[0].capitalize()} becomes {after[0]} - {moved} = {restated[0]}."),
            Hard(f"{lines[1].capitalize()} becomes {after[1]} + {moved} = {restated[1]}."),
            f"The figure for {lines[2]} stays.",
        ),
        (
            "Now the growth of each line.",
            *growths,
            f"The highest of the three belongs to {fastest}.",
        ),
    )
    return Case(question, paragraphs, f"{fastest.capitalize()}.")


CASES: tuple[Callable[[random.Random], Case], ...] = (notice, invoice, growth)
"""Generators of this domain's cases."""
