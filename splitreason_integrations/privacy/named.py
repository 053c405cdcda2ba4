"""Finds secrets by the names before them: settings, JSON, headers, addresses, command lines, prose.

Every scan is bounded, so that time grows with the length of the text alone.
"""

import re
from collections.abc import Iterator

from splitreason_integrations.privacy.command_lines import is_basic, passwords_of_commands
from splitreason_integrations.privacy.names import (
    is_drawn,
    is_expression,
    is_for_passwords,
    is_nothing,
    is_prose,
    is_secret_name,
    is_weak_name,
)

_LONGEST_NAME = 64
_LONGEST = 4096
_ANCHOR = re.compile(
    r"pass|pwd|sess|kennwort|secret|token|key|credential|bearer|basic|auth|cookie|session|senha|contrase"
    r"|parole|cvv|cvc|\u043f\u0430\u0440\u043e\u043b\u044c|\u5bc6\u7801|\u5bc6\u78bc"
    r"|\u30d1\u30b9\u30ef\u30fc\u30c9|\u6697\u8a3c\u756a\u53f7|\ube44\ubc00\ubc88\ud638",
    re.IGNORECASE,
)
_MORE_NAME = re.compile(r"[\w.-]{0,64}")
_WORD_BEFORE = re.compile(r"(\w{1,32}) {1,2}\Z")
_SIGN = re.compile(
    r"[\"'`\])>]{0,3}[ \t]{0,20}(?:(=>|:=|->|={1,3}|[:|]+|>)|(is|was|are)(?: now| set to)?[ \t:]+)"
    r"[ \t]{0,20}",
    re.IGNORECASE,
)
_CLOSED = re.compile(r"[\"'`]?>[ \t\r\n]{0,20}")
_LINE_BREAK = re.compile(r"[>|]?[+-]?[ \t]{0,4}\r?\n[ \t]{0,40}")
_BLANK = re.compile(r"[ \t]{1,4}")
_PAIR = re.compile(
    r"[\"'][\s]{0,20},?[\s]{0,40}[\"']?(?:value|val|v|content|data|text|secret|default)[\"']?\s{0,20}"
    r"[:=]\s{0,20}",
    re.IGNORECASE,
)
_NEXT = re.compile(r"[\"'][\s]{0,20},[\s]{0,20}(?=[\"'])")
_TYPED = re.compile(r"[A-Za-z_][\w.\[\]| ]{0,60}?[ \t]{0,4}=[ \t]{0,4}(?=[\"'])")
_QUOTED = re.compile(
    r"[bBrRfFuU]{0,2}(?:\"((?:[^\"\\\n]|\\.){1,4096})|'((?:[^'\\\n]|\\.){1,4096})|`([^`\n]{1,4096}))"
)
_BARE = re.compile(r"[^\s\"'`,;&<>|]{1,4096}")
_OPTION = re.compile(r"[^\s\"'`;|]{1,4096}")
_REST = re.compile(r"[^\n]{1,4096}")
_LINE_LEAD = re.compile(r"(?:^|\n)[ \t]*(?:(?:export|set|setx|ENV|ARG|-|#|//|\*|>)[ \t]+)*[\"']?\Z")
_SCHEME = re.compile(
    r"(?:basic|bearer|token|digest|api-?key|apikey|negotiate|ntlm|hawk|oauth|dpop|mac|sharedkey"
    r"|sharedkeylite|aws4-hmac-sha256|gnap|key|splunk|sso-key|zoho-oauthtoken)[ \t]+",
    re.IGNORECASE,
)
_LEAST = 4
_LEAST_BEHIND_BLANK = 8


def named(text: str, *, is_cut: bool = False) -> Iterator[tuple[int, int]]:
    """Yield where secrets stand behind their names.

    `is_cut` says that the text may go on: what has begun at its end is found, too.
    """
    yield from passwords_of_commands(text)
    done = 0
    for anchor in _ANCHOR.finditer(text):
        if anchor.start() < done:
            continue
        start = _name_start(text, anchor.start(), done)
        more = _MORE_NAME.match(text, anchor.end())
        end = more.end() if more else anchor.end()
        while end > anchor.end() and text[end - 1] in ".-":
            end -= 1
        done = end
        name = _secret_name(text, start, end)
        if name is not None:
            for first, last in _Behind(text, name, start, end, is_cut=is_cut).secrets():
                if last > first:
                    done = max(done, last)
                    yield first, last


def secret_parts(name: str, value: str) -> list[tuple[int, int]]:
    """Return the parts to hide of a value that stands under a name in data."""
    if not is_secret_name(name) or is_nothing(value):
        return []
    if is_weak_name(name) and not is_drawn(value):
        return []
    if len(value.split()) > 1 and is_prose(value):
        return []
    words = name.lower()
    scheme = _SCHEME.match(value) if "auth" in words or "bearer" in words else None
    return [(scheme.end() if scheme else 0, len(value))]


class _Behind:
    """What follows a name."""

    def __init__(self, text: str, name: str, start: int, end: int, *, is_cut: bool) -> None:
        self._text = text
        self._name = name
        self._start = start
        self._end = end
        self._is_cut = is_cut
        lead = text[max(0, start - 80) : start]
        self._begins_line = _LINE_LEAD.search(lead) is not None and (
            "\n" in lead or start <= len(lead)
        )

    def secrets(self) -> Iterator[tuple[int, int]]:
        text, end = self._text, self._end
        quote = text[self._start - 1 : self._start]
        if quote in ("'", '"') and quote:
            pair = _PAIR.match(text, end)
            if pair is None and text[self._start - 2 : self._start - 1] in ("[", "("):
                pair = _NEXT.match(text, end)
            if pair is not None:
                yield from self._value(pair.end(), sign=",")
                return
        sign = _SIGN.match(text, end)
        if sign is not None:
            yield from self._signed(sign)
            return
        line = _LINE_BREAK.match(text, end)
        if line is not None and self._begins_line:
            yield from self._on_next_line(line.end())
            return
        blank = _BLANK.match(text, end)
        if blank is not None and not self._begins_prose(blank.end()):
            yield from self._behind_blank(blank.end())

    def _signed(self, sign: "re.Match[str]") -> Iterator[tuple[int, int]]:
        text, at = self._text, sign.end()
        if sign[1] == ">":
            closed = _CLOSED.match(text, self._end)
            if closed is None:
                return
            at = closed.end()
        line = _LINE_BREAK.match(text, at)
        if line is not None and sign[2] is None:
            yield from self._on_next_line(line.end())
            return
        if (typed := _TYPED.match(text, at)) and sign[1] == ":":
            at = typed.end()
        yield from self._value(at, sign=sign[2] or sign[1])

    def _value(self, at: int, *, sign: str) -> Iterator[tuple[int, int]]:
        """Yield the secret that begins at a place."""
        text = self._text
        if self._is_header:
            yield from self._of_header(at)
            return
        quoted = _QUOTED.match(text, at)
        if quoted is not None:
            group = next(number for number in (1, 2, 3) if quoted[number] is not None)
            if self._is_kept(quoted[group], quoted.end(), quoted=True):
                yield quoted.span(group)
        elif text[at : at + 1] == "[":
            yield from self._of_list(at + 1)
        elif text[at : at + 1] not in ("{", ""):
            yield from self._bare(at, sign)

    @property
    def _is_header(self) -> bool:
        last = self._name.lower()
        return last.endswith(("authorization", "cookie"))

    def _of_header(self, at: int) -> Iterator[tuple[int, int]]:
        """Yield the credentials of a header: up to the end of its line, or of its quotes."""
        text = self._text
        if text[at : at + 1] in ("'", '"', "`"):
            at += 1
        scheme = _SCHEME.match(text, at)
        start = scheme.end() if scheme else at
        is_quoted = text[at - 1] in "'\"`" or self._opening in ("'", '"', "`")
        if scheme is None and not is_quoted and not self._name.lower().endswith("cookie"):
            found = _BARE.match(text, start)
        else:
            stop = "'\"`\n" if is_quoted else "\n\"'`"
            found = re.compile(f"[^{stop}]{{1,4096}}").match(text, start)
        if found is None:
            return
        end = start + len(found[0].rstrip())
        value = text[start:end]
        is_cookie = self._name.lower().endswith("cookie")
        if is_cookie and "=" not in value and not (self._is_cut and end == len(text)):
            return
        if not is_quoted and len(value.split()) > 1 and is_prose(value):
            # A sentence goes on behind it.
            found = _BARE.match(text, start)
            value = found[0].rstrip(".!?):]}") if found else ""
            end = start + len(value)
        is_kept = scheme is not None or is_cookie or (len(value) > 5 and is_drawn(value))
        if is_kept and not is_nothing(value) and not (len(value.split()) > 1 and is_prose(value)):
            yield start, end

    @property
    def _opening(self) -> str:
        """The sign right before the name, such as the quote of a command line's header."""
        return self._text[self._start - 1 : self._start]

    def _of_list(self, at: int) -> Iterator[tuple[int, int]]:
        for _ in range(1000):
            blank = re.compile(r"[\s,]{0,40}").match(self._text, at)
            at = blank.end() if blank else at
            quoted = _QUOTED.match(self._text, at)
            if quoted is None:
                return
            group = next(number for number in (1, 2, 3) if quoted[number] is not None)
            if self._is_kept(quoted[group], quoted.end(), quoted=True):
                yield quoted.span(group)
            at = quoted.end() + 1

    def _bare(self, at: int, sign: str) -> Iterator[tuple[int, int]]:
        """Yield a value without quotes."""
        text = self._text
        if self._begins_line and sign in (":", "="):
            rest = _REST.match(text, at)
            line = rest[0].rstrip() if rest else ""
            line = re.split(r"\s+(?:#|//)", line, maxsplit=1)[0].rstrip()
            line = line.rstrip(",;") if not line.rstrip(",;").endswith(tuple("\"'`)]}")) else line
            words = line.split()
            is_phrase = len(words) > 1 and not is_prose(line) and is_for_passwords(self._name)
            is_code = "(" in line or line.endswith(("'", '"', "`", "}", "]"))
            if (len(words) == 1 or is_phrase) and not is_code and '"' not in line:
                if self._is_kept(line, at + len(line), quoted=is_phrase):
                    yield at, at + len(line)
                return
        found = _BARE.match(text, at)
        if found is None:
            return
        value = found[0].rstrip(".!?):]}\\")
        if sign not in (":", "=", "|", ">", "=>", ":=", "->") and value.lower() in ("not", "no"):
            return
        if self._is_kept(value, at + len(value), quoted=False) and not self._goes_on(
            value, at, sign
        ):
            yield at, at + len(value)

    def _goes_on(self, value: str, at: int, sign: str) -> bool:
        """Return whether a plain word is part of a sentence or of code, and no secret."""
        if is_drawn(value):
            return False
        rest = self._text[at + len(value) : at + len(value) + 40].split("\n")[0]
        is_argument = rest[:1] in (")", ",") and self._text[self._start - 1 : self._start] in (
            "(",
            " ",
        )
        return is_argument or is_prose(f"{value}{rest}")

    def _behind_blank(self, at: int) -> Iterator[tuple[int, int]]:
        text, name = self._text, self._name.lower()
        if text[max(0, self._start - 2) : self._start].endswith("--") or name.startswith("--"):
            quoted = _QUOTED.match(text, at)
            found = None if quoted else _OPTION.match(text, at)
            if quoted is not None:
                yield from self._value(at, sign=" ")
            elif found and found[0][0] != "-" and self._is_kept(found[0], found.end(), quoted=True):
                yield found.span()
            return
        found = _BARE.match(text, at)
        value = found[0].rstrip(".!?):]}\\") if found else ""
        if name.endswith("basic"):
            if is_basic(value):
                yield at, at + len(value)
            return
        is_long = len(value) >= 20 and is_drawn(value) and not is_expression(value, name)
        is_mixed = (
            len(value) >= _LEAST_BEHIND_BLANK
            and any(map(str.isdigit, value))
            and any(map(str.isalpha, value))
            and re.fullmatch(r"[\w!@#$%^*+~-]+", value) is not None
        )
        if (is_long or is_mixed) and not is_nothing(value):
            yield at, at + len(value)

    def _begins_prose(self, at: int) -> bool:
        return self._text[at : at + 1] in ("", "(", "[", "{")

    def _on_next_line(self, at: int) -> Iterator[tuple[int, int]]:
        quoted = _QUOTED.match(self._text, at)
        if quoted is not None:
            yield from self._value(at, sign=":")
            return
        found = _REST.match(self._text, at)
        words = found[0].split() if found else []
        value = words[0] if words else ""
        is_alone = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
        is_alone = is_alone and (len(words) == 1 or is_prose(" ".join(words[1:])))
        if is_alone and ":" not in value and self._is_kept(value, at + len(value), quoted=False):
            yield at, at + len(value)

    def _is_kept(self, value: str, end: int, *, quoted: bool) -> bool:
        """Return whether a value is a secret."""
        is_open = self._is_cut and end == len(self._text)
        least = 1 if is_open else 3 if quoted else _LEAST
        if len(value) < least or is_nothing(value):
            return False
        if quoted:
            is_text = len(value.split()) > 1 and is_prose(value)
            return not is_text and (is_drawn(value) or not is_weak_name(self._name))
        if is_weak_name(self._name) and not (len(value) > 5 and is_drawn(value)):
            return False
        if value.isdigit():
            return len(value) > 5 or (is_for_passwords(self._name) and len(value) > 3)
        if not is_drawn(value) and len(value) < 6 and not is_open:
            return False
        return is_open or not is_expression(value, self._name)


def _name_start(text: str, at: int, done: int) -> int:
    least = max(done, at - _LONGEST_NAME)
    while at > least and (text[at - 1].isalnum() or text[at - 1] in "_.-"):
        at -= 1
    while text[at : at + 1] in (".", "-") and text[at : at + 2] != "--":
        at += 1
    return at


def _secret_name(text: str, start: int, end: int) -> str | None:
    """Return a name under which secrets stand, with the word before it where that is needed."""
    name = text[start:end]
    if is_secret_name(name) or name.lower() == "basic":
        return name
    before = _WORD_BEFORE.search(text[max(0, start - 34) : start])
    if before is not None and is_secret_name(f"{before[1]} {name}"):
        return f"{before[1]} {name}"
    return None
