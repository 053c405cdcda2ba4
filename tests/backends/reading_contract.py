"""What a session of any backend does when it reads, drafts and prefills."""

import asyncio

import pytest

from splitreason_integrations.backends.base import DraftsAhead, Gives, Prefills, Wanted
from splitreason_integrations.errors import SessionError
from tests.backends.opened_sessions import CLOSE, NEAR, SAID, OpensSessions, free
from tests.backends.servers import chances, order, prompt, write
from tests.limits import END_S


def look_ahead(session):
    """Draft ahead with a session that can."""
    if isinstance(session, DraftsAhead):
        session.look_ahead(CLOSE)


class ReadingContract(OpensSessions):
    async def test_reading_along_gives_what_a_local_session_gives(self, opened, model, embedded):
        mine, local = opened(model, prompt()), opened(embedded[0], prompt())
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

    @pytest.mark.parametrize("forbidden", [(), (SAID[1], 41)])
    async def test_facts_of_what_is_read_are_those_of_the_model_here(
        self, opened, model, embedded, forbidden
    ):
        if Gives.READING not in model.gives:
            pytest.skip("the backend reads no probabilities")
        mine, local = opened(model, prompt()), opened(embedded[0], prompt())
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

    async def test_spare_places_are_read_and_not_reported(self, opened, model, embedded):
        mine, local = opened(model, prompt()), opened(embedded[0], prompt())
        for session in (mine, local):
            await write(session, order(3))
            session.extend(SAID)
        expected = await chances(local, CLOSE, last=len(SAID))
        found = await chances(mine, CLOSE, last=len(SAID), spare=2)
        assert found == pytest.approx(expected[:-2], abs=NEAR)
        assert (mine.read, mine.unread) == (local.read, 0)
        assert (await write(mine, order(3)))[0] == (await write(local, order(3)))[0]

    @pytest.mark.parametrize("same", [0, 1, 5, 9])
    async def test_a_draft_gives_what_reading_along_gives(self, opened, model, embedded, same):
        own = await free(embedded[0], 12)
        chunks = [own[3 : 3 + same], SAID, [40, 41]]
        mine, local = opened(model, prompt()), opened(embedded[0], prompt())
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

    async def test_closing_ends_a_draft(self, opened, model):
        session = opened(model, prompt())
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

    async def test_what_is_read_ahead_changes_nothing_that_is_written(
        self, opened, model, embedded
    ):
        mine = opened(model, prompt())
        if not isinstance(mine, Prefills):
            pytest.skip("the backend reads nothing ahead")
        local = opened(embedded[0], prompt())
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
        with pytest.raises(SessionError, match="closed"):
            mine.prefill()
