"""What a server is asked, and what is made of its answers, right or wrong."""

import json
import math

import pytest

from splitreason_integrations import OpenAIServerModel
from splitreason_integrations.backends.base import End
from splitreason_integrations.backends.openai_server.http import Server
from splitreason_integrations.backends.openai_server.ids import Received
from splitreason_integrations.backends.openai_server.wire import Part, read_part
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.testing import embedded_codec
from tests.backends.servers import order, prompt


def event(token_ids=(), text="", **more):
    return {"choices": [{"token_ids": list(token_ids), "text": text, **more}]}


def received(events, **more):
    codec = embedded_codec()
    settings = {"max_tokens": 4, "stop_tokens": codec.end_tokens, **more}
    one = Received(
        codec,
        vocabulary=1024,
        sequence=prompt(),
        order=order(**settings),
        max_tokens=settings["max_tokens"],
    )
    return [one.take(read_part(data)) for data in events]


def test_events_may_hold_any_number_of_tokens():
    ids = embedded_codec().encode("One, two")
    end = min(embedded_codec().end_tokens)
    events = [event(), event(ids, "One, two"), event([end], finish_reason="stop"), {"choices": []}]
    got = received(events[:3], max_tokens=20)
    assert [list(written.token_ids) for written in got] == [[], ids, []]
    assert (got[-1].end, got[-1].stop_token) == (End.STOP_TOKEN, end)
    assert read_part(events[3]).token_ids == ()


def test_a_server_that_does_not_stop_is_cut_at_the_stop_token():
    ids, end = embedded_codec().encode("One"), min(embedded_codec().end_tokens)
    (written,) = received([event([*ids, end, *ids])], max_tokens=20)
    assert (list(written.token_ids), written.end) == (ids, End.STOP_TOKEN)


def test_an_end_without_a_name_is_still_an_end():
    ids = embedded_codec().encode("One")
    (written,) = received([event(ids, "One", finish_reason="stop")])
    assert (written.end, list(written.token_ids)) == (End.STOP_TOKEN, ids)


def test_a_servers_own_cap_on_an_answer_is_no_fault():
    (written,) = received([event([40], finish_reason="length")])
    assert (written.token_ids, written.end) == ((40,), End.LENGTH)


@pytest.mark.parametrize(
    ("data", "words", "lasting"),
    [
        (None, "no choices", False),
        ([], "no choices", False),
        ({"choices": {}}, "no choices", False),
        ({"choices": [3]}, "no choices", False),
        (event() | {"choices": [{"text": "x"}]}, "return_token_ids", True),
        (event([1.5]), "of another type", False),
        (event([True]), "of another type", False),
        (event([], 7), "of another type", False),
        (event(finish_reason="abort"), "ended by 'abort'", False),
        (event(finish_reason=["stop"]), "ended by", False),
        (event(finish_reason="length"), "before it wrote anything", True),
        (event([2000]), "outside the vocabulary", True),
        (event([-1]), "outside the vocabulary", True),
        (event([40, 40, 40, 40, 40]), "more tokens", False),
        (event([77], "text of another token"), "decode to another text", True),
        (event([40], prompt_token_ids=[1, 2]), "another prompt", True),
        (event([5]), "forbidden by logit_bias", True),
    ],
)
def test_what_no_server_should_say_is_found(data, words, lasting):
    with pytest.raises(ValueError, match=words) as refused:
        received([data], forbidden=(5,))
    assert refused.value.lasting is lasting


def test_half_a_character_may_come_with_either_event():
    ids = embedded_codec().encode("a😀b")
    texts = ["a"] + ["\ufffd"] * (len(ids) - 3) + ["😀", "b"]
    got = received([event([i], t) for i, t in zip(ids, texts, strict=True)], max_tokens=20)
    assert [token for written in got for token in written.token_ids] == ids


def test_the_request_says_what_a_server_would_else_decide():
    from splitreason_integrations.backends.openai_server.ids import completion

    body = completion("m", [1, 2], order(forbidden=(5,)), max_tokens=8, position=0)
    assert json.loads(json.dumps(body)) == body
    wanted = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "logit_bias": {"5": -100}}
    assert wanted.items() <= body.items()
    seeds = {
        completion("m", [1], order(seed=s), max_tokens=8, position=p)["seed"]
        for s in (1, 2)
        for p in (0, 1)
    }
    assert len(seeds) == 4
    assert all(0 <= seed < 1 << 53 for seed in seeds)


class Response:
    """An answer whose body comes in pieces."""

    def __init__(self, pieces):
        self.pieces = pieces
        self.content = self

    async def iter_any(self):
        for piece in self.pieces:
            yield piece


async def lines_of(pieces, **limits):
    server = Server(OpenAIServerModel("http://127.0.0.1:9/v1", "m"), "http://127.0.0.1:9/v1")
    return [line async for line in server.lines(Response(pieces), **limits)]


async def test_lines_may_be_cut_anywhere():
    body = b"data: 1\r\n\r\ndata: 2\n\n: x\ndata: 3"
    whole = [b"data: 1", b"", b"data: 2", b"", b": x", b"data: 3"]
    limits = {"line_bytes": 100, "all_bytes": 1000}
    for size in (1, 2, 5, 100):
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        assert await lines_of(pieces, **limits) == whole


@pytest.mark.parametrize(
    "pieces", [[b"x" * 11], [b"x" * 6, b"x" * 6], [b"ok\n" * 20], [b"a\n" + b"x" * 11 + b"\n"]]
)
async def test_long_lines_and_long_answers_are_refused(pieces):
    with pytest.raises(ModelCallError, match="longer than what was asked for"):
        await lines_of(pieces, line_bytes=10, all_bytes=50)


def test_log_probabilities_are_read_with_distrust():
    codec = embedded_codec()
    by_id = Part(top=[{"token_id:5": 0.0}, {"token_id:9": -1.0}])
    assert [one.of(5) for one in by_id.scores(codec, [5])] == [1.0, 0.0]
    assert [one.likeliest for one in by_id.scores(codec, [5, 9])] == [5, 9]
    by_text = Part(top=[{"<bigmodel>": math.log(0.25)}])
    assert [one.of(5) for one in by_text.scores(codec, [5])] == [pytest.approx(0.25)]
    written = Part(token_ids=(7,), top=[{"token_id:5": -3.0, "token_id:7": math.log(0.5)}])
    (score,) = written.scores(codec, [5])
    assert (score.likeliest, score.of(7)) == (7, pytest.approx(0.5))
    listed = [math.exp(-3.0), 0.5, 0.5 - math.exp(-3.0)]
    assert score.entropy == pytest.approx(sum(-one * math.log(one) for one in listed))
    for wrong in (None, [], {"token_id:5": "x"}, {"token_id:5": True}, {"token_id:5": 3.0}):
        with pytest.raises(ValueError, match="log probabilit"):
            Part(top=[wrong]).scores(codec, [5])
    with pytest.raises(ValueError, match="not one"):
        Part(top=[{"token_id:5": math.nan}]).scores(codec, [5])


def test_log_probabilities_are_read_as_llama_cpp_gives_them():
    listed = [
        {"id": 9, "token": "x", "bytes": [120], "logprob": math.log(0.75)},
        {"id": 5, "token": "", "bytes": [], "logprob": math.log(0.25)},
    ]
    logprobs = {"content": [{"id": 9, "token": "x", "logprob": -0.3, "top_logprobs": listed}]}
    part = read_part({"choices": [{"text": "x", "logprobs": logprobs}]})
    (score,) = part.scores(embedded_codec(), [5])
    assert score.of(5) == pytest.approx(0.25)
    assert score.likeliest == 9
    for wrong in ([None], [{}], [{"top_logprobs": ["x"]}], [{"top_logprobs": [{"id": 1}]}]):
        part = read_part({"choices": [{"text": "x", "logprobs": {"content": wrong}}]})
        with pytest.raises(ValueError, match="log probabilit"):
            part.scores(embedded_codec(), [5])
