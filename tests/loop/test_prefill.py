"""An idle large model reads ahead: the text stays the same, and all is paid for once."""

import asyncio

import pytest

from splitreason_integrations import (
    AskRule,
    HumanCheck,
    Never,
    Policy,
    Prices,
    SplitEngine,
    Tag,
)
from splitreason_integrations.decide.resilience import Retry
from splitreason_integrations.errors import ConfigurationError, ModelCallError
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.request import Request
from splitreason_integrations.testing import ScriptedModel, embedded_codec
from tests.backends.servers import load, order, prompt, serving_pair, write
from tests.limits import END_S
from tests.loop.engine_runs import complete, freed, request

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

STORY = "We count and count again, and then once more. " * 6
SMALL = f"{STORY}<bigmodel> and {STORY}<bigmodel>so</think>Done."
LARGE = "that is 1081.</bigmodel>then 12.</bigmodel>"
PRICES = Prices(2.0, 8.0)
LONG = {"max_tokens": 900}


def models(small=SMALL, **more):
    return (
        ScriptedModel(small, name="little"),
        ScriptedModel(LARGE, name="big", prices=PRICES, **more),
    )


def prefilled(pair, **settings):
    """Return a reply, and how much of it the large model was shown."""
    shown = []
    opened = pair[1].open

    def opening(ids, written=()):
        session = opened(ids, written)
        prefill = session.prefill

        def noted():
            shown.append(session.length - len(ids))
            prefill()

        session.prefill = noted
        return session

    pair[1].open = opening
    reply = complete(SplitEngine(small=pair[0], large=pair[1], **settings), request(**LONG))
    assert freed(pair)
    return reply, shown


@pytest.mark.parametrize("tokens", [1, 7, 40, 5000])
def test_the_text_and_its_price_are_the_same(tokens):
    plain, _ = prefilled(models())
    reply, shown = prefilled(models(), prefill_tokens=tokens)
    assert len(plain.spans) == 2
    assert reply.pieces == plain.pieces
    # Text after the last span may have been read in vain.
    behind = PRICES.cost_usd(input_tokens=len(plain.pieces[-1].token_ids), output_tokens=0)
    in_vain = behind if tokens == 1 else 0.0
    assert plain.cost_usd - 1e-9 <= reply.cost_usd <= plain.cost_usd + in_vain + 1e-9
    assert [s.closed_by for s in reply.spans] == [s.closed_by for s in plain.spans]
    assert bool(shown) is (tokens < 5000)
    spans = sum(span.cost_usd for span in reply.spans)
    assert reply.read_ahead_usd + spans == pytest.approx(reply.cost_usd)
    assert (reply.read_ahead_usd > 0) is (tokens < 5000)


def test_what_is_read_in_vain_is_paid_for_once():
    pair = models(f"{STORY}</think>Done.")
    reply, shown = prefilled(pair, prefill_tokens=10)
    assert not reply.spans
    assert shown[-1] > 40
    read = shown[-1] + len(prompt_of(pair[1]))
    assert reply.cost_usd == pytest.approx(PRICES.cost_usd(input_tokens=read, output_tokens=0))
    assert reply.read_ahead_usd == reply.cost_usd


def prompt_of(model):
    ((ids, _),) = model._closed.items()
    return ids


@pytest.mark.parametrize("usd", [0.0, 0.0002, 0.0006, 0.001, 0.002, 0.01])
def test_money_caps_hold_and_admit_the_same(usd):
    policy = Policy(max_usd=usd)
    plain, _ = prefilled(models(), policy=policy)
    reply, _ = prefilled(models(), policy=policy, prefill_tokens=8)
    assert reply.pieces == plain.pieces
    assert reply.cost_usd <= usd + 1e-9


@pytest.mark.parametrize(
    "settings",
    [
        {"human_check": HumanCheck(reviewer=lambda _: True)},
        {
            "policy": Policy(ask_before=AskRule()),
            "human_check": HumanCheck(reviewer=lambda _: True, before=None),
        },
        {"policy": Policy(max_spans=0)},
        {"trigger": Never()},
    ],
    ids=["check", "rule", "no spans", "never"],
)
def test_nothing_goes_ahead_that_may_not(settings):
    assert prefilled(models(), prefill_tokens=5, **settings)[1] == []


def test_behind_a_vault_the_prompt_alone_goes_ahead():
    reply, shown = prefilled(models(remote=True), prefill_tokens=5, redact=["email"])
    assert reply.spans
    assert shown
    assert shown[0] == 0
    plain, _ = prefilled(models(remote=True), redact=["email"])
    assert reply.pieces == plain.pieces


def test_a_failing_model_fails_at_the_hand_over_alone():
    small, large = models(error=ModelCallError("gone", retryable=False), fail_after=0)
    spare = ScriptedModel(LARGE, name="spare")
    some = SplitEngine(
        small=small, large=[large, spare], prefill_tokens=5, retry=Retry(attempts=1, wait_s=0)
    )
    reply = complete(some, request(**LONG))
    assert not reply.degraded
    assert reply.large_tokens > 0
    assert freed([small, large, spare])


def test_a_number_below_one_is_refused():
    with pytest.raises(ConfigurationError, match="prefill_tokens"):
        SplitEngine(prefill_tokens=0)


@pytest.fixture(scope="module")
def pair():
    with serving_pair() as both:
        yield both


async def test_servers_write_the_same(pair):
    spans = 0
    for task in generated("test", ("word", "context"), n=4, seed=5):
        asked = Request(messages=task.messages, tools=task.tools, seed=1, max_tokens=200)
        plain = await SplitEngine(trigger=Tag()).complete(asked)
        some = SplitEngine(small=pair[0], large=pair[1], trigger=Tag(), prefill_tokens=6)
        assert (await some.complete(asked)).pieces == plain.pieces
        spans += len(plain.spans)
    assert spans > 2
    assert all(load(one).open_sessions == 0 for one in pair)


async def test_a_session_reads_ahead_in_a_request_of_its_own(pair, embedded):
    before = asyncio.all_tasks()
    session, local = load(pair[0]).open(prompt()), embedded[0].open(prompt())
    session.prefill()
    assert (session.requests, session.read, session.unread) == (1, len(prompt()), 0)
    session.prefill()
    assert session.requests == 1
    for one in (session, local):
        one.extend(embedded_codec().encode(" So 47*23 = 1081"))
    session.prefill()
    assert (await write(session, order(5)))[0] == (await write(local, order(5)))[0]
    assert session.requests == 3
    assert session.read == local.read
    session.extend([40, 41])
    session.prefill()
    session.close()
    local.close()
    left = asyncio.all_tasks() - before
    await asyncio.wait_for(asyncio.gather(*left), END_S)
