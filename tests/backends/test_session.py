"""Sessions keep their cache, cut it and give back exactly what an uncached pass gives."""

import asyncio
import time
from contextlib import aclosing
from copy import deepcopy

import pytest
import torch

from splitreason_integrations.backends.base import End, Verdict, WriteOrder
from splitreason_integrations.backends.hf.model import HFModel
from splitreason_integrations.backends.hf.steps import Steps
from splitreason_integrations.errors import SessionError
from splitreason_integrations.sampling import Sampling
from tests.backends.servers import chances
from tests.limits import END_S

GREEDY = Sampling(temperature=0.0)


def order(max_tokens=8, **more):
    settings = {"sampling": GREEDY, "seed": 1, "stream": 1, "stop_tokens": frozenset(), **more}
    return WriteOrder(max_tokens=max_tokens, **settings)


async def write(session, writing):
    ids, end = [], None
    async with aclosing(session.write(writing)) as slices:
        async for written in slices:
            ids += written.token_ids
            end = written.end
    return ids, end


def uncached(model, ids):
    with torch.inference_mode():
        return model.network(input_ids=torch.tensor([ids])).logits[0]


async def test_writing_equals_uncached_passes(random_pair):
    model = random_pair[0]
    session = model.open([5, 6, 7])
    ids, end = await write(session, order(12))
    assert end is End.LENGTH
    everything = [5, 6, 7]
    for token in ids:
        assert int(uncached(model, everything)[-1].argmax()) == token
        everything.append(token)
    session.close()


async def test_extend_and_truncate_cost_only_what_is_new(random_pair):
    model = random_pair[0]
    session = model.open([5, 6, 7])
    await write(session, order(4))
    assert session.passes == 4
    session.extend([9, 10, 11])
    assert session.unread == 3
    await write(session, order(1))
    assert session.passes == 5
    session.truncate(session.length - 2)
    everything = session._ids[:]
    again, _ = await write(session, order(1))
    assert int(uncached(model, everything)[-1].argmax()) == again[0]
    assert session.passes == 6
    session.close()


async def test_probabilities_come_from_one_pass(random_pair):
    model = random_pair[0]
    session = model.open([5, 6, 7])
    session.extend([8, 9])
    probabilities = await chances(session, 42)
    assert session.passes == 1
    expected = uncached(model, [5, 6, 7, 8, 9]).softmax(-1)[:, 42].tolist()
    assert probabilities == pytest.approx(expected, abs=1e-6)
    assert session.read == 5
    session.close()


async def test_stop_token_is_not_kept(random_pair):
    model = random_pair[0]
    session = model.open([5, 6, 7])
    free, _ = await write(session, order(6))
    session.close()
    session = model.open([5, 6, 7])
    stop = free[3]
    ids, end = await write(session, order(6, stop_tokens=frozenset([stop])))
    assert ids == free[: free.index(stop)]
    assert end is End.STOP_TOKEN
    assert session.length == 3 + len(ids)
    session.close()


async def test_forbidden_tokens_are_never_written(random_pair):
    model = random_pair[0]
    for sampling in (GREEDY, Sampling(temperature=1.0)):
        session = model.open([5, 6, 7])
        free, _ = await write(session, order(6, sampling=sampling))
        session.close()
        session = model.open([5, 6, 7])
        ids, _ = await write(session, order(6, sampling=sampling, forbidden=tuple(set(free))))
        assert not set(ids) & set(free)
        session.close()


class Refusing:
    probability_of = 42
    wants_entropy = True
    wants_confidence = False

    def __init__(self, refused, stop_at):
        self.refused = refused
        self.stop_at = stop_at
        self.seen = []

    def __call__(self, token_id, *, index, probability, entropy, confidence):
        assert 0 <= probability <= 1
        assert entropy >= 0
        if token_id == self.refused:
            return Verdict.REFUSE
        if index == self.stop_at:
            return Verdict.STOP
        self.seen.append(token_id)
        return Verdict.KEEP


async def test_a_watch_refuses_and_stops(random_pair):
    model = random_pair[0]
    session = model.open([5, 6, 7])
    first, _ = await write(session, order(1))
    session.close()
    session = model.open([5, 6, 7])
    watch = Refusing(first[0], stop_at=3)
    ids, end = await write(session, order(10, watch=watch))
    assert end is End.WATCH
    assert len(ids) == 3
    assert first[0] not in ids
    assert ids == watch.seen
    session.close()


async def test_a_refusal_does_not_let_forbidden_tokens_in(random_pair):
    model = random_pair[0]
    session = model.open([5, 6, 7])
    await chances(session, 1)
    ranked = session._next.argsort(descending=True).tolist()
    watch = Refusing(ranked[0], stop_at=9)
    ids, _ = await write(session, order(1, watch=watch, forbidden=(ranked[1], ranked[2])))
    assert ids == [ranked[3]]
    session.close()


async def test_same_seed_whatever_the_pieces(random_pair):
    sampling = Sampling(temperature=1.0)
    whole = random_pair[0].open([5, 6, 7])
    pieces = random_pair[0].open([5, 6, 7])
    expected, _ = await write(whole, order(20, sampling=sampling))
    ids = []
    for size in (1, 7, 3, 9):
        ids += (await write(pieces, order(size, sampling=sampling)))[0]
    assert ids == expected
    whole.close()
    pieces.close()


async def test_many_sessions_do_not_mix(random_pair):
    model = random_pair[0]

    async def one(start):
        session = model.open([start, 6, 7])
        ids, _ = await write(session, order(30))
        session.close()
        return ids

    alone = [await one(start) for start in range(10, 22)]
    together = await asyncio.gather(*(one(start) for start in range(10, 22)))
    assert together == alone
    assert model.open_sessions == 0


async def test_a_closed_session_says_so(random_pair):
    session = random_pair[0].open([5])
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.extend([1])
    with pytest.raises(SessionError, match="closed"):
        await chances(session, 1)
    with pytest.raises(SessionError, match="closed"):
        await write(session, order())


async def test_closing_a_session_ends_its_writing(random_pair, monkeypatch):
    model = random_pair[0]
    forward = model.forward

    def slow(*arguments, **settings):
        time.sleep(0.01)
        return forward(*arguments, **settings)

    monkeypatch.setattr(model, "forward", slow)
    session = model.open([5, 6, 7])
    got = []

    async def read():
        async with aclosing(session.write(order(300))) as slices:
            async for written in slices:
                got.extend(written.token_ids)

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.1)
    session.close()
    with pytest.raises(SessionError, match="closed"):
        await asyncio.wait_for(reading, END_S)
    assert got == session._ids[3:]
    assert not session.holds_cache


@pytest.mark.parametrize("steps", [False, True])
@pytest.mark.parametrize("waited_s", [0, 0.004, 0.012])
async def test_a_pass_that_outlasts_its_reader_changes_nothing(random_pair, steps, waited_s):
    network = deepcopy(random_pair[0].network)
    network.model.norm.register_forward_hook(lambda *_: time.sleep(0.006))
    model = HFModel(
        network, random_pair[0].codec, name="slow", steps=Steps(network) if steps else None
    )
    for trial in range(8):
        session = model.open([5, 6, 7 + trial])
        async with aclosing(session.write(order(60))) as slices:
            async for _ in slices:
                break
        await asyncio.sleep(waited_s)
        session.truncate(4)
        session.extend([9, 8, 7])
        wanted = list(session.token_ids)
        found = await chances(session, 5, last=1)
        assert list(session.token_ids) == wanted
        assert found[0] == pytest.approx(
            float(uncached(model, wanted)[-1].softmax(-1)[5]), abs=1e-5
        )
        session.close()


async def test_a_write_that_has_ended_may_be_left_late(random_pair, monkeypatch):
    model = random_pair[0]
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda *a, **k: time.sleep(0.02) or forward(*a, **k))
    session = model.open([5, 6, 7])
    writing = session.write(order(1))
    assert (await anext(writing)).end is End.LENGTH
    session.extend([8])
    reading = asyncio.ensure_future(chances(session, 5))
    await asyncio.sleep(0.01)
    await writing.aclose()
    assert len(await reading) == 2
    session.close()


async def test_a_sequence_that_changes_while_it_is_read_is_an_error(random_pair, monkeypatch):
    model = random_pair[0]
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda *a, **k: time.sleep(0.05) or forward(*a, **k))
    session = model.open([5, 6, 7])
    reading = asyncio.ensure_future(chances(session, 5))
    await asyncio.sleep(0)
    session.extend([8])
    with pytest.raises(SessionError, match="was changed"):
        await reading
    assert len(await chances(session, 5)) == 4
    session.close()


async def test_a_cut_into_the_prompt_is_refused(random_pair):
    session = random_pair[0].open([5, 6])
    with pytest.raises(SessionError, match="cannot cut"):
        session.truncate(1)
    with pytest.raises(SessionError, match="at least one token"):
        random_pair[0].open([])
    session.close()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
async def test_cuda_writes_what_cpu_writes(random_pair, embedded):
    network = deepcopy(random_pair[0].network).to("cuda")
    session = HFModel(network, embedded[0].codec, name="cuda").open([5, 6, 7])
    expected = random_pair[0].open([5, 6, 7])
    assert await write(session, order(12)) == await write(expected, order(12))
