"""Patterns from outside: the meaning that they have in Python, in linear time, or a refusal."""

import random
import re
import time
import warnings

import pytest

from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.patterns import compiled

CHARACTERS = "ab_ 1\n.é日٣Ⅷ-ſsKkİiıIß\u2028\x85\ud800\x80\x81\U0010fffe\U0010ffff"
PARTS = (
    *("a", "b", "_", " ", "1", r"\n", ".", "é", "日", r"\d", r"\w", r"\s", r"\W", r"\D", r"\S"),
    *("[ab]", "[^a]", r"[^é\n]", r"[\w-]", r"\b", r"\B", "^", "$", r"\A", r"\Z", "(?i:k)"),
    *("(?i:s)", "(?i:i)", r"(?a:\w)", "(?s:.)", "(?i:[^k])", "(?i:ß)", "[a-é]", "(?-i:k)"),
)
ENDLESS = [
    (r"^(a+)+$", "a" * 40 + "!", False),
    (r"^(a+)+$", "a" * 40, True),
    (r"(a|a)*b", "a" * 40, False),
    (r"^(\w+\s?)*$", "word " * 12 + "!", False),
    (r"(x+x+)+y", "x" * 40, False),
    (r"([a-zA-Z]+)*=", "e" * 40, False),
    (r"(?s)^(.*?,){25}P", "1," * 60, False),
    (r"(é+)+$", "é" * 40 + "!", False),
    (r"(.*?)*\b!", "日 本 " * 20, False),
]
REFUSED = {
    r"foo(?=bar)": "write 'foo(?:bar)'",
    r"(?<=foo)bar": "write '(?:foo)bar'",
    r"\d{4}(?!\d)": r"in place of (?!\d) write what may follow, as in (?:[^0-9]|$)",
    r"(?<!\d)\d{4}": r"in place of (?<!\d) write what may precede, as in (?:^|[^0-9])",
    r"(?=.*a)b": "in place of (?=.*a) write the orders in which both can occur, as in a.*b|b.*a",
    r"[(?=](?=x)": "write '[(?=](?:x)'",
    r"(a|b)\1": r"spell out what may repeat, as in (?:aa|bb) for (a|b)\1",
    r"(?P<q>['\"]).*(?P=q)": "spell out what may repeat",
    r"(a)?(?(1)b|c)": "write both cases, joined with |",
    r"a++b": "write 'a+b'",
    r"[+*]*+b": "write '[+*]*b'",
    r"(?>a|b)c": "write '(?:a|b)c'",
    r"a{1001}": "repeat less often, over all levels together",
    r"(?:a{40}){40}": "repeat less often, over all levels together",
    r"(?m:a$)|b$": r"write \Z where only the end of the text is meant",
    r"\b(?a:a\b)": "write (?a) once, at the beginning",
    r"\B|a": r"write what has to stand beside \B",
    "(" * 3000 + ")" * 3000: "is nested too deeply",
    "a" * 20_001: "split it into several",
    r"(": "is not a valid regular expression: missing ), unterminated subpattern at position 0",
    r"a{1,99999999999}": "the repetition number is too large",
    "|".join(f"{chr(0x4E00 + at)}{{1000}}" for at in range(200)): "it is too large",
}


def a_pattern(rng, depth):
    if depth == 0 or rng.random() < 0.35:
        return rng.choice(PARTS)
    first = a_pattern(rng, depth - 1)
    kind = rng.randrange(5)
    if kind < 2:
        return first + a_pattern(rng, depth - 1)
    if kind == 2:
        return f"(?:{first}|{a_pattern(rng, depth - 1)})"
    if kind == 3:
        return f"({first})"
    return f"(?:{first}){rng.choice(['*', '+', '?', '{2}', '{1,2}', '{,2}', '*?', '+?', '??'])}"


def without_empty(spans):
    return [span for span in spans if span[0] < span[1]]


@pytest.mark.parametrize("seed", range(4))
def test_a_pattern_means_what_it_means_in_python(seed):
    rng = random.Random(seed)
    compared = 0
    while compared < 2000:
        pattern, multiline = a_pattern(rng, 4), rng.random() < 0.3
        flags = re.MULTILINE if multiline else 0
        try:
            ours = compiled(pattern, multiline=multiline)
        except ConfigurationError as error:
            assert re.search("both with and without|can match nothing", str(error))  # noqa: PT017
            continue
        ends = compiled(pattern, multiline=multiline, at_end=True)
        for _ in range(8):
            text = "".join(rng.choice(CHARACTERS) for _ in range(rng.randrange(9)))
            compared += 1
            about = (pattern, flags, text)
            assert ours.found_in(text) == bool(re.search(pattern, text, flags)), about
            assert ends.found_in(text) == bool(re.search(f"(?:{pattern})\\Z", text, flags)), about
            # Python tries again where it found nothing: those patterns have other spans here.
            theirs = [found.span() for found in re.finditer(pattern, text, flags)]
            if theirs == without_empty(theirs) and re.fullmatch(pattern, "", flags) is None:
                assert [found[0] for found in ours.spans(text)] == theirs, about


@pytest.mark.parametrize(
    "pattern",
    [
        r"^(?=.*[A-Z])(?=.*\d)(?!.*\s).{4,8}$",
        r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$",
        r"\A(?!\Bé|\bx)\w+",
        r"^(?=a)(?!ab)",
        r"(?i)^(?!stop$).+",
    ],
)
def test_looking_ahead_from_the_start_of_a_text_means_what_it_means_in_python(pattern):
    rng = random.Random(3)
    for _ in range(500):
        text = "".join(rng.choice("aAb1 +.-\nxéstop") for _ in range(rng.randrange(9)))
        for sample in (text, "Ab1" + text, "stop"):
            expected = re.search(pattern, sample)
            assert compiled(pattern).found_in(sample) == bool(expected), (pattern, sample)
            if expected and expected.group():
                assert next(compiled(pattern).spans(sample))[0] == expected.span()


def test_groups_have_their_places_in_a_text_with_letters_of_all_kinds():
    found = compiled(r"\b(?P<word>\w+)\s+(\d+)?(_)", groups=True).spans("né_e 12_ 日本 _")
    assert list(found) == [((0, 8), (0, 4), (5, 7), (7, 8)), ((9, 13), (9, 11), (-1, -1), (12, 13))]


@pytest.mark.parametrize(("pattern", "text", "found"), ENDLESS)
def test_a_pattern_that_takes_exponential_time_in_python_is_searched_at_once(pattern, text, found):
    begun = time.process_time()
    assert compiled(pattern).found_in(text) is found
    assert compiled(pattern).found_in(text * 1000) is found
    assert time.process_time() - begun < 20


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_cannot_be_searched_in_linear_time_is_refused_with_an_equivalent(pattern):
    with pytest.raises(ConfigurationError) as refused:
        compiled(pattern)
    assert REFUSED[pattern] in str(refused.value)
    assert repr(pattern)[:40] in str(refused.value)


def test_an_equivalent_that_a_refusal_names_can_be_used():
    for pattern, said in REFUSED.items():
        if said.startswith("write '"):
            equivalent = said.removeprefix("write '").removesuffix("'")
            assert compiled(equivalent), pattern


def test_what_python_warns_of_is_a_warning_here_too():
    with pytest.warns(FutureWarning, match="nested set"):
        compiled("[[a]")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert compiled("[[a]b").found_in("[b")
