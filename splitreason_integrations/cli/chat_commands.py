"""The commands of a conversation, such as /cost."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from splitreason_integrations.backends.registry import public_name
from splitreason_integrations.cli.chat_state import Conversation
from splitreason_integrations.errors import RequestError
from splitreason_integrations.records.view import facts_line

_NONE = "none"


@dataclass(frozen=True, slots=True)
class ChatCommand:
    """A command of the chat.

    Attributes:
        form: How it is typed.
        help: What it does.
        run: Runs it with what is typed behind it; returns what is said, None to end the chat.

    """

    form: str
    help: str
    run: Callable[[Conversation, str], str | None]


def run_command(talk: Conversation, line: str) -> str | None:
    """Run a line that begins with a slash; return what is said, None where the chat ends.

    Raises:
        SplitReasonError: There is no such command, or it cannot be done.

    """
    name, _, argument = line[1:].partition(" ")
    command = COMMANDS.get(name.lower())
    if command is None:
        close = get_close_matches(name.lower(), COMMANDS, n=1)
        meant = f"; did you mean /{close[0]}?" if close else ""
        raise RequestError(f"there is no command /{name}: /help lists them{meant}")
    argument = argument.strip()
    if argument and " " not in command.form:
        raise RequestError(f"{command.form} takes nothing behind it, got {argument!r}")
    return command.run(talk, argument)


def summary(talk: Conversation) -> str:
    """Return what all replies took, in one line."""
    replies = talk.replies
    if not replies:
        return "no reply yet"
    large = sum(reply.large_tokens for reply in replies)
    generated = large + sum(reply.small_tokens for reply in replies)
    facts = {
        "tokens": {"small": generated - large, "large": large},
        "spans": [span for reply in replies for span in reply.facts()["spans"]],
        "offload_share": large / generated if generated else 0.0,
        "latency_s": sum(reply.latency_s for reply in replies),
        "cost_usd": sum(reply.cost_usd for reply in replies),
    }
    count = "1 reply" if len(replies) == 1 else f"{len(replies)} replies"
    return f"{count}: {facts_line(facts)}"


def _help(talk: Conversation, argument: str) -> str:
    width = max(len(command.form) for command in COMMANDS.values())
    lines = (f"{command.form:{width}}  {command.help}" for command in COMMANDS.values())
    return "\n".join(
        [*lines, 'A line ending with \\ goes on in the next; """ begins and ends several lines.']
    )


def _small(talk: Conversation, argument: str) -> str:
    if argument:
        talk.use(replace(talk.pair, small=argument))
    return f"small model: {public_name(talk.engine.small)}"


def _large(talk: Conversation, argument: str) -> str:
    if argument:
        talk.use(replace(talk.pair, large=argument))
    names = talk.engine.large
    return f"large model: {public_name(names) if isinstance(names, str) else names}"


def _trigger(talk: Conversation, argument: str) -> str:
    if argument:
        talk.use(replace(talk.pair, trigger=None if argument == "auto" else argument))
    return f"trigger: {talk.pair.trigger or 'what suits the two models'}"


def _policy(talk: Conversation, argument: str) -> str:
    if argument:
        talk.use(replace(talk.pair, policy=None if argument == _NONE else argument))
    return f"policy: {talk.pair.policy or _NONE}"


def _cost(talk: Conversation, argument: str) -> str:
    return summary(talk)


def _save(talk: Conversation, argument: str) -> str:
    name = argument.strip("'\"")
    if not name:
        raise RequestError("name a file: /save chat.json")
    if not talk.replies:
        raise RequestError("nothing was said yet: ask something, and save it then")
    path = Path(name).expanduser()
    text = json.dumps(talk.data(), indent=2, ensure_ascii=False)
    try:
        with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{text}\n")
    except FileExistsError as error:
        raise RequestError(f"{path} exists: name another file") from error
    except (OSError, ValueError) as error:
        raise RequestError(f"{path}: cannot be written: {error}") from error
    return f"wrote {len(talk.messages)} messages to {path}"


def _clear(talk: Conversation, argument: str) -> str:
    talk.clear()
    return "the next question begins a new conversation"


def _quit(talk: Conversation, argument: str) -> None:
    return None


COMMANDS: Mapping[str, ChatCommand] = {
    "help": ChatCommand("/help", "list the commands", _help),
    "small": ChatCommand("/small [MODEL]", "show the small model, or use another", _small),
    "large": ChatCommand("/large [MODEL]", "show the large model, or use another", _large),
    "trigger": ChatCommand("/trigger [TEXT|auto]", "show or set what opens a span", _trigger),
    "policy": ChatCommand("/policy [NAME|FILE|none]", "show or set the policy", _policy),
    "cost": ChatCommand("/cost", "sum up tokens, time and cost of all replies", _cost),
    "save": ChatCommand("/save FILE", "write the conversation as JSON", _save),
    "clear": ChatCommand("/clear", "begin a new conversation", _clear),
    "quit": ChatCommand("/quit", "end the chat", _quit),
}
"""The commands by name."""
