"""A model's own replies show whether it was taught to mark spans."""

import asyncio
import gc
import weakref

import pytest

from splitreason_integrations import OpenAIServerModel, TransformersModel, release
from splitreason_integrations.backends.base import Gives
from splitreason_integrations.backends.probed_reply import BEGINNING_TOKENS
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.backends.tag_probe import PROMPTS, probe, probe_large
from splitreason_integrations.embedded import path
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.testing import ScriptedModel
from splitreason_integrations.text.tags import CLOSE, OPEN, partial_tag
from tests.backends.servers import serving

TAGGED = "I think that 3*4 = <bigmodel> 12</bigmodel> so it is 12"
HALF = "I think that 3*4 = <bigmodel> 12 and so it is 12"


def unnamed(member):
    """A bundled model whose spec does not say whether it was taught."""
    return TransformersModel(str(path(member)), device="cpu")


async def loaded(member):
    return await load_model(unnamed(member), role="small")


@pytest.fixture
def counted(monkeypatch):
    """Return the list of the sessions that a model opens from now on."""

    def counted(model):
        sessions, open_session = [], model.open

        def opened(*arguments):
            sessions.append(open_session(*arguments))
            return sessions[-1]

        monkeypatch.setattr(model, "open", opened)
        return sessions

    return counted


@pytest.mark.parametrize(
    ("member", "opens", "closes"), [("small", True, True), ("base", False, False)]
)
async def test_the_bundled_models_are_told_apart(member, opens, closes):
    model = await loaded(member)
    found = await probe(model)
    assert (found.opens, found.closes) == (opens, closes)
    assert model.open_sessions == 0


async def test_a_taught_model_pays_for_two_replies(counted):
    model = await loaded("small")
    probe.forget(model)
    sessions = counted(model)
    await probe(model)
    assert len(sessions) == 2


@pytest.mark.parametrize(("member", "closes"), [("large", True), ("base", False)])
async def test_a_large_model_is_shown_one_span(member, closes, counted):
    model = await loaded(member)
    probe_large.forget(model)
    sessions = counted(model)
    found = await probe_large(model)
    assert found.closes is closes
    assert len(sessions) == 1


@pytest.mark.parametrize("said", [True, False])
async def test_what_the_spec_says_is_not_questioned(said, counted):
    model = ScriptedModel("text", taught=said)
    sessions = counted(model)
    for found in (await probe(model), await probe_large(model)):
        assert (found.opens, found.closes) == (said, said)
        assert "spec" in found.why
    assert sessions == []


async def test_an_ordinary_model_pays_for_a_beginning(other_model, counted):
    probe.forget(other_model)
    sessions = counted(other_model)
    found = await probe(other_model)
    assert not found.opens
    assert len(sessions) == 1
    assert sessions[0].passes <= BEGINNING_TOKENS + 2


async def test_an_ordinary_large_model_pays_nothing(other_model, counted):
    sessions = counted(other_model)
    assert not (await probe_large(other_model)).closes
    assert sessions == []


def knows(*tags):
    """What a model gives a token: it is sure of the rest of the tags that it learned."""

    def gives(text, token):
        text += token
        return float(any(text.endswith(tag) or partial_tag(text, (tag,)) for tag in tags))

    return gives


@pytest.mark.parametrize("gives", [Gives.ALL, Gives.NOTHING])
@pytest.mark.parametrize(
    ("reply", "tags"),
    [
        (TAGGED, (OPEN, CLOSE)),
        (HALF, (OPEN,)),
        ("I think that 3*4 <= 12 and so it is <12>", ()),
    ],
)
@pytest.mark.parametrize("remote", [False, True])
async def test_plain_text_tags_that_were_learned(other_codec, reply, tags, gives, remote):
    opens, closes = OPEN in tags, CLOSE in tags
    model = ScriptedModel(
        reply, codec=other_codec, taught=None, remote=remote, reading=knows(*tags)
    )
    model.gives = gives
    found = await probe(model)
    assert (found.opens, found.closes) == (opens, closes)
    assert model.open_sessions == 0


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize(
    ("openings", "opens"), [(0, False), (1, False), (2, True), (len(PROMPTS), True)]
)
async def test_two_replies_decide(remote, openings, opens, counted):
    replies = [TAGGED if at >= len(PROMPTS) - openings else "plain" for at in range(len(PROMPTS))]
    model = ScriptedModel(replies, taught=None, remote=remote)
    sessions = counted(model)
    assert (await probe(model)).opens is opens
    # One opening at the very end cannot make two.
    assert len(sessions) <= len(PROMPTS) - (openings < 2 and not remote)
    assert model.open_sessions == 0


@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize("dialect", ["ids", "text"])
@pytest.mark.parametrize("member", ["small", "base"])
async def test_models_on_servers_are_told_apart(member, dialect):
    servers = {
        "ids": ("completions_server", f"embedded:{member}"),
        "text": ("dialect_server", f"embedded:{member}", "text"),
    }
    with serving(*servers[dialect]) as (_, url):
        model = await load_model(
            OpenAIServerModel(url, "text", tokenizer=str(path(member)), context_tokens=2048),
            role="small",
        )
        found = await probe(model)
        assert (found.opens, found.closes) == (member == "small",) * 2
        assert model.dialect.name == dialect


async def test_callers_at_the_same_time_share_one_probe(counted):
    model = ScriptedModel(TAGGED, taught=None, delay_s=0.001)
    sessions = counted(model)
    found = await asyncio.gather(*(probe(model) for _ in range(5)))
    assert len({id(one) for one in found}) == 1
    assert len(sessions) == 2


async def test_a_cancelled_caller_leaves_the_probe_to_the_others():
    model = ScriptedModel(TAGGED, taught=None, delay_s=0.001)
    first, second = (asyncio.ensure_future(probe(model)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).opens
    assert model.open_sessions == 0


@pytest.mark.parametrize("remote", [False, True])
async def test_a_probe_that_failed_is_made_again(remote):
    broken = ModelCallError("the server is down", retryable=True)
    model = ScriptedModel(TAGGED, taught=None, remote=remote, fail_after=3, error=broken)
    with pytest.raises(ModelCallError):
        await probe(model)
    assert model.open_sessions == 0
    assert probe.known(model) is None
    model.fail_after = None
    assert (await probe(model)).opens


async def test_a_released_model_is_forgotten():
    model = await loaded("base")
    await probe(model)
    gone = weakref.ref(model)
    del model
    release(unnamed("base"))
    gc.collect()
    assert gone() is None


async def test_changed_weights_are_probed_again():
    model = ScriptedModel("plain", taught=None)
    assert not (await probe(model)).opens
    model._reply = TAGGED
    probe.forget(model)
    assert (await probe(model)).opens
