"""What a session of any backend does when it writes, is cut, left and closed."""

import asyncio
import time
from contextlib import aclosing

import pytest

from splitreason_integrations import Sampling, blocking
from splitreason_integrations.backends.base import End
from splitreason_integrations.errors import SessionError
from tests.backends.opened_sessions import CLOSE, NEAR, OPEN, SAID, OpensSessions, free
from tests.backends.servers import chances, order, prompt, write
from tests.limits import END_S
from tests.loop.engine_runs import freed


class WritingContract(OpensSessions):
    async def test_writes_what_one_here_writes_through_cuts_and_additions(
        self, opened, model, embedded
    ):
        mine, local = opened(model, prompt()), opened(embedded[0], prompt())
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

    async def test_what_is_written_already_stands_behind_the_prompt(self, opened, model, embedded):
        begun = await free(model, 4)
        session = opened(model, prompt(), begun)
        assert session.unread == session.length == len(prompt()) + 4
        ids, _ = await write(session, order(5))
        assert begun + ids == await free(embedded[0], 9)

    async def test_a_stop_token_is_not_kept(self, opened, model):
        whole = await free(model, 6)
        session = opened(model, prompt())
        ids, last = await write(session, order(6, stop_tokens=frozenset([whole[3]])))
        assert ids == whole[: whole.index(whole[3])]
        assert (last.end, last.stop_token) == (End.STOP_TOKEN, whole[3])
        assert list(session.token_ids) == [*prompt(), *ids]

    async def test_the_models_own_end_is_a_stop_token_like_any_other(self, opened, model):
        ends = model.codec.end_tokens
        session = opened(model, prompt())
        ids, last = await write(session, order(1500, stop_tokens=ends | {OPEN}))
        assert last.end is End.STOP_TOKEN
        assert last.stop_token in ends | {OPEN}
        assert not set(ids) & (ends | {OPEN})

    @pytest.mark.parametrize("hot", [0.0, 1.0])
    async def test_forbidden_tokens_are_never_written(self, opened, model, hot):
        whole = await free(model, 8)
        session = opened(model, prompt())
        settings = {"sampling": Sampling(temperature=hot), "forbidden": tuple(set(whole))}
        ids, _ = await write(session, order(20, **settings))
        assert len(ids) == 20
        assert not set(ids) & set(whole)

    async def test_the_seed_decides(self, opened, model):
        hot, texts = Sampling(temperature=2.0, top_k=50, min_p=0.0001), []
        for seed in (1, 1, 2, 3):
            session = opened(model, [1, 300, 417, 522])
            texts.append((await write(session, order(40, sampling=hot, seed=seed)))[0])
            session.close()
        assert texts[0] == texts[1]
        assert len({tuple(text) for text in texts}) > 1

    async def test_many_sessions_do_not_mix(self, opened, model):
        async def one(start):
            session = opened(model, [start, *prompt()])
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

    async def test_a_full_context_ends_the_writing(self, opened, model):
        room = 4
        long = [300 + at % 50 for at in range(model.context_tokens - room)]
        session = opened(model, long)
        ids, last = await write(session, order(50))
        assert (len(ids), last.end) == (room, End.LENGTH)
        assert (await write(session, order(50)))[1].end is End.LENGTH

    async def test_the_deadline_ends_the_writing(self, opened, model):
        session = opened(model, prompt())
        _, last = await write(session, order(deadline_s=time.monotonic() - 1))
        assert (last.end, session.length) == (End.DEADLINE, len(prompt()))
        ids, last = await write(session, order(1900, deadline_s=time.monotonic() + 0.1))
        assert last.end is End.DEADLINE
        assert list(session.token_ids) == [*prompt(), *ids]
        assert (await write(session, order(2)))[1].end is End.LENGTH

    async def test_one_that_is_left_goes_on_later(self, opened, model):
        session = opened(model, prompt())
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

    async def test_closing_ends_the_writing(self, opened, model):
        session = opened(model, prompt())
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

    async def test_a_cut_into_the_prompt_is_refused(self, opened, model):
        session = opened(model, [305, 306])
        for length in (1, 3):
            with pytest.raises(SessionError, match="cannot cut"):
                session.truncate(length)
        with pytest.raises(SessionError, match="at least one token"):
            opened(model, [])

    def test_any_event_loop_may_ask(self, model):
        async def one():
            return await free(model, 4)

        expected = blocking.run(one)
        assert [asyncio.run(one()) for _ in range(3)] == [expected] * 3
        assert blocking.run(one) == expected
