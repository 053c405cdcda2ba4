"""What a session of any backend does; each backend's tests hold it to this.

A class of tests that is given `model`, the small model of the embedded pair on some backend, and
`embedded`, the pair by transformers in this process.
"""

import asyncio
import time
from contextlib import aclosing

import pytest

from splitreason_integrations import Sampling, blocking
from splitreason_integrations.backends.base import (
    DraftsAhead,
    End,
    Gives,
    Prefills,
    Verdict,
    Wanted,
)
from splitreason_integrations.errors import RequestError, SessionError
from splitreason_integrations.testing import embedded_codec
from tests.backends.servers import chances, order, prompt, write
from tests.limits import END_S
from tests.loop.engine_runs import freed

OPEN = embedded_codec().control_token("<bigmodel>")
CLOSE = embedded_codec().control_token("</bigmodel>")
SAID = embedded_codec().encode(" So 47*23 = 1081")
NEAR = 1e-4


class Judging:
    """A watch that refuses some tokens, and stops at a place."""

    wants_entropy = False
    wants_confidence = False

    def __init__(self, refused=(), stop_at=None, probability_of=OPEN):
        self.refused = refused
        self.stop_at = stop_at
        self.probability_of = probability_of
        self.seen = []
        self.chances = []

    def __call__(self, token_id, *, index, probability, entropy, confidence):
        self.seen.append((index, token_id))
        self.chances.append(probability)
        if token_id in self.refused:
            return Verdict.REFUSE
        return Verdict.STOP if index == self.stop_at else Verdict.KEEP


class NeedsLogits(Judging):
    wants_entropy = True
    wants_confidence = False


class Unsure(Judging):
    """A watch that notes how sure the model was."""

    wants_entropy = wants_confidence = True

    def __init__(self):
        super().__init__(probability_of=None)
        self.confidences, self.entropies = [], []

    def __call__(self, token_id, *, entropy, confidence, **more):
        self.entropies.append(entropy)
        self.confidences.append(confidence)
        return super().__call__(token_id, entropy=entropy, confidence=confidence, **more)


class AGuide:
    def restrict(self, logits, reply):
        return logits


def look_ahead(session):
    """Draft ahead with a session that can."""
    if isinstance(session, DraftsAhead):
        session.look_ahead(CLOSE)


async def free(model, tokens):
    """Return what a model writes greedily behind the prompt."""
    session = model.open(prompt())
    ids, _ = await write(session, order(tokens))
    session.close()
    return ids


class SessionContract:
    async def test_writes_what_one_here_writes_through_cuts_and_additions(self, model, embedded):
        mine, local = model.open(prompt()), embedded[0].open(prompt())
        for tokens in (5, 1, 12):
            (ids, last), (expected, _) = [
                await write(session, order(tokens)) for session in (mine, local)
            ]
            assert (ids, last.end) == (expected, End.LENGTH)
        for session in (mine, local):
            session.truncate(session.length - 3)
            session.extend(SAID)
        assert mine.unread == local.unread == len(SAID)
        assert (await write(mine, order(6)))[0] == (await write(local, order(6)))[0]
        assert mine.token_ids == local.token_ids
        assert mine.length == len(mine.token_ids)
        assert (mine.read, mine.unread) == (local.read, 0)
        mine.close()
        local.close()

    async def test_what_is_written_already_stands_behind_the_prompt(self, model, embedded):
        begun = await free(model, 4)
        session = model.open(prompt(), begun)
        assert session.unread == session.length == len(prompt()) + 4
        ids, _ = await write(session, order(5))
        assert begun + ids == await free(embedded[0], 9)
        session.close()

    async def test_a_stop_token_is_not_kept(self, model):
        whole = await free(model, 6)
        session = model.open(prompt())
        ids, last = await write(session, order(6, stop_tokens=frozenset([whole[3]])))
        assert ids == whole[: whole.index(whole[3])]
        assert (last.end, last.stop_token) == (End.STOP_TOKEN, whole[3])
        assert list(session.token_ids) == [*prompt(), *ids]
        session.close()

    async def test_the_models_own_end_is_a_stop_token_like_any_other(self, model):
        ends = model.codec.end_tokens
        session = model.open(prompt())
        ids, last = await write(session, order(1500, stop_tokens=ends | {OPEN}))
        assert last.end is End.STOP_TOKEN
        assert last.stop_token in ends | {OPEN}
        assert not set(ids) & (ends | {OPEN})
        session.close()

    @pytest.mark.parametrize("hot", [0.0, 1.0])
    async def test_forbidden_tokens_are_never_written(self, model, hot):
        whole = await free(model, 8)
        session = model.open(prompt())
        settings = {"sampling": Sampling(temperature=hot), "forbidden": tuple(set(whole))}
        ids, _ = await write(session, order(20, **settings))
        assert len(ids) == 20
        assert not set(ids) & set(whole)
        session.close()

    @pytest.mark.parametrize("how", [{}, {"stop_at": 3}, {"stop_at": 0}], ids=str)
    async def test_a_watch_sees_and_stops_as_it_does_here(self, model, embedded, how):
        mine, local = Judging(**how), Judging(**how)
        ends = []
        for some, watch in ((model, mine), (embedded[0], local)):
            session = some.open(prompt())
            ids, last = await write(session, order(9, watch=watch))
            ends.append((ids, last.end, list(session.token_ids)))
            session.close()
        assert ends[0] == ends[1]
        assert mine.seen == local.seen
        assert mine.chances == pytest.approx(local.chances, abs=NEAR)

    async def test_refused_tokens_are_drawn_again(self, model, embedded):
        whole = await free(model, 3)
        once = Judging(refused=(whole[0],))
        session = model.open(prompt())
        ids, _ = await write(session, order(1, watch=once))
        session.close()
        refused = (whole[0], ids[0], whole[2])
        ends = []
        for some in (model, embedded[0]):
            session, watch = some.open(prompt()), Judging(refused=refused)
            ids, last = await write(session, order(9, watch=watch, forbidden=(OPEN,)))
            ends.append((ids, last.end, list(session.token_ids), watch.seen))
            session.close()
        assert ends[0] == ends[1]
        assert not set(ends[0][0]) & {*refused, OPEN}
        assert len(ends[0][3]) > len(ends[0][0]) == 9

    async def test_reading_along_gives_what_a_local_session_gives(self, model, embedded):
        mine, local = model.open(prompt()), embedded[0].open(prompt())
        for session in (mine, local):
            await write(session, order(3))
            session.extend(SAID)
        found = await chances(mine, CLOSE)
        expected = await chances(local, CLOSE)
        # The last token of one's own is pending in a cache here.
        assert found == pytest.approx(expected[-len(found) :], abs=NEAR)
        assert len(found) >= len(SAID)
        assert (mine.read, mine.unread) == (local.read, 0)
        for session in (mine, local):
            session.extend([40, 41, 42])
        expected = await chances(local, CLOSE, last=2)
        assert await chances(mine, CLOSE, last=2) == pytest.approx(expected, abs=NEAR)
        again = await chances(mine, CLOSE)
        assert again == pytest.approx(expected[-1:], abs=NEAR)
        mine.close()
        local.close()

    @pytest.mark.parametrize("forbidden", [(), (SAID[1], 41)])
    async def test_facts_of_what_is_read_are_those_of_the_model_here(
        self, model, embedded, forbidden
    ):
        if Gives.READING not in model.gives:
            pytest.skip("the backend reads no probabilities")
        mine, local = model.open(prompt()), embedded[0].open(prompt())
        for session in (mine, local):
            await write(session, order(3))
            session.extend(SAID)
        for asked, more in [
            (Wanted(own=True, forbidden=forbidden), {"last": len(SAID)}),
            (Wanted(own=True, probability_of=CLOSE, forbidden=forbidden), {}),
            (Wanted(own=True, entropy=True, forbidden=forbidden), {"last": 2}),
            (Wanted(entropy=True, probability_of=CLOSE), {"last": 3, "spare": 1}),
        ]:
            found = await mine.read_facts(asked, **more)
            expected = (await local.read_facts(asked, **more))[-len(found) :]
            assert len(found) == len(expected) > 0
            for one, here in zip(found, expected, strict=True):
                assert one.likeliest is here.likeliest
                if one.probability or not asked.entropy:  # else it may not be among the likeliest
                    assert one.probability == pytest.approx(here.probability, abs=2 * NEAR)
                assert one.next_probability == pytest.approx(here.next_probability, abs=NEAR)
                assert one.next_entropy <= here.next_entropy + 10 * NEAR
                assert one.next_entropy == pytest.approx(here.next_entropy, abs=0.2)
            for session in (mine, local):
                session.extend([40, 41, *SAID])
        mine.close()
        local.close()

    async def test_a_watch_learns_entropy_and_confidence_as_it_does_here(self, model, embedded):
        if Gives.WRITING not in model.gives:
            pytest.skip("the backend writes without probabilities")
        mine, local = Unsure(), Unsure()
        for some, watch in ((model, mine), (embedded[0], local)):
            session = some.open(prompt())
            await write(session, order(9, watch=watch))
            session.close()
        assert mine.confidences == pytest.approx(local.confidences, abs=NEAR)
        assert mine.entropies == pytest.approx(local.entropies, abs=0.2)
        assert max(local.entropies) > 0

    async def test_spare_places_are_read_and_not_reported(self, model, embedded):
        mine, local = model.open(prompt()), embedded[0].open(prompt())
        for session in (mine, local):
            await write(session, order(3))
            session.extend(SAID)
        expected = await chances(local, CLOSE, last=len(SAID))
        found = await chances(mine, CLOSE, last=len(SAID), spare=2)
        assert found == pytest.approx(expected[:-2], abs=NEAR)
        assert (mine.read, mine.unread) == (local.read, 0)
        assert (await write(mine, order(3)))[0] == (await write(local, order(3)))[0]
        mine.close()
        local.close()

    @pytest.mark.parametrize("same", [0, 1, 5, 9])
    async def test_a_draft_gives_what_reading_along_gives(self, model, embedded, same):
        own = await free(embedded[0], 12)
        chunks = [own[3 : 3 + same], SAID, [40, 41]]
        mine, local = model.open(prompt()), embedded[0].open(prompt())
        for session in (mine, local):
            await write(session, order(3))
        look_ahead(mine)
        for chunk in filter(None, chunks):
            for session in (mine, local):
                session.extend(chunk)
            expected = await chances(local, CLOSE, last=len(chunk))
            found = await chances(mine, CLOSE, last=len(chunk))
            assert found == pytest.approx(expected, abs=NEAR)
            look_ahead(mine)
            assert (mine.read, mine.unread) == (local.read, 0)
        for session in (mine, local):
            session.truncate(session.length - 2)
            session.extend(SAID)
        expected = await chances(local, CLOSE, last=2)
        assert await chances(mine, CLOSE, last=2) == pytest.approx(expected, abs=NEAR)
        assert (await write(mine, order(4)))[0] == (await write(local, order(4)))[0]
        assert mine.token_ids == local.token_ids
        mine.close()
        local.close()

    async def test_closing_ends_a_draft(self, model):
        session = model.open(prompt())
        await write(session, order(1))
        look_ahead(session)
        session.extend(SAID)
        reading = asyncio.create_task(chances(session, CLOSE))
        await asyncio.sleep(0)
        session.close()
        with pytest.raises(SessionError, match="closed"):
            await asyncio.wait_for(reading, END_S)
        if isinstance(session, DraftsAhead):
            with pytest.raises(SessionError, match="closed"):
                session.look_ahead(CLOSE)

    async def test_what_is_read_ahead_changes_nothing_that_is_written(self, model, embedded):
        mine = model.open(prompt())
        if not isinstance(mine, Prefills):
            mine.close()
            pytest.skip("the backend reads nothing ahead")
        local = embedded[0].open(prompt())
        mine.prefill()
        for session in (mine, local):
            session.extend(SAID)
        mine.prefill()
        for session in (mine, local):
            session.truncate(session.length - 2)
        assert (await write(mine, order(6)))[0] == (await write(local, order(6)))[0]
        assert mine.token_ids == local.token_ids
        mine.prefill()
        mine.close()
        local.close()
        with pytest.raises(SessionError, match="closed"):
            mine.prefill()

    async def test_the_seed_decides(self, model):
        hot, texts = Sampling(temperature=2.0, top_k=50, min_p=0.0001), []
        for seed in (1, 1, 2, 3):
            session = model.open([1, 300, 417, 522])
            texts.append((await write(session, order(40, sampling=hot, seed=seed)))[0])
            session.close()
        assert texts[0] == texts[1]
        assert len({tuple(text) for text in texts}) > 1

    async def test_many_sessions_do_not_mix(self, model):
        async def one(start):
            session = model.open([start, *prompt()])
            ids, _ = await write(session, order(12))
            session.extend(SAID)
            found = await chances(session, CLOSE, last=3)
            session.close()
            return ids, found

        alone = [await one(start) for start in range(300, 312)]
        together = await asyncio.gather(*(one(start) for start in range(300, 312)))
        for (ids, found), (expected, near) in zip(together, alone, strict=True):
            assert ids == expected
            assert found == pytest.approx(near, abs=NEAR)
        assert freed([model])

    async def test_a_full_context_ends_the_writing(self, model):
        room = 4
        long = [300 + at % 50 for at in range(model.context_tokens - room)]
        session = model.open(long)
        ids, last = await write(session, order(50))
        assert (len(ids), last.end) == (room, End.LENGTH)
        assert (await write(session, order(50)))[1].end is End.LENGTH
        session.close()

    async def test_the_deadline_ends_the_writing(self, model):
        session = model.open(prompt())
        _, last = await write(session, order(deadline_s=time.monotonic() - 1))
        assert (last.end, session.length) == (End.DEADLINE, len(prompt()))
        ids, last = await write(session, order(1900, deadline_s=time.monotonic() + 0.1))
        assert last.end is End.DEADLINE
        assert list(session.token_ids) == [*prompt(), *ids]
        assert (await write(session, order(2)))[1].end is End.LENGTH
        session.close()

    async def test_one_that_is_left_goes_on_later(self, model):
        session = model.open(prompt())
        async with aclosing(session.write(order(1900))) as parts:
            await anext(parts)
        writing = asyncio.create_task(write(session, order(1900)))
        await asyncio.sleep(0.1)
        writing.cancel()
        await asyncio.wait({writing})
        assert writing.cancelled()
        await chances(session, CLOSE)
        length = session.length
        assert len(prompt()) < length < 1900
        await asyncio.sleep(0.1)
        assert session.length == length
        await write(session, order(5))
        assert session.token_ids[len(prompt()) :] == await free(model, length + 5 - len(prompt()))
        session.close()

    async def test_closing_ends_the_writing(self, model):
        session = model.open(prompt())
        writing = asyncio.create_task(write(session, order(1900)))
        await asyncio.sleep(0.1)
        session.close()
        with pytest.raises(SessionError, match="closed"):
            await asyncio.wait_for(writing, END_S)
        for _ in range(500):
            if not model.open_sessions:
                break
            await asyncio.sleep(0.02)
        assert model.open_sessions == 0
        for use in (lambda: session.extend([1]), lambda: session.truncate(session.length)):
            with pytest.raises(SessionError, match="closed"):
                use()
        with pytest.raises(SessionError, match="closed"):
            await chances(session, 1)
        with pytest.raises(SessionError, match="closed"):
            await write(session, order())

    async def test_a_cut_into_the_prompt_is_refused(self, model):
        session = model.open([305, 306])
        for length in (1, 3):
            with pytest.raises(SessionError, match="cannot cut"):
                session.truncate(length)
        with pytest.raises(SessionError, match="at least one token"):
            model.open([])
        session.close()

    def test_any_event_loop_may_ask(self, model):
        async def one():
            return await free(model, 4)

        expected = blocking.run(one)
        assert [asyncio.run(one()) for _ in range(3)] == [expected] * 3
        assert blocking.run(one) == expected

    async def test_what_takes_logits_works_or_is_refused_before_anything_is_written(self, model):
        session = model.open(prompt())
        for asked, needed in (
            ({"guide": AGuide()}, Gives.FORM),
            ({"watch": NeedsLogits()}, Gives.WRITING),
        ):
            if needed in model.gives:
                assert len((await write(session, order(2, **asked)))[0]) == 2
            else:
                with pytest.raises(RequestError, match=r"a form|probabilities"):
                    await write(session, order(2, **asked))
                assert session.length == len(prompt())
        session.close()
