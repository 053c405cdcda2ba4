"""`splitreason chat`: a conversation in the terminal."""

from typing import Annotated, Any

from splitreason_integrations.cli import options
from splitreason_integrations.cli.ask import stream
from splitreason_integrations.cli.chat_commands import run_command, summary
from splitreason_integrations.cli.chat_state import Conversation, Pair
from splitreason_integrations.cli.display import choice_line, cost_line, load_models
from splitreason_integrations.cli.typed_lines import TypedLines
from splitreason_integrations.cli.wrapping import print_lines
from splitreason_integrations.errors import ContextOverflowError, SplitReasonError
from splitreason_integrations.humans.screen import Screen
from splitreason_integrations.records.printable import harmless


@options.with_declared
def chat(
    small: options.Small = None,
    large: options.Large = None,
    trigger: options.OwnTrigger = None,
    close: options.OwnClose = None,
    policy: options.PolicyName = None,
    max_share: options.MaxShare = None,
    max_tokens: options.MaxTokens = 1024,
    thinking: options.Thinking = None,
    seed: Annotated[int, options.declared("seed", has_default=True)] = 0,
    api_key_env: options.ApiKeyEnv = None,
    **given: Any,
) -> None:
    """Talk with the pair: each question is answered with the conversation so far.

    A line that ends with a backslash goes on in the next one; a text between two lines of three
    double quotes may have any lines. /help lists the commands; two slashes begin a question with
    one. Ctrl-C ends a reply, twice the chat, and so do /quit and Ctrl-D. Without a terminal each
    line of standard input is a question.
    """
    small, large = options.pair(small, large)
    pair = Pair(small, large, trigger, close, policy, max_share, api_key_env, given)
    talk = Conversation(pair, max_tokens=max_tokens, thinking=thinking, seed=seed)
    load_models(talk.engine)
    _Session(talk).run()


class _Session:
    """Reads what is typed and answers it, until the end of input or the second Ctrl-C in a row."""

    def __init__(self, talk: Conversation) -> None:
        self._talk = talk
        self._lines = TypedLines()
        self._answers = Screen(highlight=False)
        self._remarks = Screen(stderr=True, highlight=False)
        self._interrupts = 0

    def run(self) -> None:
        if not self._lines.asked:
            self._answer_all()
            return
        self._remark("Ask something; /help lists the commands, /quit or Ctrl-D ends the chat.")
        try:
            self._answer_all()
        except KeyboardInterrupt:
            self._remark("")  # behind the prompt
            raise
        finally:
            self._remark(f"chat ended: {summary(self._talk)}")

    def _answer_all(self) -> None:
        while True:
            try:
                text = self._lines.next()
                self._interrupts = 0
                if text is None or (text and not self._take(text)):
                    return
            except KeyboardInterrupt as error:
                # A second one while the reply was being ended has the first as its context.
                self._interrupted(1 + isinstance(error.__context__, KeyboardInterrupt))
            except SplitReasonError as error:
                if not self._lines.asked:
                    raise  # a program that pipes its questions sees the status
                self._remark(f"error: {' '.join(str(error).split())}")

    def _take(self, text: str) -> bool:
        """Run a command or answer a question; return whether the chat goes on."""
        if text.startswith("/") and not text.startswith("//"):
            return self._command(text)
        text = text.removeprefix("/")
        try:
            reply = stream(self._talk.engine, self._talk.request(text), self._answers)
        except ContextOverflowError as error:
            if not self._talk.messages:
                raise
            raise ContextOverflowError(
                f"the conversation is too long: {error}; or begin a new one with /clear"
            ) from error
        self._talk.answered(text, reply)
        for line in filter(None, (cost_line(reply), choice_line(reply))):
            self._remark(line)
        return True

    def _command(self, text: str) -> bool:
        before = self._talk.pair
        try:
            said = run_command(self._talk, text)
            if self._talk.pair is not before:
                load_models(self._talk.engine)
        except BaseException:
            self._talk.use(before)  # a pair that cannot be loaded answers nothing
            raise
        if said is not None:
            self._remark(said)
        return said is not None

    def _interrupted(self, times: int) -> None:
        self._interrupts += times
        if self._interrupts > 1 or not self._lines.asked:
            raise KeyboardInterrupt
        self._remark("\ninterrupted; Ctrl-C again ends the chat")

    def _remark(self, text: str) -> None:
        print_lines(self._remarks, harmless(text), "dim")
