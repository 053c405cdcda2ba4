"""The file of a review queue: its owner's alone, and nothing else is taken for one."""

import os
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from splitreason_integrations import ReviewQueue
from splitreason_integrations.errors import ReviewError, ReviewPendingError
from tests.loop.engine_runs import complete, request
from tests.reviews.review_runs import LONG, engine, go_on, put


@pytest.fixture
def path(tmp_path):
    return tmp_path / "reviews.sqlite"


def test_the_file_is_its_owners_alone_and_erases_what_went_on(path):
    secret = "the code is 4711-secret"
    queue = ReviewQueue(path)
    some = engine(queue)
    with pytest.raises(ReviewPendingError):
        complete(some, request(messages=[{"role": "user", "content": secret}], **LONG))
    with sqlite3.connect(path) as held:  # keeps the write-ahead log in place
        held.execute("SELECT count(*) FROM questions").fetchone()
        (entry,) = queue.entries()
        queue.answer(entry.id, "stop", by="ann")
        modes = {stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
    held.close()
    assert modes == {0o600}
    assert secret.encode() in path.read_bytes()
    assert go_on(queue, some)[0].stop_reason == "human_stop"
    assert secret.encode() not in path.read_bytes()
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def make_text(path):
    path.write_text("not a database, and long enough to be taken for one\n" * 40)


def make_empty(path):
    path.touch()


def make_foreign(path):
    with sqlite3.connect(path) as rows:
        rows.execute("CREATE TABLE questions (id TEXT)")
    rows.close()


def make_newer(path):
    ReviewQueue(path)
    with sqlite3.connect(path) as rows:
        rows.execute("PRAGMA user_version = 9")
    rows.close()


def make_torn(path):
    queue = ReviewQueue(path)
    for number in range(50):
        put(queue, number)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))


def make_folder(path):
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "reported"),
    [
        (make_text, "of another program"),
        (make_empty, "of another program"),
        (make_foreign, "of another program"),
        (make_newer, "is of version 9"),
        (make_torn, "damaged or of another program"),
        (make_folder, "there is no review queue"),
    ],
)
def test_other_files_are_named_and_left_alone(path, make, reported):
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(ReviewError, match=reported):
        ReviewQueue(path).entries()
    assert before == (path.read_bytes() if path.is_file() else None)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ReviewError, match="in a folder that exists"):
        ReviewQueue(tmp_path / "no" / "reviews.sqlite")


@pytest.mark.parametrize(
    "change",
    [
        "question = '{}'",
        "question = 'null'",
        "question = json_set(question, '$.cost_usd', 'much')",
        "status = 'lost'",
        "asked_at = 'x'",
        'answer = \'{"decision": "maybe"}\'',
        "answer = 'x'",
    ],
)
def test_a_damaged_row_is_named(path, change):
    queue = ReviewQueue(path)
    put(queue)
    with sqlite3.connect(path) as rows:
        rows.execute(f"UPDATE questions SET {change}")
    rows.close()
    with pytest.raises(ReviewError, match="question r:0:before of the review queue is damaged"):
        queue.entries()


def test_many_make_the_same_file_at_once(path):
    with ThreadPoolExecutor(8) as pool:
        queues = list(pool.map(lambda _: ReviewQueue(path), range(16)))
        list(pool.map(lambda pair: put(pair[1], pair[0]), enumerate(queues)))
    assert len(queues[0].entries()) == 16
    assert [one.name for one in path.parent.iterdir()] == [path.name]
