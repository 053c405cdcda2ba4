"""What is typed at a terminal or piped in: texts of one line or several."""

import sys
from importlib import import_module
from importlib.util import find_spec

from splitreason_integrations.errors import RequestError

_PROMPT, _GOES_ON = "> ", "… "
_BLOCK = '"""'


class TypedLines:
    """Reads texts from standard input.

    A line that ends with a backslash goes on in the next one. A line that begins with three double
    quotes begins a text that goes on to the next three; where that begins with a slash, another one
    is put before it, which marks it as no command. At a terminal earlier lines come back with the
    arrow keys, where Python has readline.
    """

    def __init__(self) -> None:
        self.asked = sys.stdin.isatty()
        self._edits = self.asked and sys.stdout.isatty()
        if self._edits and find_spec("readline") is not None:
            import_module("readline")  # from then on `input` edits lines

    def next(self) -> str | None:
        """Return the next text without space around it; None at the end of input."""
        line = self._line(_PROMPT)
        if line is None:
            return None
        if line.lstrip().startswith(_BLOCK):
            return self._block(line.lstrip().removeprefix(_BLOCK))
        lines = [line]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            lines.append(self._line(_GOES_ON) or "")
        return "\n".join(lines).strip()

    def _block(self, first: str) -> str:
        lines = [first]
        while _BLOCK not in lines[-1]:
            line = self._line(_GOES_ON)
            if line is None:
                break
            lines.append(line)
        lines[-1] = lines[-1].partition(_BLOCK)[0]
        text = "\n".join(lines).strip()
        return f"/{text}" if text.startswith("/") else text

    def _line(self, prompt: str) -> str | None:
        """Return one line without its end; None at the end of input."""
        if self._edits:
            try:
                return input(prompt)
            except EOFError:
                print()
                return None
        if self.asked:
            print(prompt, end="", file=sys.stderr, flush=True)
        try:
            line = sys.stdin.readline()
        except UnicodeDecodeError as error:
            raise RequestError(f"standard input is no text in UTF-8: {error}") from error
        return line.removesuffix("\n") if line else None
