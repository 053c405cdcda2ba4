"""Questions at a terminal, typed answers and all: a pseudo-terminal stands in for the real one."""

import asyncio
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from splitreason_integrations import AskRule, HumanCheck, Paused, Question, SplitEngine
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.humans.console import ConsoleReviewer
from tests.limits import END_S
from tests.loop.engine_runs import request
from tests.reviews.review_runs import counting_pair

END_OF_INPUT = "\x04"
PROMPT = "[h]elp > "
PRESSED_AGAIN_S = 10.0


class Person:
    """Whoever sits at a terminal: reads the screen, types."""

    def __init__(self, screen):
        self._screen = screen
        self.seen = ""

    def read(self):
        """Read what is new on the screen, if anything comes."""
        if select.select([self._screen], [], [], 0.01)[0]:
            try:
                self.seen += os.read(self._screen, 65536).decode("utf-8", "replace")
            except OSError:  # nobody writes any more
                return False
        return True

    async def sees(self, text, times=1):
        """Wait until a text is on the screen."""
        while self.seen.count(text) < times:
            await asyncio.sleep(0.01)
            self.read()

    def types(self, text):
        os.write(self._screen, text.encode())


@contextmanager
def terminal():
    """Yield a person and the reviewer that asks them."""
    screen, device = pty.openpty()
    with os.fdopen(device, "r+b", buffering=0) as raw:
        keyboard = os.fdopen(os.dup(device))
        output = os.fdopen(os.dup(device), "w")
        console = Console(file=output, width=100, force_terminal=True, color_system=None)
        with keyboard, output:
            assert raw.isatty()
            yield Person(screen), ConsoleReviewer(by="ann", keyboard=keyboard, console=console)
    os.close(screen)


def paused(**more):
    facts = {
        "request_id": "r",
        "span": 2,
        "start_token": 7,
        "moment": "before",
        "model": "big",
        "opened_by": "tag",
        "context": "So far.",
        "offload_share": 0.123,
        "cost_usd": 0.5,
    }
    return Paused(Question(**{**facts, **more}), {})


async def asked(reviewer, person, one, *typed):
    """Return the answer of somebody who types one thing for each prompt."""
    answering = asyncio.ensure_future(reviewer.review(one))
    for number, text in enumerate(typed, 1):
        await person.sees(PROMPT, number)
        person.types(text)
    return await answering


@pytest.mark.parametrize(
    ("typed", "decision", "text"),
    [
        ("a\n", "approve", ""),
        ("approve\n", "approve", ""),
        ("  R\n", "refuse", ""),
        ("stop\n", "stop", ""),
        ("edit Mind the units.\n", "edit", "Mind the units."),
        ("e  hé 漢字\n", "edit", " hé 漢字"),
        ("e\none\n two\n.\n", "edit", "one\n two"),
    ],
)
async def test_what_is_typed(typed, decision, text):
    with terminal() as (person, reviewer):
        answer = await asked(reviewer, person, paused(), typed)
    assert (answer.decision, answer.text, answer.by) == (decision, text, "ann")


@pytest.mark.parametrize("typed", ["\n", "x\n", "approved\n", "?\n", "h\n", "e\n.\n", "e \n.\n"])
async def test_what_is_no_answer_asks_again(typed):
    with terminal() as (person, reviewer):
        answer = await asked(reviewer, person, paused(), typed, "r\n")
    assert answer.decision == "refuse"
    assert "hint" in person.seen or typed[0] == "e"


async def test_what_is_shown():
    context = "begin " + "x" * 2000 + " end"
    with terminal() as (person, reviewer):
        one = paused(context=context, moment="after", text="It is 42.", metadata={"tenant": "acme"})
        await asked(reviewer, person, replace(one, timeout_s=30), "m\n", "a\n")
    first, more = person.seen.split(PROMPT)[:2]
    for text in ("accept span 3 by big?", "It is 42.", "12.3%", "0.500000 USD", "opened by tag"):
        assert text in first
    assert "tenant: acme" in first
    assert "no answer within 30 s: refuse" in first
    assert "begin" not in first
    assert "begin" in more


async def test_risky_text_is_shown_and_does_nothing():
    risky = "[red]x[/red]\x1b[2J\x1b]0;title\x07\x9b5A\u202eevil\r\x00\ud800 [/nothing]"
    one = paused(context=risky, text=risky, moment="after", model=risky, opened_by=risky)
    one = Paused(replace(one.question, metadata={risky: risky}), {})
    with terminal() as (person, reviewer):
        await asked(reviewer, person, one, "m\n", "a\n")
    assert (
        r"[red]x[/red]\x1b[2J\x1b]0;title\x07\x9b5A\u202eevil\r\x00\ud800 [/nothing]" in person.seen
    )
    # The sequences on the screen are rich's own styles.
    assert not set(person.seen) & set("\x07\x9b\u202e\x00")
    assert "\x1b[2J" not in person.seen
    assert "\x1b]" not in person.seen


@pytest.mark.parametrize("typed", [END_OF_INPUT, f"e\n{END_OF_INPUT}", f"e\nhalf\n{END_OF_INPUT}"])
async def test_the_end_of_input_is_the_answer_for_no_answer(typed):
    with terminal() as (person, reviewer):
        one = Paused(paused().question, {}, None, "approve")
        answering = asyncio.ensure_future(reviewer.review(one))
        await person.sees(PROMPT)
        person.types(typed.removesuffix(END_OF_INPUT))
        await asyncio.sleep(0.1)
        person.types(END_OF_INPUT)
        answer = await answering
        await person.sees("no answer: approve")
    assert (answer.decision, answer.by) == ("approve", "end of input")


async def test_a_terminal_that_goes_away_is_the_end_of_input():
    screen, device = pty.openpty()
    with os.fdopen(device) as keyboard:
        console = Console(file=io.StringIO(), force_terminal=True)
        reviewer = ConsoleReviewer(by="ann", keyboard=keyboard, console=console)
        answering = asyncio.ensure_future(reviewer.review(paused()))
        await asyncio.sleep(0.1)
        os.close(screen)
        assert (await answering).by == "end of input"


async def test_what_was_typed_before_the_question_does_not_answer_it():
    with terminal() as (person, reviewer):
        person.types("approve\n")
        await asyncio.sleep(0.05)
        answer = await asked(reviewer, person, paused(), "r\n")
    assert answer.decision == "refuse"


async def test_one_question_at_a_time():
    with terminal() as (person, reviewer):
        questions = [paused(request_id=f"r{number}", context=f"<{number}>") for number in range(3)]
        answering = [asyncio.ensure_future(reviewer.review(one)) for one in questions]
        for number in range(1, 4):
            await person.sees(PROMPT, number)
            await asyncio.sleep(0.2)
            person.read()
            assert person.seen.count(PROMPT) == number
            person.types(f"e {number}\n")
        answers = await asyncio.gather(*answering)
    order = [person.seen.index(f"<{number}>") for number in range(3)]
    ranks = [sorted(order).index(place) + 1 for place in order]
    assert [answer.text for answer in answers] == [str(rank) for rank in ranks]


async def test_out_of_time_while_it_waits():
    with terminal() as (person, reviewer):
        check = HumanCheck(reviewer=reviewer, timeout_s=0.3, on_timeout="stop")
        answer = await check.answer(paused())
        assert (answer.decision, answer.by) == ("stop", "timeout")
        await person.sees("this question is closed")
        assert (await asked(reviewer, person, paused(), "", "a\n")).decision == "approve"


async def test_cancelled_where_it_waits_for_its_turn():
    with terminal() as (person, reviewer):
        first = asyncio.ensure_future(reviewer.review(paused()))
        await person.sees(PROMPT)
        second = asyncio.ensure_future(reviewer.review(paused(request_id="other")))
        await asyncio.sleep(0.2)
        second.cancel()
        await asyncio.wait([second])
        assert second.cancelled()
        person.types("a\n")
        assert (await first).decision == "approve"
    assert "other" not in person.seen


async def test_three_questions_in_one_reply():
    with terminal() as (person, reviewer):
        check = HumanCheck(reviewer=reviewer, before=AskRule(), after=AskRule())
        engine = SplitEngine(**counting_pair(), human_check=check)
        running = asyncio.ensure_future(engine.complete(request(max_tokens=400)))
        for number, typed in enumerate(("a", "e  Mine.", "r", "a", "s"), 1):
            await person.sees(PROMPT, number)
            person.types(f"{typed}\n")
        reply = await running
    assert reply.reasoning == "One. Mine. Two. Three."
    assert [span.human for span in reply.spans] == [
        "approve by ann, edit by ann",
        "approve by ann, stop by ann",
    ]


async def test_no_terminal_is_named():
    with pytest.raises(ConfigurationError, match="standard input is no terminal"):
        await ConsoleReviewer(keyboard=io.StringIO("approve\n")).review(paused())
    with terminal() as (_, reviewer):
        blind = replace(reviewer, console=Console(file=sys.stdout))
        with pytest.raises(ConfigurationError, match="standard error is no terminal"):
            await blind.review(paused())


def test_the_command_names_it_before_any_work(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    failed = run("ask", "hi", "--check", "before", status=2)
    assert "nobody can be asked" in failed.err
    assert "Invalid value" in run("ask", "hi", "--check", "perhaps", status=2).err


QUESTION = (
    "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards. "
    "How many cards does Mia have now?"
)


@contextmanager
def command(*arguments):
    """Run the command at a terminal of its own; yield the process and the person there."""
    code = (
        "import faulthandler, signal; faulthandler.register(signal.SIGUSR1, all_threads=True); "
        # Whoever runs the tests in the background has them, and what they start, ignore Ctrl-C.
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from splitreason_integrations.cli import main; main()"
    )
    screen, device = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, "ask", QUESTION, *arguments],
        stdin=device,
        stdout=device,
        stderr=device,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "LOGNAME": "carol", "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(device)
    try:
        yield process, Person(screen)
    finally:
        process.kill()
        process.wait()
        os.close(screen)


def status_of(process, person, *, interrupting=False):
    """Return a command's exit status once it has ended and all is read."""
    pressed_s, late_s = 0.0, time.monotonic() + END_S
    while person.read():
        if time.monotonic() > late_s:
            process.send_signal(signal.SIGUSR1)
            time.sleep(1.0)
            person.read()
            pytest.fail(f"the command does not end: {person.seen[-4000:]}")
        if interrupting and time.monotonic() > pressed_s + PRESSED_AGAIN_S:
            # An interrupt that meets the interpreter in a callback is lost: people press again.
            process.send_signal(signal.SIGINT)
            pressed_s = time.monotonic()
    return process.wait()


@pytest.mark.slow
def test_the_command_asks():
    with command("--check", "both", "--json") as (process, person):
        for number in range(1, 5):
            asyncio.run(person.sees(PROMPT, number))
            person.types("a\n")
        assert status_of(process, person) == 0
    facts = json.loads(person.seen[person.seen.rindex('{"answer"') :].splitlines()[0])
    assert facts["answer"] == "Mia has 1069 cards now."
    assert [span["human"] for span in facts["spans"]] == ["approve by carol, approve by carol"] * 2


def test_the_command_can_be_interrupted_while_it_asks():
    with command("--check", "before") as (process, person):
        asyncio.run(person.sees(PROMPT))
        # One that is pressed again may meet the interpreter at its end, which dies of it.
        assert status_of(process, person, interrupting=True) in (130, -signal.SIGINT)
    assert "this question is closed" in person.seen
