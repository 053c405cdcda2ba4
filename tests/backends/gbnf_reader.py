"""Reads grammars in llama.cpp's notation as llama.cpp does: by stacks of what has to come."""

import re
from functools import cache

_TOKEN = re.compile(
    r'"(?P<text>(?:[^"\\]|\\.)*)"|\[(?P<among>(?:[^\]\\]|\\.)*)\]|(?P<any>\.)|(?P<name>[\w-]+)'
    r"|(?P<open>\()|(?P<close>\))|(?P<bar>\|)|(?P<mark>[*+?])|\{(?P<times>\d+,?\d*)\}|\s+"
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_CHARACTER = re.compile(r"\\x([0-9a-fA-F]{2})|\\(.)|(.)", re.DOTALL)


def characters(text):
    """Return the characters of a literal or a class."""
    return [
        chr(int(code, 16)) if code else _ESCAPES.get(escaped, escaped) if escaped else plain
        for code, escaped, plain in _CHARACTER.findall(text)
    ]


class Among:
    """A class of characters; those of `.` are all."""

    def __init__(self, text):
        self.negated = text.startswith("^")
        some = _CHARACTER.findall(text[self.negated :])
        plain = [one == ("", "", "-") for one in some]
        known = characters(text[self.negated :])
        self.ranges, at = [], 0
        while at < len(known):
            if at + 2 < len(known) and plain[at + 1]:
                self.ranges.append((known[at], known[at + 2]))
                at += 3
            else:
                self.ranges.append((known[at], known[at]))
                at += 1

    def __contains__(self, character):
        return any(low <= character <= high for low, high in self.ranges) is not self.negated


class Grammar:
    """A grammar; a state is a set of stacks, each the elements that have to come."""

    def __init__(self, text):
        self.rules = {}
        for line in text.split("\n"):
            name, _, body = line.partition(" ::= ")
            tokens = [one for one in _TOKEN.finditer(body) if one.lastgroup]
            assert "".join(one[0] for one in _TOKEN.finditer(body)) == body, body
            self.rules[name], left = self._alternatives(tokens)
            assert not left, body
        self.advance = cache(self._advance)
        self.start = self._settled([("root",)])

    def _alternatives(self, tokens):
        alternatives, sequence = [], []
        while tokens and tokens[0].lastgroup != "close":
            token, *tokens = tokens
            kind, said = token.lastgroup, token[token.lastgroup]
            if kind == "bar":
                alternatives.append(sequence)
                sequence = []
            elif kind == "text":
                some = [("is", one) for one in characters(said)]
                # What repeats is the last character of a literal alone, unless it has just one.
                sequence += some
            elif kind == "among":
                sequence.append(("in", Among(said)))
            elif kind == "any":
                sequence.append(("in", Among("^")))
            elif kind == "name":
                sequence.append(said)
            elif kind == "open":
                inner, (_, *tokens) = self._alternatives(tokens)
                sequence.append(self._new(inner))
            else:
                least, most = self._times(kind, said)
                sequence += self._repeated(sequence.pop(), least, most)
        return [*alternatives, sequence], tokens

    def _new(self, alternatives):
        name = f"({len(self.rules)})"
        self.rules[name] = alternatives
        return name

    def _times(self, kind, said):
        if kind == "mark":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[said]
        least, comma, most = said.partition(",")
        return int(least), int(most) if most else None if comma else int(least)

    def _repeated(self, one, least, most):
        if most is None:
            rule = self._new([])
            self.rules[rule] = [[one, rule], []]
            return [one] * least + [rule]
        assert most <= 2000, "llama.cpp's own limit"
        rest = []
        for _ in range(most - least):
            rest = [self._new([[one, *rest], []])]
        return [one] * least + rest

    def _settled(self, stacks):
        """Return the stacks with a character on top of each, or nothing at all."""
        seen, settled, left = set(), set(), list(stacks)
        while left:
            stack = left.pop()
            if stack in seen:
                continue
            seen.add(stack)
            if not stack or isinstance(stack[0], tuple):
                settled.add(stack)
                continue
            assert len(stack) < 500, "left recursion"
            left += [(*some, *stack[1:]) for some in self.rules[stack[0]]]
        return frozenset(settled)

    def _advance(self, state, character):
        return self._settled(
            stack[1:]
            for stack in state
            if stack
            and (stack[0][1] == character if stack[0][0] == "is" else character in stack[0][1])
        )

    def after(self, text, state=None):
        """Return the state behind a text; it is empty where the text does not fit."""
        state = self.start if state is None else state
        for character in text:
            state = self.advance(state, character)
        return state

    def is_whole(self, text):
        return () in self.after(text)
