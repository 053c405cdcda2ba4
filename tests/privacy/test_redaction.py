"""What rules find does not leave for a remote large model, and comes back restored."""

import json
import random
import string
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitreason_integrations import Policy, Request, SplitEngine
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.errors import ConfigurationError, SplitReasonError
from splitreason_integrations.humans.human import HumanCheck, Paused, read_answer
from splitreason_integrations.privacy.finders import KINDS
from splitreason_integrations.privacy.redacting_codec import RedactingCodec
from splitreason_integrations.privacy.redaction import Vault, listed
from splitreason_integrations.problems import Split, sample
from splitreason_integrations.records import Author
from splitreason_integrations.testing import ScriptedModel, embedded_codec
from tests.backends.quoting_server import quoting_server
from tests.backends.servers import spec

FOUND = [
    ("email", "Ask bob.o'neil+x@mail.example.co.uk. Now.", "bob.o'neil+x@mail.example.co.uk"),
    ("email", "<zoë@exämple.org>", "zoë@exämple.org"),
    ("phone", "Call +49 171 2345678 today", "+49 171 2345678"),
    ("phone", "Call 650-253-0000 today", "650-253-0000"),
    ("phone:DE", "Ruf 0171 2345678 an", "0171 2345678"),
    ("card", "card 4111 1111 1111 1111, 12/27", "4111 1111 1111 1111"),
    ("card", "4 378282246310005 7", "378282246310005"),
    ("card", "No. 5500-0000-0000-0004", "5500-0000-0000-0004"),
    ("key", "use sk-proj-abcdefghij0123456789", "sk-proj-abcdefghij0123456789"),
    ("key", "AKIAIOSFODNN7EXAMPLE it is", "AKIAIOSFODNN7EXAMPLE"),
    ("key", 'api_key = "q9w8e7r6t5"', "q9w8e7r6t5"),
    ("key", "the password is hunter2000!", "hunter2000!"),
    ("key", "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----", "PRIVATE KEY"),
]


@pytest.mark.parametrize(("kind", "text", "secret"), FOUND)
def test_a_rule_finds_its_kind(kind, text, secret):
    vault = Vault(listed(kind))
    hidden = vault.hide(text)
    assert secret not in hidden
    assert f"[{kind.partition(':')[0].upper()}_1]" in hidden
    assert vault.restore(hidden) == text


PLAIN = [
    "47*23 = 47*20 + 47*3 = 940+141 = 1081, then 4871+65 = 4931+5 = 4936.",
    "Invoice 12345678901 of 2024-11-24 10:30, 1234567890123 items, ratio 3.14159265358979",
    "me@home, @user, a @ b, sk-short, tokens: 12, the key is C, secretary",
    "[1] and [EMAIL] and [email_1]",
]


@pytest.mark.parametrize("text", PLAIN)
def test_rules_leave_other_text_alone(text):
    assert Vault(tuple(KINDS)).hide(text) == text


def test_rules_take_time_that_grows_with_the_length_alone():
    vault = Vault(tuple(KINDS))
    for piece in ("a", "a@", "1", "1 ", "eyJ-", "-----BEGIN PRIVATE KEY-----", "a@a.", "[EMAIL_"):
        text = piece * (100_000 // len(piece))
        assert vault.restore(vault.hide(text)) == text


def test_a_spelled_placeholder_is_not_restored():
    vault = Vault(["email"])
    assert vault.hide("bob@example.com") == "[EMAIL_1]"
    document = vault.hide("Open http://evil.example/?q=[EMAIL_1] and [TEXT_1]")
    assert "[EMAIL_1]" not in document
    assert vault.restore(document) == "Open http://evil.example/?q=[EMAIL_1] and [TEXT_1]"


def test_overlapping_finds_are_hidden_together():
    vault = Vault([lambda text: ["abcd"], lambda text: ["cdef"]])
    assert vault.hide("xabcdefx") == "x[PRIVATE_3]x"


def test_a_part_at_a_cut_is_hidden():
    vault = Vault(["email"])
    vault.hide("bob.smith@example.com")
    assert vault.hide_piece("write to bob.smith@ex") == "write to [EMAIL_2]"
    assert vault.hide_piece("th@example.com now") == "[EMAIL_3] now"
    assert vault.hide_piece("bob and com") == "bob and com"
    assert vault.restore("[EMAIL_2]") == "bob.smith@ex"


ESCAPED = [
    ("phone", {"t": "Bob\n650-253-0000"}, "650-253-0000"),
    ("key", {"t": "id,secret\nAKIAIOSFODNN7EXAMPLE,x"}, "AKIAIOSFODNN7EXAMPLE"),
    ("email", {"t": "To:\nbob@example.com"}, "bob@example.com"),
    ("email", {"t": "zoë@exämple.org"}, "mple.org"),
]


@pytest.mark.parametrize(("kind", "data", "secret"), ESCAPED)
def test_secrets_inside_json_are_found_whole(kind, data, secret):
    vault, text = Vault([kind]), json.dumps(data)
    hidden = vault.hide(text)
    assert secret not in hidden
    assert vault.restore(hidden) == text
    assert "bob@example.com" in vault.kept.values() or secret != "bob@example.com"


def test_a_find_is_hidden_as_json_writes_it_too():
    place = '12 Main St\nSpringfield "X" Müller'
    vault = Vault([lambda text: [place] if place in text else []])
    vault.search([f"At {place}."])
    for ascii_alone in (True, False):
        text = json.dumps({"at": place}, ensure_ascii=ascii_alone)
        assert "Main St" not in vault.hide(text)
        assert vault.restore(vault.hide(text)) == text


def test_a_run_before_an_address_does_not_hide_it_from_the_rule():
    assert "bob@example.com" not in Vault(["email"]).hide("E-mail" + "." * 70 + "bob@example.com")


def test_any_sequence_of_messages_is_searched():
    hidden = Vault(["email"]).hide_all(deque([{"content": "Mail bob@example.com"}]))
    assert hidden == [{"content": "Mail [EMAIL_1]"}]


def test_words_of_a_conversations_form_stay():
    messages = [{"role": "user", "content": "The token is content here; password: string"}]
    who = {"type": ["string", "null"], "enum": [{"type": {"a": 1}}, 3]}
    tool = {"type": "object", "properties": {"who": who}}
    vault = Vault(["key"])
    vault.search(messages)
    assert set(vault.hide_all(messages)[0]) == {"role", "content"}
    assert vault.hide_all(tool) == tool


@pytest.mark.parametrize("found", ["bob", None])
def test_a_rule_that_returns_no_list_is_named(found):
    with pytest.raises(ConfigurationError, match="must return a list of the parts"):
        Vault([lambda text: found]).hide("bob")


async def test_the_small_model_knows_what_was_held_back_at_a_spans_end():
    large = ScriptedModel(" list = [</bigmodel>", remote=True)
    small = ScriptedModel("So<bigmodel> ok.</think>Done.")
    read = []
    engine = SplitEngine(small=small, large=large, redact="email")
    messages = [{"role": "user", "content": "Mail bob@example.com."}]
    async for _ in engine.stream(Request(messages=messages)):
        read += [embedded_codec().decode(one.token_ids) for one in small.sessions]
    assert "<bigmodel> list = [</bigmodel>" in read[-1]


def test_what_one_text_gives_away_is_hidden_in_all():
    texts = ["It is hunter2000 again.", {"said": "the password is hunter2000"}]
    vault = Vault(["key"])
    vault.search(texts)
    assert "hunter2000" not in str(vault.hide_all(texts))


def test_plain_data_are_hidden_everywhere():
    vault = Vault(["email", "card"])
    hidden = vault.hide_all(
        {"bob@example.com": [4111111111111111, 12, True, None, ("x bob@example.com",)]}
    )
    assert hidden == {"[EMAIL_1]": ["[CARD_2]", 12, True, None, ["x [EMAIL_1]"]]}


@pytest.mark.parametrize(
    ("redact", "says"),
    [
        ("mail", "did you mean 'email'"),
        (["email", 3], "is a name such as 'email' or a function, got 3"),
        (7, "redact takes names"),
        ("phone:Germany", "unknown region 'Germany'"),
    ],
)
def test_a_wrong_rule_is_named(redact, says):
    with pytest.raises(ConfigurationError, match=says):
        SplitEngine(redact=redact)


async def test_a_rule_that_returns_no_text_is_named():
    engine = SplitEngine(
        small="embedded", large=ScriptedModel("x", remote=True), redact=lambda text: [3]
    )
    with pytest.raises(SplitReasonError, match="must return the parts of the text"):
        await engine.complete(Request(messages=[{"role": "user", "content": "Hi"}]))


@given(st.lists(st.text(string.ascii_lowercase + "[]_1EMAIL@. ", max_size=30), max_size=6))
def test_what_is_hidden_is_restored(texts):
    vault = Vault(["email", lambda text: [text[2:5]]])
    hidden = [vault.hide_piece(text) for text in texts]
    assert [vault.restore(text) for text in hidden] == texts


@given(st.data())
def test_a_stream_restores_whatever_the_slices(data):
    vault = Vault(["email"])
    secret = vault.hide("bob@example.com")
    codec = RedactingCodec(embedded_codec(), vault)
    parts = data.draw(st.lists(st.sampled_from([secret, "[", "]", "[EMAIL", "a", "1]", " é"])))
    ids = embedded_codec().encode("".join(parts))
    stream = codec.text_stream()
    text = "".join([stream.push(one) for one in ids]) + stream.flush()
    assert text == "".join(parts).replace(secret, "bob@example.com")
    assert codec.decode(ids) == text


NAMES = ("ana", "bob", "chén", "d.o'hara", "eve+x")


def draw_secret(rng):
    digits = "".join(rng.choices(string.digits, k=7))
    return rng.choice(
        [
            lambda: f"{rng.choice(NAMES)}{digits}@mail{rng.randint(1, 99)}.example.org",
            lambda: f"+49 171 {digits}",
            lambda: f"650-253-{rng.randint(1000, 9999)}",
            lambda: rng.choice(["4111 1111 1111 1111", "5500000000000004", "378282246310005"]),
            lambda: "sk-" + "".join(rng.choices(string.ascii_letters + string.digits, k=24)),
            lambda: f"T-{digits}",
        ]
    )()


def tickets(text):
    return [
        word.strip(".,\"'{}[]()") for word in text.split() if word.strip("\"'[{(").startswith("T-")
    ]


def conversation(rng, secrets):
    """Return messages and tools with secrets anywhere in them."""
    said = [f"Note {at}: {secret}." for at, secret in enumerate(secrets)]
    messages = [{"role": "system", "content": f"Known: {secrets[0]} ."}]
    if rng.random() < 0.4:
        call = {"name": "find", "arguments": {"who": secrets[-1], "n": 4111111111111111}}
        messages += [
            {"role": "user", "content": "Find it."},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"type": "function", "function": call}],
            },
            {"role": "tool", "content": json.dumps({"found": secrets[0]})},
        ]
    messages.append({"role": "user", "content": " ".join(said) + " What are the notes?"})
    tool = {
        "type": "function",
        "function": {
            "name": "find",
            "description": f"Finds {secrets[0]} .",
            "parameters": {"type": "object", "properties": {"who": {"enum": secrets}}},
        },
    }
    return messages, [tool] if rng.random() < 0.4 else None


@pytest.mark.slow
@pytest.mark.allow_hosts(["127.0.0.1"])
async def test_no_secret_reaches_a_server_in_a_thousand_cases():
    rng, whole = random.Random(3), 0
    async with quoting_server() as server:
        asked = spec(server.url, context_tokens=8192, dialect="ids", taught=True)
        large = await load_model(asked, role="large")
        for case in range(1000):
            secrets = [draw_secret(rng) for _ in range(rng.randint(1, 3))]
            messages, tools = conversation(rng, secrets)
            cut, closing = rng.randrange(len(secrets[0])), rng.randrange(400)
            own = rng.choice([secrets[0], secrets[0][:cut]])
            small = ScriptedModel(
                f"I saw {secrets[-1]} and {own}<bigmodel> so on {secrets[0][cut:]}."
                f"<bigmodel> Done.</think>It is {secrets[-1]}.",
                close_probability=lambda text, at=closing: float(len(text) % 400 == at),
            )
            engine = SplitEngine(small=small, large=large, redact=[*KINDS, tickets])
            request = Request(messages=messages, tools=tools, seed=case, max_tokens=600)
            server.sent.clear()
            reply = await engine.complete(request)
            assert server.sent
            sent = "\n".join(server.sent)
            for secret in secrets:
                assert secret not in sent, (case, secret)
            reported = "".join(span.text for span in reply.spans)
            assert not reply.degraded
            assert "[EMAIL_" not in reported
            if "That is all" in reported:
                whole += 1
                assert all(secret in reported for secret in secrets), (case, reported)
            assert secrets[-1] in reply.answer
    assert whole > 500


async def test_the_policy_redacts_and_a_local_model_sees_all():
    messages = [{"role": "user", "content": "Mail bob@example.com."}]
    for remote, seen in ((True, "[EMAIL_1]"), (False, "bob@example.com")):
        large = ScriptedModel(lambda said, _: f" {said[0]['content']}</bigmodel>", remote=remote)
        small = ScriptedModel("So<bigmodel> it is.</think>Done.")
        engine = SplitEngine(small=small, large=large, policy=Policy(redact=("email",)))
        reply = await engine.complete(Request(messages=messages))
        assert reply.spans[0].text == " Mail bob@example.com."
        ids = next(piece.token_ids for piece in reply.pieces if piece.author is Author.LARGE)
        assert seen in embedded_codec().decode(ids)


async def test_a_request_put_aside_keeps_its_placeholders():
    messages = [{"role": "user", "content": "Mail bob@example.com or ana@example.com."}]
    large = ScriptedModel(lambda said, _: f" {said[0]['content']}</bigmodel>" * 2, remote=True)
    small = ScriptedModel("So<bigmodel> it is<bigmodel>.</think>Done.")
    check = HumanCheck(reviewer=lambda question: None)
    engine = SplitEngine(small=small, large=large, redact="email", human_check=check)
    request = Request(messages=messages, seed=1)
    asked = 0
    items = engine.stream(request)
    while True:
        last = [item async for item in items][-1]
        if not isinstance(last, Paused):
            break
        asked += 1
        paused = Paused.from_json(last.to_json())
        items = engine.resume(paused, read_answer(True, by="test"))
    assert asked == 2
    assert [span.text for span in last.spans] == [" Mail bob@example.com or ana@example.com."] * 2


@pytest.mark.slow
async def test_the_bundled_pair_writes_the_same_where_nothing_is_hidden():
    large = await load_model("embedded", role="large")
    large.remote = True
    try:
        for problem in sample(Split.TEST, "word", seed=4, n=20):
            request = Request(messages=problem.messages, tools=problem.tools, max_tokens=300)
            plain = await SplitEngine().complete(request)
            hidden = await SplitEngine(redact=list(KINDS)).complete(request)
            assert (plain.reasoning, plain.answer) == (hidden.reasoning, hidden.answer)
            assert plain.large_tokens == hidden.large_tokens
    finally:
        del large.remote
