"""What a session of any backend does with a watch and a guide."""

import pytest

from splitreason_integrations.backends.base import Gives, Verdict
from splitreason_integrations.errors import RequestError
from tests.backends.opened_sessions import NEAR, OPEN, OpensSessions, free
from tests.backends.servers import order, prompt, write


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
    """Lets every token come."""

    grammar, between, reasoning_end = "start: /.*/", (), None

    def restrict(self, logits, reply):
        return logits

    def answer_tokens(self, reply):
        return len(reply)

    def accepted(self, reply, token_ids):
        return len(token_ids)


class WatchingContract(OpensSessions):
    @pytest.mark.parametrize("how", [{}, {"stop_at": 3}, {"stop_at": 0}], ids=str)
    async def test_a_watch_sees_and_stops_as_it_does_here(self, opened, model, embedded, how):
        mine, local = Judging(**how), Judging(**how)
        ends = []
        for some, watch in ((model, mine), (embedded[0], local)):
            session = opened(some, prompt())
            ids, last = await write(session, order(9, watch=watch))
            ends.append((ids, last.end, list(session.token_ids)))
            session.close()
        assert ends[0] == ends[1]
        assert mine.seen == local.seen
        assert mine.chances == pytest.approx(local.chances, abs=NEAR)

    async def test_refused_tokens_are_drawn_again(self, opened, model, embedded):
        whole = await free(model, 3)
        once = Judging(refused=(whole[0],))
        session = opened(model, prompt())
        ids, _ = await write(session, order(1, watch=once))
        session.close()
        refused = (whole[0], ids[0], whole[2])
        ends = []
        for some in (model, embedded[0]):
            session, watch = opened(some, prompt()), Judging(refused=refused)
            ids, last = await write(session, order(9, watch=watch, forbidden=(OPEN,)))
            ends.append((ids, last.end, list(session.token_ids), watch.seen))
            session.close()
        assert ends[0] == ends[1]
        assert not set(ends[0][0]) & {*refused, OPEN}
        assert len(ends[0][3]) > len(ends[0][0]) == 9

    async def test_a_watch_learns_entropy_and_confidence_as_it_does_here(
        self, opened, model, embedded
    ):
        if Gives.WRITING not in model.gives:
            pytest.skip("the backend writes without probabilities")
        mine, local = Unsure(), Unsure()
        for some, watch in ((model, mine), (embedded[0], local)):
            session = opened(some, prompt())
            await write(session, order(9, watch=watch))
            session.close()
        assert mine.confidences == pytest.approx(local.confidences, abs=NEAR)
        assert mine.entropies == pytest.approx(local.entropies, abs=0.2)
        assert max(local.entropies) > 0

    async def test_what_takes_logits_works_or_is_refused_before_anything_is_written(
        self, opened, model
    ):
        session = opened(model, prompt())
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
