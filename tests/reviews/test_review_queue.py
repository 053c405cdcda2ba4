"""Questions in a file: asked, answered and gone on with in processes of their own."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from splitreason_integrations import (
    Answer,
    AskRule,
    Completion,
    Paused,
    ReviewQueue,
    blocking,
)
from splitreason_integrations.errors import (
    ConfigurationError,
    ReviewError,
    ReviewPendingError,
)
from splitreason_integrations.reviews import Status
from tests.loop.engine_runs import complete, request
from tests.reviews.review_runs import (
    ANSWERS,
    LONG,
    REASONING,
    ask,
    engine,
    go_on,
    output_then_killed,
    put,
    start,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "reviews.sqlite"


def test_three_questions_in_one_reply(path):
    queue, replies = ReviewQueue(path), []
    some = engine(queue)
    with pytest.raises(ReviewPendingError, match="splitreason review"):
        complete(some, request(request_id="r", **LONG))
    for given in ANSWERS:
        assert replies == []
        assert go_on(queue, some) == []
        (entry,) = queue.entries(Status.PENDING)
        queue.answer(entry.id, given, by="bob")
        replies = go_on(queue, some)
    (reply,) = replies
    assert reply.reasoning == REASONING
    assert (some.small.written, some.large.written) == (reply.small_tokens, reply.large_tokens)
    entries = queue.entries()
    assert [one.status for one in entries] == [Status.RESUMED] * 3
    assert [(one.answer.decision.value, one.answer.by) for one in entries] == [
        ("approve", "ann"),
        ("refuse", "bob"),
        ("approve", "bob"),
    ]


@pytest.mark.parametrize(
    "rules", [{"before": None, "after": AskRule()}, {"after": AskRule()}], ids=["after", "both"]
)
def test_the_reply_is_the_uninterrupted_one(path, rules):
    def given(question):
        return Answer(decision=["edit", "refuse", "approve"][question.span], text=" Mine.", by="a")

    plain = complete(engine(given, **rules), request(request_id="r", **LONG))
    queue = ReviewQueue(path)
    ask(queue, **rules)
    replies = []
    while not replies:
        (entry,) = queue.entries(Status.PENDING)
        queue.answer(entry.id, given(entry.question), by="a")
        replies = go_on(queue, engine(queue, **rules))
    assert replies[0].pieces == plain.pieces
    assert [span.human for span in replies[0].spans] == [span.human for span in plain.spans]


def test_an_answer_stands(path):
    queue = ReviewQueue(path)
    question = put(queue)
    queue.answer(question.id, "approve", by="ann")
    with pytest.raises(ReviewError, match="was answered 'approve' by ann at 20"):
        queue.answer(question.id, "refuse", by="bob")
    assert queue.entry(question.id).answer.by == "ann"


def test_one_of_many_answers_counts(path):
    queue = ReviewQueue(path)
    question = put(queue)

    def give(number):
        try:
            ReviewQueue(path).answer(question.id, "approve", by=f"p{number}")
        except ReviewError:
            return None
        return f"p{number}"

    with ThreadPoolExecutor(8) as pool:
        winners = [name for name in pool.map(give, range(8)) if name]
    assert winners == [queue.entry(question.id).answer.by]


def test_one_of_many_workers_goes_on(path):
    queue = ReviewQueue(path)
    for number in range(4):
        queue.answer(put(queue, request_id=f"r{number}").id, True, by="ann")
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: ReviewQueue(path).claim(), range(8)))
    assert sorted(one.request_id for one in claims if one) == ["r0", "r1", "r2", "r3"]


@pytest.mark.parametrize("given", ["r:", "nobody", "", "%", "_"])
def test_questions_that_are_not_told_apart(path, given):
    queue = ReviewQueue(path)
    put(queue)
    put(queue, 1)
    with pytest.raises(ReviewError, match=r"there is no question|may mean r:0:before, r:1:before"):
        queue.answer(given, "approve", by="ann")


def test_the_beginning_of_an_id_means_what_is_pending(path):
    queue = ReviewQueue(path)
    put(queue)
    queue.answer("r:0", "approve", by="ann")
    put(queue, 1)
    assert queue.entry("r:").question.span == 1


@pytest.mark.parametrize("given", ["maybe", {"text": "x"}, {"decision": "edit"}, 3, {"by": 3}])
def test_what_is_no_answer_changes_nothing(path, given):
    queue = ReviewQueue(path)
    question = put(queue)
    with pytest.raises(ConfigurationError):
        queue.answer(question.id, given, by="ann")
    assert queue.entry(question.id).status is Status.PENDING


def test_nobody_answers_in_time(path):
    queue = ReviewQueue(path)
    ask(queue, timeout_s=0.001, on_timeout="approve")
    time.sleep(0.01)
    (entry,) = queue.entries()
    assert (entry.answer.decision.value, entry.answer.by) == ("approve", "timeout")
    with pytest.raises(ReviewError, match="by timeout"):
        queue.answer(entry.id, "refuse", by="ann")
    claim = queue.claim("r")
    assert claim.answer == entry.answer
    assert queue.claim("other") is None


def test_an_error_gives_the_request_back(path):
    queue = ReviewQueue(path)
    question = put(queue)
    queue.answer(question.id, "approve", by="ann")
    with pytest.raises(KeyError), queue.claim():
        raise KeyError("x")
    assert queue.claim().paused.question == question


def test_the_pause_of_another_reviewer_gives_the_request_back(path):
    queue = ReviewQueue(path)
    queue.answer(ask(queue).id, "approve", by="ann")

    class Later:
        async def review(self, paused):
            return None

    with pytest.raises(ReviewPendingError), queue.claim() as claim:
        blocking.run(lambda: engine(Later()).finish(claim.paused, claim.answer))
    assert queue.claim() is not None


def test_a_claim_is_renewed_and_a_lost_one_is_named(path):
    queue = ReviewQueue(path, lease_s=1.5)
    queue.answer(put(queue).id, "approve", by="ann")
    with queue.claim():
        time.sleep(2)
        assert queue.claim() is None
    queue.answer(put(queue, 1).id, "approve", by="ann")
    first = queue.claim()
    second = None
    while second is None:
        second = queue.claim()
        time.sleep(0.02)
    with pytest.raises(ReviewError, match="another worker took it"), first:
        pass
    with second:
        pass
    assert queue.claim() is None


def test_a_request_id_belongs_to_one_request(path):
    queue = ReviewQueue(path)
    question = put(queue)
    assert put(queue) == question
    other = Paused(question, {"request": {"messages": ["other"]}})
    with pytest.raises(ReviewError, match="an id of its own"):
        blocking.run(lambda: queue.review(other))
    queue.answer(question.id, "approve", by="ann")
    with queue.claim():
        pass
    with pytest.raises(ReviewError, match="an id of its own"):
        put(queue)
    assert len(queue.entries()) == 1


def answered_by(queue, *given):
    """Answer questions as they come, in a thread."""

    def work():
        for one in given:
            while not (entries := queue.entries(Status.PENDING)):
                time.sleep(0.01)
            queue.answer(entries[0].id, one, by="ann")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_request_may_wait_for_its_answers(path):
    queue = ReviewQueue(path, wait=True, poll_s=0.01)
    some, thread = engine(queue), answered_by(queue, *ANSWERS)
    reply = complete(some, request(**LONG))
    thread.join()
    assert reply.reasoning == REASONING
    assert (some.small.written, some.large.written) == (reply.small_tokens, reply.large_tokens)
    assert queue.claim() is None
    assert [one.status for one in queue.entries()] == [Status.RESUMED] * 3


@pytest.mark.parametrize("timeout_s", [0.05, 1.5])
def test_waiting_ends_with_the_time(path, timeout_s):
    queue = ReviewQueue(path, wait=True, poll_s=0.01)
    check = {"timeout_s": timeout_s, "on_timeout": "stop"}
    reply = complete(engine(queue, **check), request(**LONG))
    assert reply.stop_reason == "human_stop"
    (entry,) = queue.entries()
    assert (entry.status, entry.answer.by) == (Status.RESUMED, "timeout")


async def test_who_leaves_withdraws_the_question(path):
    queue = ReviewQueue(path, wait=True, poll_s=0.01)
    with anyio.move_on_after(3.0):
        await engine(queue).complete(request(**LONG))
    (entry,) = queue.entries()
    assert entry.status is Status.WITHDRAWN
    with pytest.raises(ReviewError, match="no longer waits"):
        queue.answer(entry.id, "approve", by="ann")


STEP = """
import json, sys
from splitreason_integrations import HumanCheck, ReviewQueue, SplitEngine, blocking
from splitreason_integrations.errors import ReviewPendingError
from tests.loop.engine_runs import request
from tests.reviews.review_runs import counting_pair

queue = ReviewQueue(sys.argv[1], lease_s=2)
engine = SplitEngine(**counting_pair(), human_check=HumanCheck(reviewer=queue))
reported = {}

def tell():
    reported["written"] = [engine.small.written, engine.large.written]
    print(json.dumps(reported), flush=True)
    sys.stdin.read()

if sys.argv[2] == "start":
    try:
        blocking.run(lambda: engine.complete(request(request_id="r", max_tokens=400)))
    except ReviewPendingError as error:
        tell()
claim = queue.claim()
with claim:
    if sys.argv[2] == "hold":
        tell()
    try:
        reply = blocking.run(lambda: engine.finish(claim.paused, claim.answer))
    except ReviewPendingError:
        tell()
    reported |= {"reasoning": reply.reasoning, "tokens": [reply.small_tokens, reply.large_tokens]}
tell()
"""


@pytest.mark.slow
def test_processes_killed_between_the_questions(path):
    steps = [output_then_killed(start(STEP, path, "start"))]
    queue = ReviewQueue(path)
    for given in ANSWERS:
        (entry,) = queue.entries(Status.PENDING)
        queue.answer(entry.id, given, by="bob")
        steps.append(output_then_killed(start(STEP, path, "go on")))
    assert steps[-1]["reasoning"] == REASONING
    written = [sum(one["written"][at] for one in steps) for at in (0, 1)]
    assert written == steps[-1]["tokens"]
    assert len(queue.entries()) == 3
    assert queue.entries(Status.PENDING) == []


@pytest.mark.slow
def test_a_killed_workers_claim_ends(path):
    queue = ReviewQueue(path)
    queue.answer(ask(queue).id, "stop", by="bob")
    holder = start(STEP, path, "hold")
    assert json.loads(holder.stdout.readline())["written"] == [0, 0]
    time.sleep(3)
    assert queue.claim() is None
    holder.kill()
    holder.communicate()
    while (claim := queue.claim()) is None:
        time.sleep(0.05)
    with claim:
        reply = blocking.run(lambda: engine(queue).finish(claim.paused, claim.answer))
    assert isinstance(reply, Completion)
    assert reply.stop_reason == "human_stop"
