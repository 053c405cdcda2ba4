"""`splitreason chat`: questions and commands, piped in and at a terminal of the real pair."""

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from splitreason_integrations.cli.typed_lines import TypedLines
from tests.limits import HANGS_S

CARDS = (
    "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards. "
    "How many cards does Mia have now?"
)
LAMPS = (
    "Tom makes 38 lamps a day for 64 days. Then Tom sells 715 lamps. "
    "How many lamps does Tom have now?"
)
_ACTS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")


@pytest.fixture
def typed(monkeypatch):
    """Put lines on standard input."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_piped_questions_are_answered_one_after_another(run, typed):
    typed(f"{CARDS}\n\n{LAMPS}\n/cost\n")
    done = run("chat", "--seed", "1")
    assert "⟦ 940+141 = 1081⟧" in done.out
    assert done.out.index("Mia has 1069 cards now.") < done.out.index("Tom has 1717 lamps now.")
    assert "\x1b" not in done.out
    assert "> " not in done.out
    assert "2 replies: " in done.err


def test_a_later_question_is_asked_with_what_was_said(run, typed, tmp_path):
    file = tmp_path / "chat.json"
    typed(f"{CARDS}\nHello\n/save {file}\n/clear\n{CARDS}\n/save {tmp_path}/b.json\n")
    run("chat", "--seed", "1")
    saved = json.loads(file.read_text("utf-8"))
    said = [(one["role"], one["content"]) for one in saved["messages"]]
    assert said[:3] == [
        ("user", CARDS), ("assistant", "Mia has 1069 cards now."), ("user", "Hello"),
    ]  # fmt: skip
    assert len(saved["replies"]) == 2
    assert saved["replies"][0]["tokens"]["large"] == 25
    cleared = json.loads((tmp_path / "b.json").read_text("utf-8"))
    assert cleared["messages"][0]["content"] == CARDS
    assert len(cleared["messages"]) == 2
    assert len(cleared["replies"]) == 3


def test_models_trigger_and_policy_are_changed_in_the_conversation(run, typed):
    typed(
        "/small\n/trigger never\n/trigger\n"
        f"{CARDS}\n/trigger auto\n/policy cost-first\n/large embedded:base\n/large\n/policy none\n"
        "/policy\n"
    )
    done = run("chat")
    assert "small model: embedded\n" in done.err
    assert "trigger: never\n" in done.err
    assert "0 by the large model (0.0%) in 0 spans" in done.err
    assert "trigger: what suits the two models\n" in done.err
    assert "policy: cost-first\n" in done.err
    assert "large model: embedded:base\n" in done.err
    assert done.err.endswith("policy: none\n")
    assert "⟦" not in done.out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/bogus", "there is no command /bogus"),
        ("/polcy none", "did you mean /policy?"),
        ("/trigger nonsense", "nonsense"),
        ("/small hf:/nowhere", "/nowhere"),
        ("/policy nowhere.toml", "nowhere.toml"),
        ("/save", "/save chat.json"),
        ("/save /nowhere/chat.json", "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_an_error_with_its_remedy(run, typed, line, said):
    typed(f"Hello\n{line}\n{CARDS}\n" if line.startswith("/save /") else f"{line}\nHello\n")
    done = run("chat", status=2)
    assert said in done.err
    assert "Mia" not in done.out


@pytest.mark.parametrize("command", ["help", "cost", "clear", "quit"])
def test_commands_refuse_what_they_do_not_take(run, typed, command):
    typed(f"/{command} now\nHello\n")
    done = run("chat", status=2)
    assert f"/{command} takes nothing behind it, got 'now'" in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("line", "said"), [("/save chat.json", "nothing was said yet"), ("/save ''", "name a file")]
)
def test_a_conversation_without_a_reply_is_not_saved(run, typed, line, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed(f"{line}\n")
    assert said in run("chat", status=2).err
    assert not list(tmp_path.iterdir())


def test_what_no_reply_took_is_no_zero(run, typed):
    typed("/cost\n")
    done = run("chat")
    assert done.err == "no reply yet\n"


def test_a_conversation_that_is_too_long_can_be_cleared(run, typed):
    long = f"{CARDS} {'word ' * 2500}"
    typed(f"{CARDS}\n{long}\n/clear\n{CARDS}\n")
    done = run("chat", status=2)
    assert "the conversation is too long: the prompt has" in done.err
    assert "or begin a new one with /clear" in done.err
    typed(f"{long}\n")
    alone = run("chat", status=2)
    assert "the prompt has" in alone.err
    assert "/clear" not in alone.err  # there is nothing to clear


def test_a_file_is_not_overwritten(run, typed, tmp_path):
    file = tmp_path / "mine.json"
    file.write_text("mine")
    typed(f"{CARDS}\n/save {file}\n")
    assert "exists" in run("chat", status=2).err
    assert file.read_text() == "mine"


def test_help_lists_every_command_and_quit_ends_the_chat(run, typed):
    typed(f"/help\n/quit\n{CARDS}\n")
    done = run("chat")
    for name in ("/small", "/large", "/trigger", "/policy", "/cost", "/save", "/clear", "/quit"):
        assert name in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("lines", "texts"),
    [
        ("one\ntwo\n", ["one", "two"]),
        ("one\\\ntwo\n", ["one\ntwo"]),
        ("one\\", ["one"]),
        ('"""one\n\ntwo"""\nthree', ["one\n\ntwo", "three"]),
        ('"""one"""\n', ["one"]),
        ('  """\n/quit\n  """ rest\n', ["//quit"]),
        ('"""never\nclosed', ["never\nclosed"]),
        ("\n", [""]),
        ("", []),
    ],
)
def test_texts_of_several_lines(typed, lines, texts):
    typed(lines)
    reader = TypedLines()
    assert list(iter(reader.next, None)) == texts


def test_a_question_may_begin_with_a_slash(run, typed, tmp_path):
    typed(f'//a/b or c?\n"""\n/quit\n"""\n/save {tmp_path}/c.json\n')
    run("chat")
    saved = json.loads((tmp_path / "c.json").read_text("utf-8"))
    asked = [one["content"] for one in saved["messages"] if one["role"] == "user"]
    assert asked == ["/a/b or c?", "/quit"]


def test_a_pair_that_cannot_be_loaded_leaves_the_one_before(run, typed, monkeypatch):
    monkeypatch.setattr(TypedLines, "asked", True, raising=False)
    monkeypatch.setattr(TypedLines, "__init__", lambda self: setattr(self, "_edits", False))
    typed(f"/small hf:/nowhere\n/small\n{CARDS}\n")
    done = run("chat", "--seed", "1")
    assert "error: hf:/nowhere cannot be loaded" in done.err
    assert "small model: embedded\n" in done.err
    assert "Mia has 1069 cards now." in done.out


def test_what_is_no_text_is_an_error(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n"), "utf-8"))
    assert "UTF-8" in run("chat", status=2).err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n"), "utf-8"))
    assert "UTF-8" in run("ask", "-", status=2).err


def test_ask_reads_standard_input(run, typed):
    typed(f"{CARDS}\n")
    assert "Mia has 1069 cards now." in run("ask", "-", "--seed", "1").out
    typed(" \n")
    assert "standard input is empty" in run("ask", "-", status=2).err


PRESSED_AGAIN_S = 20.0
"""After a Ctrl-C that is heard, a chat says so at once."""


class Terminal:
    """The command at a terminal of its own, 60 columns wide."""

    def __init__(self, *arguments):
        self.master, slave = pty.openpty()
        environment = {
            **os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "60", "TERM": "xterm", "NO_COLOR": "1",
        }  # fmt: skip
        code = "from splitreason_integrations.cli import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "chat", *arguments],
            stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
            preexec_fn=_take_terminal,
        )  # fmt: skip
        os.close(slave)
        self.shown = ""

    def until(self, text, since=0):
        """Read until a text is shown behind a place; return that place's end."""
        end = time.monotonic() + HANGS_S
        while text not in self.shown[since:]:
            assert time.monotonic() < end, self.shown
            self._read()
        return self.shown.index(text, since) + len(text)

    def _read(self):
        """Read what is shown within a second."""
        if not select.select([self.master], [], [], 1)[0]:
            return
        try:
            new = os.read(self.master, 4096)
        except OSError:
            new = b""
        assert new, self.shown
        self.shown += _ACTS.sub("", new.decode("utf-8", "replace"))

    def interrupt(self, says):
        """Press Ctrl-C until a text is shown; return its end.

        Python loses an interrupt that comes between the prompt of `input` and its wait for a line.
        """
        since, pressed_at = len(self.shown), 0.0
        while says not in self.shown[since:]:
            if time.monotonic() - pressed_at > PRESSED_AGAIN_S:
                self.type("\x03")
                pressed_at = time.monotonic()
            self._read()
        return self.shown.index(says, since) + len(says)

    def type(self, text):
        os.write(self.master, text.encode())

    def ended(self):
        """Read what is still shown; return the status."""
        while True:
            try:
                if not (new := os.read(self.master, 4096)):
                    break
            except OSError:
                break
            self.shown += _ACTS.sub("", new.decode("utf-8", "replace"))
        return self.process.wait(HANGS_S)


def _take_terminal():
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal():
    opened = []

    def start(*arguments):
        opened.append(Terminal(*arguments))
        return opened[-1]

    yield start
    for one in opened:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
        one.process.wait()
        os.close(one.master)


def test_a_conversation_at_a_terminal(terminal):
    chat = terminal("--seed", "1")
    at = chat.until("> ")
    chat.type(f"{CARDS}\n")
    at = chat.until("Mia has 1069 cards now.", at)
    at = chat.until("> ", at)
    reply = chat.shown[chat.shown.index("Let me go") : at]
    assert all(len(line) <= 60 for line in reply.split("143 tokens")[0].splitlines())
    chat.type("/cost\n")
    at = chat.until("1 reply: 143 tokens, 25 by the large model", at)
    chat.until("> ", at)
    chat.type("\x04")
    assert chat.ended() == 0
    assert "\nchat ended: " in chat.shown


def test_ctrl_c_ends_a_reply_and_keeps_the_conversation_and_twice_ends_the_chat(terminal, tmp_path):
    chat = terminal("--seed", "1", "--max-tokens", "1900", "--trigger", "never")
    at = chat.until("> ")
    chat.type(f"{CARDS}\n")
    at = chat.until("tokens, 0 by the large model", at)
    chat.until("> ", at)
    at = chat.interrupt("Ctrl-C again ends the chat")
    at = chat.until("> ", at)
    chat.type(f"{LAMPS}\n")
    at = chat.until("Let me", at)
    chat.type("\x03")
    at = chat.until("interrupted; Ctrl-C again ends the chat", at)
    at = chat.until("> ", at)
    file = tmp_path / "kept.json"
    chat.type(f"/save {file}\n")
    at = chat.until("wrote 2 messages", at)
    chat.until("> ", at)
    assert json.loads(file.read_text("utf-8"))["messages"][0]["content"] == CARDS
    at = chat.interrupt("Ctrl-C again ends the chat")
    chat.until("> ", at)
    chat.interrupt("chat ended: 1 reply: ")
    assert chat.ended() == 130
    assert "\nchat ended: 1 reply: " in chat.shown
