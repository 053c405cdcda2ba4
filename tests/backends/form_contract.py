"""Answers that are held to a form, by any backend that gives forms."""

import json

import pytest

from splitreason_integrations.backends.base import End, Gives, Verdict
from splitreason_integrations.records import Channel
from splitreason_integrations.testing import embedded_codec
from splitreason_integrations.text.grammar import Guide, answer_grammar, call_grammar
from splitreason_integrations.text.replies import ReplyReader
from splitreason_integrations.text.tags import Tags, tags_of
from tests.backends.opened_sessions import OpensSessions
from tests.backends.servers import order, prompt, write
from tests.text.schemas import SCHEMAS, validate

CODEC = embedded_codec()
TAGS = tags_of(CODEC, as_text=False)
MOVE = {
    "type": "function",
    "function": {"name": "move", "description": "Move.", "parameters": SCHEMAS["integer"]},
}
GRAMMARS = {
    **{name: answer_grammar(SCHEMAS[name], CODEC) for name in ("integer", "quotes", "nested")},
    "call": call_grammar([MOVE], CODEC),
}


class RefusesAt:
    """A watch that refuses the first token that comes at a place of the reply."""

    probability_of = None
    wants_entropy = wants_confidence = False

    def __init__(self, place):
        self.place, self.refused = place, None

    def __call__(self, token_id, *, index, probability, entropy, confidence):
        if index == self.place and self.refused in (None, token_id):
            self.refused = token_id
            return Verdict.REFUSE
        return Verdict.KEEP


def guide(grammar, tags=TAGS):
    return Guide(CODEC, grammar, tags, reasons=True)


def held(grammar, *, tags=TAGS, tokens=400, **more):
    """Return an order for a reply whose answer is held to a grammar."""
    ends, never = CODEC.end_tokens, TAGS.control_tokens
    return order(tokens, guide=guide(grammar, tags), stop_tokens=ends, forbidden=never, **more)


def read(token_ids):
    header = "<|im_start|>assistant\n<think>\n"
    reader = ReplyReader(CODEC.response_template, header)
    reader.feed(CODEC.decode([one for one in token_ids if one not in TAGS.control_tokens]))
    reader.finish()
    return reader


class FormContract(OpensSessions):
    @pytest.fixture(autouse=True)
    def gives_forms(self, model):
        if Gives.FORM not in model.gives:
            pytest.skip("the backend holds no answer to a form")

    @pytest.mark.parametrize("tags", [TAGS, Tags()], ids=["tags", "no tags"])
    @pytest.mark.parametrize("name", GRAMMARS)
    async def test_an_answer_is_held_to_its_form_as_it_is_here(
        self, opened, model, embedded, name, tags
    ):
        found = []
        for some in (model, embedded[0]):
            session = opened(some, prompt())
            found.append(await write(session, held(GRAMMARS[name], tags=tags)))
        (ids, last), (local, _) = found
        assert ids == local
        assert last.end is End.STOP_TOKEN
        reader = read(ids)
        assert reader.text(Channel.REASONING)
        if name == "call":
            assert [call.name for call in reader.tool_calls] == ["move"]
        else:
            validate(json.loads(reader.text(Channel.ANSWER)), SCHEMAS[name])

    async def test_an_answer_goes_on_where_it_was_cut(self, opened, model):
        whole = opened(model, prompt())
        ids, _ = await write(whole, held(GRAMMARS["nested"], tags=Tags()))
        end = ids.index(CODEC.control_token("</think>")) + 1
        for kept in range(end - 1, len(ids), 7):
            session = opened(model, prompt(), ids[:kept])
            rest, last = await write(session, held(GRAMMARS["nested"], tags=Tags()))
            assert ids[:kept] + rest == ids
            assert last.end is End.STOP_TOKEN

    async def test_what_a_watch_refuses_in_an_answer_is_drawn_again_in_its_form(
        self, opened, model, embedded
    ):
        free = opened(model, prompt())
        ids, _ = await write(free, held(GRAMMARS["integer"], tags=Tags()))
        digit = max(at for at, token in enumerate(ids) if CODEC.decode([token]).strip().isdigit())
        found = []
        for some in (model, embedded[0]):
            session, watch = opened(some, prompt()), RefusesAt(digit)
            found.append(await write(session, held(GRAMMARS["integer"], tags=Tags(), watch=watch)))
            assert watch.refused == ids[digit]
        assert found[0][0] == found[1][0]
        assert found[0][0][digit] != ids[digit]
        validate(json.loads(read(found[0][0]).text(Channel.ANSWER)), SCHEMAS["integer"])

    async def test_a_form_that_is_cut_off_is_not_ended(self, opened, model):
        session = opened(model, prompt())
        ids, last = await write(session, held(GRAMMARS["nested"]))
        short = opened(model, prompt())
        some, cut = await write(short, held(GRAMMARS["nested"], tokens=len(ids) - 2))
        assert (some, cut.end) == (ids[:-2], End.LENGTH)
        assert last.end is End.STOP_TOKEN
