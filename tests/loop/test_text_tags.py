"""Tags that are plain text of several tokens, as the published pair writes them."""

import pytest

from splitreason_integrations import (
    AskRule,
    Delta,
    HumanCheck,
    Never,
    Policy,
    Request,
    SplitEngine,
    Tag,
    TagClose,
    blocking,
)
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.decide.resilience import Retry
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.testing import ScriptedModel

ASK = [{"role": "user", "content": "what is first 12*3 then 36+4"}]


def run(small, large, trigger=None, **more):
    engine = SplitEngine(small=small, large=large, trigger=trigger or Tag(), **more)
    stream = blocking.iterate(engine.stream(Request(messages=ASK, seed=1)))
    items = list(stream)
    return [item for item in items[:-1] if isinstance(item, Delta)], items[-1]


@pytest.mark.parametrize("slice_tokens", [1, 2, 3, 50])
@pytest.mark.parametrize(
    "before", ["first 12*3 = ", "first 12*3 =", "1 < 2, a <b>, ", "the model helps " * 9]
)
def test_the_tag_opens_a_span_and_never_shows(other_codec, slice_tokens, before):
    small = ScriptedModel(
        f"{before}<bigmodel></bigmodel> then 36+4 = 40", codec=other_codec,
        slice_tokens=slice_tokens,
    )  # fmt: skip
    large = ScriptedModel("36", codec=other_codec)
    deltas, reply = run(small, large)
    assert [span.text.strip() for span in reply.spans] == ["36"]
    assert reply.spans[0].closed_by == "large_end"
    text = "".join(delta.text for delta in deltas)
    assert "big" not in text
    assert text.replace(" ", "") == f"{before}36 then 36+4 = 40".replace(" ", "")
    assert small.open_sessions == large.open_sessions == 0


def test_the_whole_close_tag_must_be_likely(other_codec):
    closing = other_codec.encode("</bigmodel>")
    assert len(closing) > 1

    def probability(text):
        return 0.9 if text.endswith(("36", "48")) else 0.0

    small = ScriptedModel(
        "a <bigmodel></bigmodel> b", codec=other_codec, close_probability=probability
    )
    large = ScriptedModel("36 37 38 39", codec=other_codec)
    _, reply = run(small, large, close=TagClose(0.5))
    assert reply.spans[0].text.strip() == "36 37 38 39"
    assert reply.spans[0].closed_by == "large_end"


def test_a_tag_that_may_not_open_is_suppressed(other_codec):
    small = ScriptedModel("a <bigmodel> b", codec=other_codec)
    large = ScriptedModel("36", codec=other_codec)
    _, reply = run(small, large, policy=Policy(max_spans=0))
    assert reply.spans == ()
    assert "big" not in reply.answer


@pytest.mark.parametrize("slice_tokens", [1, 2, 50])
def test_a_tag_that_the_trigger_refuses_is_taken_back(other_codec, slice_tokens):
    small = ScriptedModel(
        "a <bigmodel> b", codec=other_codec, slice_tokens=slice_tokens
    )  # fmt: skip
    large = ScriptedModel("36", codec=other_codec)
    _, reply = run(small, large, trigger=Tag() & Never())
    assert reply.spans == ()
    assert "bigmodel" not in reply.answer


def test_a_tag_cut_by_a_waiting_share_cap_never_shows(other_codec):
    small = ScriptedModel("ab cd <bigmodel></bigmodel> e f g " * 6, codec=other_codec)
    large = ScriptedModel("36", codec=other_codec)
    for share in (0.05, 0.1, 0.2, 0.3):
        policy = Policy(max_offload_share=share, min_span_tokens=1)
        _, reply = run(small, large, policy=policy)
        assert "<bigmodel>" not in reply.answer
        assert reply.offload_share <= share


def test_a_hint_is_for_its_model_alone(other_codec):
    seen = {}

    def record(who):
        def reply(messages, tools):
            seen[who] = messages[-1]["content"]
            return "a <bigmodel></bigmodel> b" if who == "small" else "36"

        return reply

    small = ScriptedModel(record("small"), codec=other_codec, hint="Mark what is hard.")
    large = ScriptedModel(record("large"), codec=other_codec)
    run(small, large)
    assert seen["small"].endswith("Mark what is hard.")
    assert seen["large"] == ASK[-1]["content"]


def test_large_models_without_tags_as_control_tokens_never_see_one(other_codec, embedded):
    small = blocking.run(lambda: load_model("embedded", role="small"))
    sequences = []

    class Recording(ScriptedModel):
        def open(self, prompt):
            session = super().open(prompt)
            sequences.append(session)
            return session

    large = Recording("36", codec=other_codec)
    engine = SplitEngine(small=small, large=large, trigger=Tag(threshold=0.0))
    request = Request(messages=ASK, seed=1, max_tokens=12)
    reply = blocking.run(lambda: engine.complete(request))
    assert reply.spans
    assert "bigmodel" not in other_codec.decode(sequences[0]._ids)


@pytest.mark.parametrize("slice_tokens", [1, 2, 50])
@pytest.mark.parametrize("resumes", [True, False])
@pytest.mark.parametrize("how", ["refused", "empty"])
def test_a_tag_whose_span_comes_to_nothing_does_not_show(other_codec, slice_tokens, resumes, how):
    small = ScriptedModel(
        "Now then <bigmodel> it is easy. Also <bigmodel> done",
        codec=other_codec,
        slice_tokens=slice_tokens,
    )
    large = ScriptedModel("</bigmodel></bigmodel>", resumes=resumes)
    check = HumanCheck(reviewer=lambda question: False, before=AskRule())
    deltas, reply = run(small, large, human_check=check if how == "refused" else None)
    text = "".join(delta.text for delta in deltas)
    assert "big" not in text
    assert len(reply.spans) == (0 if how == "refused" else 2)
    assert "it is easy. Also" in text
    assert text.endswith("done")


class Changing(ScriptedModel):
    """Fails once in the middle of a tag, and then goes on as if the tag's beginning stood."""

    def open(self, prompt, written=()):
        session = super().open(prompt, written)
        write, fails = session.write, iter([True])

        async def writing(order):
            if not next(fails, False):
                session._at = at
                async for part in write(order):
                    yield part
                return
            async for part in write(order):
                yield part
                if self.codec.decode(session.token_ids).endswith("<big"):
                    break
            raise ModelCallError("the server is gone", retryable=True)

        at = next(
            at for at, _ in enumerate(session.script)
            if self.codec.decode(session.script[:at]).endswith("<big")
        )  # fmt: skip
        session.write = writing
        return session


def test_a_tag_is_not_made_of_what_a_failure_cut_off(other_codec):
    small = Changing("a <bigmodel> b", codec=other_codec, slice_tokens=1)
    _, reply = run(small, ScriptedModel("36"), retry=Retry(wait_s=0.0, max_wait_s=0.0))
    assert reply.spans == ()
    assert (reply.reasoning + reply.answer).split() == ["a", "model>", "b"]
