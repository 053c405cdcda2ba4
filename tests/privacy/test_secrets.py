"""No secret leaves in any place or encoding; harmless texts stay; time grows with the length."""

import asyncio
import random
import re
import time

import pytest

from splitreason_integrations import Policy, Request, SplitEngine
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.privacy.finders import KINDS
from splitreason_integrations.privacy.redaction import Vault
from splitreason_integrations.records import Delta
from splitreason_integrations.testing import ScriptedModel, embedded_codec
from tests.backends.servers import LARGE, spec
from tests.privacy.recording_server import recording_server
from tests.privacy.secret_texts import as_text, harmless, secret_cases, shows

RULES = tuple(KINDS)
DIALECTS = ("ids", "text", "continue")
A_REQUEST = 10
"""Secrets a request: they are in messages, tool calls and their results."""


def conversation(values):
    """Return messages that hold values, mappings as arguments of calls."""
    messages = [{"role": "user", "content": "Keep these."}]
    for number, value in enumerate(values):
        if isinstance(value, str):
            messages.append({"role": ("user", "assistant")[number % 2], "content": value})
        else:
            call = {"type": "function", "function": {"name": "keep", "arguments": value}}
            messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
            messages.append({"role": "tool", "content": "kept"})
    return [*messages, {"role": "user", "content": "What were they?"}]


async def leaks(server, dialect, tokenizer, cases):
    """Return the cases of which a server was sent the secret."""
    asked = spec(
        server.url, dialect=dialect, tokenizer=tokenizer, context_tokens=1 << 20, taught=False
    )
    large = await load_model(asked, role="large")
    found = []
    for at in range(0, len(cases), A_REQUEST):
        some = cases[at : at + A_REQUEST]
        assert all(shows(as_text(value), secret) for secret, value, _ in some)
        server.bodies.clear()
        small = ScriptedModel("I plan.<bigmodel> Done.</think>Yes.", context_tokens=1 << 20)
        engine = SplitEngine(small=small, large=large, redact=list(RULES))
        messages = conversation([value for _, value, _ in some])
        await engine.complete(Request(messages=messages, seed=1, max_tokens=60))
        assert any("What were they?" in body for body in server.bodies)
        sent = "\n".join(server.bodies)
        found += [case for secret, _, case in some if shows(sent, secret)]
    return found


async def check_secrets(count, seed, other, record_property):
    cases, found = list(secret_cases(random.Random(seed), count)), []
    places = [(dialect, name) for dialect in DIALECTS for name in (LARGE, other)]
    for number, (dialect, tokenizer) in enumerate(places):
        codec = embedded_codec() if tokenizer == LARGE else other_codec_of(tokenizer)
        async with recording_server(codec) as server:
            found += await leaks(server, dialect, tokenizer, cases[number :: len(places)])
    record_property("rate", f"{count} secrets, {len(places)} ways of sending, {len(found)} left")
    assert found == []


def other_codec_of(folder):
    from transformers import AutoTokenizer

    from splitreason_integrations.backends.codec import TokenizerCodec

    return TokenizerCodec(AutoTokenizer.from_pretrained(folder), name="other")


@pytest.fixture
def other(other_codec, tmp_path):
    other_codec._tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.mark.allow_hosts(["127.0.0.1"])
async def test_no_secret_leaves_in_any_place_or_encoding(other, record_property):
    await check_secrets(300, 1, other, record_property)


@pytest.mark.slow
@pytest.mark.allow_hosts(["127.0.0.1"])
async def test_no_secret_of_five_thousand_leaves(other, record_property):
    await check_secrets(5000, 2, other, record_property)


def changed_share(count, seed):
    rng = random.Random(seed)
    texts = [harmless(rng) for _ in range(count)]
    return sum(Vault(RULES).hide(text) != text for text in texts) / count


def test_harmless_texts_stay():
    assert changed_share(500, 3) <= 0.01


@pytest.mark.slow
def test_five_thousand_harmless_texts_stay(record_property):
    share = changed_share(5000, 4)
    record_property("rate", f"5000 harmless texts, {share:.2%} changed")
    assert share <= 0.01


REPEATED = ("a", "a@", "a.b@c.de ", "1", "4 ", "4111 ", "4111 1111 1111 1111 ", "eyJ-", "sk-")
REPEATED += ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----\n", "password: ", "token=")
REPEATED += ("Cookie: a=b ", "https://a:b", "\\", "\\u00", "%25", "&amp;", '{"password":', "é")


def seconds(rule, text):
    """Return the least processor time of two searches."""
    took = []
    for _ in range(2):
        began = time.process_time()
        Vault([rule]).hide(text)
        took.append(time.process_time() - began)
    return min(took)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_ten_times_the_text_takes_no_more_than_twelve_times_as_long(rule):
    for piece in REPEATED:
        short, long = (piece * (length // len(piece)) for length in (100_000, 1_000_000))
        assert seconds(rule, long) <= 12 * max(seconds(rule, short), 0.05), piece


@pytest.mark.parametrize("rule", RULES)
def test_a_long_text_takes_a_moment(rule):
    for piece in REPEATED:
        began = time.process_time()
        Vault([rule]).hide(piece * (64_000 // len(piece)))
        assert time.process_time() - began < 10, piece


MAPPINGS = [
    {"user": "bob", "password": "hunter22xx"},
    {"headers": [["Authorization", "Basic hunter22xx"]]},
    {"env": [{"name": "DB_PASSWORD", "value": "hunter22xx"}]},
    {"passwords": ["hunter22xx"]},
    {"schema": {"password": {"type": "string", "default": "hunter22xx"}}},
    {"cookies": {"sid": "hunter22xx"}},
    '{"body": "{\\"password\\": \\"hunter22xx\\"}"}',
]


@pytest.mark.parametrize("value", MAPPINGS)
def test_names_and_values_are_judged_together(value):
    assert "hunter22xx" not in str(Vault(["key"]).hide_all(value))


@pytest.mark.parametrize("value", ["ab", 1234])
def test_a_short_value_is_hidden_in_its_place_alone(value):
    hidden = Vault(["key"]).hide_all([{"password": value}, f"{value}c, d{value}"])
    assert hidden == [{"password": "[KEY_1]"}, f"{value}c, d{value}"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("My card is 4111 1111", " 1111 1111, you know"),
        ("use ghp_0123456789abcdefgh", "ijklmnop12"),
    ],
)
def test_what_is_split_over_messages_is_hidden(first, second):
    messages = [{"role": "user", "content": first}, {"role": "user", "content": second}]
    hidden = Vault(["card", "key"]).hide_all(messages)
    assert [one["content"].count("[") for one in hidden] == [1, 1]
    assert "1111" not in str(hidden)
    assert "abcdefgh" not in str(hidden)


CUT = [
    ("card", "4111 1111 ", "1111 1111"),
    ("key", "ghp_0123456789", "abcdefghijklmnopqrstuvwxyz"),
    ("key", "password: hunt", "er22xx"),
    ("email", "bob@exam", "ple.org"),
]


@pytest.mark.parametrize(("kind", "first", "second"), CUT)
def test_what_is_split_over_pieces_is_hidden(kind, first, second):
    vault = Vault([kind])
    assert f"[{kind.upper()}_" in vault.hide_piece(first)
    hidden = vault.hide_piece(f"{second} and on", first)
    assert hidden.endswith("] and on")
    assert second not in hidden


@pytest.mark.parametrize("taught", [True, False])
@pytest.mark.parametrize("cut", [2, 9])
async def test_what_the_large_model_goes_on_with_is_not_sent_whole(cut, taught):
    card, sent = "4111 1111 1111 1111", []
    large = ScriptedModel(f"{card[cut:]} it is</bigmodel> so</bigmodel>", remote=True)
    large.taught = taught
    small = ScriptedModel(f"It is {card[:cut]}<bigmodel> and then<bigmodel>.</think>Done.")
    engine = SplitEngine(small=small, large=large, redact=["card"])
    request = Request(messages=[{"role": "user", "content": "Which?"}], seed=1)
    items = [item async for item in noting(engine.stream(request), large, sent)]
    assert card in "".join(item.text for item in items if isinstance(item, Delta))
    later = [text for text in sent if "and then" in text]
    assert later
    assert not [text for text in later if card in text]


async def noting(items, large, sent):
    """Yield items; note the texts of the large model's sessions, without the tags."""
    async for item in items:
        for session in large.sessions:
            text = embedded_codec().decode(session.token_ids)
            sent.append(text.replace("<bigmodel>", "").replace("</bigmodel>", ""))
        yield item


def raises(text):
    raise ValueError(f"cannot read {text}")


def test_a_rule_that_raises_is_named_without_the_text():
    with pytest.raises(
        ConfigurationError, match=r"a rule of redact, .*raises, raised ValueError in line"
    ) as e:
        Vault([raises]).hide("my secret text")
    assert "secret text" not in str(e.value)
    assert e.value.__cause__ is None
    assert e.value.__context__ is None


async def test_a_deadline_holds_while_rules_search():
    def slow(text):
        time.sleep(0.01 if "<" in text else 5)
        return []

    large = ScriptedModel("x</bigmodel>", remote=True)
    small = ScriptedModel("I<bigmodel> go on.</think>Done.")
    engine = SplitEngine(small=small, large=large, redact=slow, policy=Policy(deadline_s=1))
    request = Request(messages=[{"role": "user", "content": "Hello"}], seed=1)
    began, ticks = time.monotonic(), 0
    running = asyncio.ensure_future(engine.complete(request))
    while not running.done():
        await asyncio.sleep(0.02)
        ticks += 1
    reply = await running
    assert time.monotonic() - began < 4
    assert ticks > 5
    assert reply.degraded
    assert not large.sessions


def test_every_key_form_is_found_alone():
    rng = random.Random(9)
    for secret, _, (kind, *_) in secret_cases(rng, 400):
        if kind not in ("named", "e-mail", "phone", "card"):
            hidden = Vault(["key"]).hide(f"x {secret} y")
            assert re.fullmatch(r"x \[KEY_\d+\] y", hidden), kind
