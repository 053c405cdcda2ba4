"""Customer support: refunds, return windows and credits, decided by a policy."""

import random
from collections.abc import Callable
from datetime import date, timedelta

from splitreason_integrations.annotation.samples.cases import Case, Hard, usd

_NAMES = ("Amara", "Bela", "Chen", "Dario", "Elif", "Farid", "Greta", "Hana", "Ivo", "Jun")
_PRODUCTS = ("microphone", "desk lamp", "kettle", "backpack", "keyboard", "monitor arm")
_PLANS = ("Team", "Studio", "Business", "Research")


def day(when: date) -> str:
    """Return a date as text, such as March 5, 2026."""
    return f"{when:%B} {when.day}, {when.year}"


def return_window(rng: random.Random) -> Case:
    """Ask whether an order can still be returned, and how much is refunded after the fee."""
    name, product = rng.choice(_NAMES), rng.choice(_PRODUCTS)
    window, fee = rng.choice((14, 21, 30, 45)), rng.choice((10, 12, 15, 20))
    price = rng.randrange(20, 400) * 100
    delivered = date(2026, 1, 1) + timedelta(rng.randrange(300))
    passed = rng.randrange(5, window + 12)
    asked, last = delivered + timedelta(passed), delivered + timedelta(window)
    kept = price * fee // 100
    question = (
        f"Ticket from {name}: my {product} arrived on {day(delivered)} and I opened the box. Today "
        f"is {day(asked)}. I paid {usd(price)}. Can I send it back, and what do I get?\nPolicy: "
        f"returns within {window} days of delivery. Opened items carry a restocking fee of {fee} "
        "percent."
    )
    counted = Hard(
        f"From {day(delivered)}, {window} days lead to {day(last)}, and {day(asked)} is "
        f"{passed} days after the delivery."
    )
    begin = (
        f"{name} wants to send back a {product}.",
        "The policy has two parts: a window of time and a fee for opened boxes.",
        "I look at the window first.",
        counted,
    )
    if passed > window:
        late = (
            Hard(f"That is {passed} - {window} = {passed - window} days too late."),
            "The fee does not matter then.",
            "I decline politely and name the last day.",
        )
        return Case(question, (begin, late), f"No: the last day was {day(last)}.")
    decided = (
        "So the return is in time.",
        "The box was opened, so the fee applies.",
        Hard(f"{fee} percent of {usd(price)} is {usd(price)} * {fee / 100:.2f} = {usd(kept)}."),
        Hard(f"The refund is {usd(price)} - {usd(kept)} = {usd(price - kept)}."),
        "I tell the customer the amount and how to send the parcel.",
    )
    return Case(question, (begin, decided), f"Yes: {usd(price - kept)}.")


def upgrade(rng: random.Random) -> Case:
    """Ask what a change of plan in the middle of a month costs."""
    name, (old, new) = rng.choice(_NAMES), rng.sample(_PLANS, 2)
    seats, days = rng.randrange(12, 60), 30
    left = rng.randrange(4, 27)
    low = rng.randrange(6, 15) * 300
    high = low + rng.randrange(2, 9) * 300
    daily = (high - low) // days
    total = daily * left * seats
    question = (
        f"{name} writes: we have {seats} seats on the {old} plan at {usd(low)} a seat and month, "
        f"and want the {new} plan at {usd(high)} from now on. {left} of the {days} days of this "
        "month are left. What will this month's extra invoice say?"
    )
    paragraphs = (
        (
            f"The customer goes from the {old} plan to the {new} plan.",
            f"There are {seats} seats.",
            f"The month has {days} days and {left} of them are left.",
            "Only the difference for the rest of the month is due.",
        ),
        (
            Hard(f"The difference is {usd(high)} - {usd(low)} = {usd(high - low)} a seat."),
            Hard(f"A day of it is {usd(high - low)} / {days} = {usd(daily)}."),
            Hard(f"For {left} days that makes {usd(daily)} * {left} = {usd(daily * left)} a seat."),
            Hard(
                f"For all seats it is {usd(daily * left)} * {seats} = {usd(total)}, which is what "
                "the extra invoice says."
            ),
            "I also say that the next full invoice has the new price.",
        ),
    )
    return Case(question, paragraphs, f"{usd(total)}.")


def outage(rng: random.Random) -> Case:
    """Ask which credit an outage gives under a tiered agreement."""
    name = rng.choice(_NAMES)
    fee, minutes_of_month = rng.randrange(400, 4000) * 100, 30 * 24 * 60
    parts = [rng.randrange(11, 140) for _ in range(3)]
    down = sum(parts)
    up = 100 * (minutes_of_month - down) / minutes_of_month
    credit = 0 if up >= 99.9 else 10 if up >= 99.5 else 25
    question = (
        f"{name} asks about the credit for June. Outages: {parts[0]}, {parts[1]} and {parts[2]} "
        f"minutes. The monthly fee is {usd(fee)}. Agreement: below 99.9 percent 10 percent of the "
        "fee, below 99.5 percent 25 percent of the fee. June has 43,200 minutes."
    )
    comparison = {
        0: f"Since {up:.3f} is not below 99.9, no step of the agreement applies.",
        10: f"Since {up:.3f} is below 99.9 but not below 99.5, the first step applies alone.",
        25: f"Since {up:.3f} is below 99.5, the second step takes the place of the first.",
    }[credit]
    amount = fee * credit // 100
    ending: tuple[str | Hard, ...] = ("There is no credit.", "I explain why, with the figures.")
    if credit:
        sum_up = f"The credit is {usd(fee)} * {credit / 100:.2f} = {usd(amount)}."
        ending = (Hard(sum_up), "I book it on the next invoice.")
    paragraphs = (
        (
            "The agreement speaks of the share of time that the service was up.",
            "I need all outages of June together.",
            Hard(f"Together they are {parts[0]} + {parts[1]} + {parts[2]} = {down} minutes."),
            Hard(f"Up were 43,200 - {down} = {minutes_of_month - down:,} minutes."),
            Hard(f"As a share that is {minutes_of_month - down:,} / 43,200 = {up:.3f} percent."),
        ),
        (Hard(comparison), *ending),
    )
    return Case(question, paragraphs, f"{usd(amount)}." if credit else "No credit.")


CASES: tuple[Callable[[random.Random], Case], ...] = (return_window, upgrade, outage)
"""Generators of this domain's cases."""
