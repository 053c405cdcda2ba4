"""Grading of replies with any content."""

import subprocess
import sys
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitreason_integrations.errors import MissingExtraError, RequestError
from splitreason_integrations.evals import math_judge
from splitreason_integrations.evals.grading import (
    Grade,
    boxed,
    grade_for,
    is_right,
    last_number,
    parse_grade,
)
from splitreason_integrations.evals.math_judge import Judge
from splitreason_integrations.evals.tasks import Task, generated, graded_by
from splitreason_integrations.problems import last_integer
from tests.limits import HANGS_S


@pytest.fixture(scope="module")
def judge():
    found = Judge()
    yield found
    found.close()


@pytest.mark.parametrize(
    ("reply", "answer", "right"),
    [
        (r"so \boxed{\frac12}", "0.5", True),
        (r"the answer is $\frac{14}{3}$.", "14/3", True),
        (r"\boxed{\left(3, \frac{\pi}{2}\right)}", r"\left( 3, \frac{\pi}{2} \right)", True),
        (r"\boxed{6 - 5i}", "6 - 5i", True),
        (r"\boxed{1,\!000}", "1000", True),
        (r"\boxed{p - q}", "p - q", True),
        (r"\boxed{7}", "8", False),
        (r"\boxed{\frac13}", "0.33", False),
        ("nothing of the kind", "8", False),
        ("", "8", False),
    ],
)
def test_mathematics(judge, reply, answer, right):
    assert judge.equal(reply, answer) is right


@pytest.mark.parametrize(
    "reply",
    [
        r"\boxed{" + "{" * 5000,
        r"\frac{" * 3000,
        "(" * 20000,
        "\x00\ud800\u202e",
        "__import__('os').abort()",
        r"\boxed{" + "9" * 6000 + "}",
        '"}\n{"reply": "1", "answer": "1"}\n',
    ],
    ids=lambda reply: ascii(reply[:12]),
)
def test_malicious_mathematics_counts_as_wrong(judge, reply):
    assert judge.equal(reply, "3") is False
    assert judge.equal(r"\boxed{3}", "3") is True


def test_a_timeout_counts_as_wrong_and_the_next_reply_is_graded():
    judge = Judge(deadline_s=1.0)
    try:
        assert judge.equal("1", "1") is True
        child = judge._child
        assert judge.equal(r"\boxed{9^{9^{9^{9}}}}", "3") is False
        assert child.poll() is not None, "the process was left running"
        judge._deadline_s = 15.0
        assert judge.equal("1", "1") is True
    finally:
        judge.close()


def test_a_process_that_died_is_started_again():
    judge = Judge()
    try:
        assert judge.equal("1", "1") is True
        judge._child.kill()
        judge._child.wait()
        assert judge.equal("2", "2") is True
    finally:
        judge.close()


async def test_mathematics_is_graded_off_the_main_thread():
    """As evaluations do: math-verify itself refuses to work there."""
    import anyio.to_thread

    task = Task(messages=(), answer=r"\frac{1}{2}", grade=Grade.MATH)
    assert await anyio.to_thread.run_sync(task.right, "so it is $0.5$") is True


def test_without_math_verify_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(math_judge, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"splitreason-integrations\[eval\]"):
        Judge()


def test_the_child_ends_with_its_parent():
    code = (
        "from splitreason_integrations.evals.math_judge import Judge\n"
        "import os, signal\n"
        "judge = Judge(); judge.equal('1', '1')\n"
        "print(judge._child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=HANGS_S)
    child = int(done.stdout)
    for _ in range(100):
        if not _runs(child):
            break
        _wait()
    assert not _runs(child)


def _runs(process):
    try:
        with open(f"/proc/{process}/stat") as status:
            return status.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait():
    import time

    time.sleep(0.1)


@pytest.mark.parametrize(
    ("grade", "reply", "answer", "right"),
    [
        (Grade.NUMBER, "It is 1,234.50.", "1234.5", True),
        (Grade.NUMBER, r"\boxed{72} cards in 5 minutes", "72", True),
        (Grade.NUMBER, "−5", "-5", True),
        (Grade.NUMBER, "5 or 6", "5", False),
        (Grade.NUMBER, "none", "5", False),
        (Grade.NUMBER, "9" * 399 + "8", "9" * 400, False),
        (Grade.NUMBER, "9" * 10_000, "9" * 10_000, False),
        (Grade.EXACT, "Thinking.\n  New   York ", "new york", True),
        (Grade.EXACT, r"\boxed{B}", "b", True),
        (Grade.EXACT, "It is B", "B", False),
        (Grade.CONTAINS, "The capital is Paris.", "paris", True),
        (Grade.CONTAINS, "Parisian", "Paris", False),
        (Grade.CONTAINS, "anything", "", False),
        (Grade.MATH, r"first \boxed{3}, no: \boxed{7}", "7", True),
        (Grade.MATH, r"first \boxed{7}, no: \boxed{3}", "7", False),
        (Grade.MATH, r"\boxed{\text{Evelyn}}", r"\text{Evelyn}", True),
        (Grade.AUTO, "so 12", "12", True),
        (Grade.AUTO, "The capital is Paris.", "Paris", True),
        (Grade.AUTO, r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", True),
    ],
)
def test_grades(grade, reply, answer, right):
    assert is_right(reply, answer, grade) is right


@pytest.mark.parametrize(
    ("answer", "grade"),
    [
        ("12", Grade.NUMBER),
        ("-1,234.5", Grade.NUMBER),
        (r"\sqrt{2}", Grade.MATH),
        ("3/4", Grade.MATH),
        ("Paris", Grade.CONTAINS),
        ("AC/DC", Grade.CONTAINS),
    ],
)
def test_auto_goes_by_the_answer(answer, grade):
    assert grade_for(answer) is grade


@given(st.text(), st.text(max_size=20))
def test_no_text_breaks_a_grade(reply, answer):
    for grade in (Grade.NUMBER, Grade.EXACT, Grade.CONTAINS):
        assert is_right(reply, answer, grade) in (True, False)
    assert boxed(reply) is None or boxed(reply) in reply


def test_boxes_and_numbers():
    assert boxed(r"\boxed{a{b}c} \boxed{d") is None
    assert boxed(r"\boxed{a{b}c}") == "a{b}c"
    assert last_number("1 and 2,000.5!") == Decimal("2000.5")
    assert last_number("") is None


def test_an_endless_number_of_a_generated_problem_is_wrong_and_no_error():
    assert last_integer("so 4" + "2" * 5000) is None
    (task,) = generated("test", ["word"], n=1, seed=1)
    assert task.right("9" * 5000) is False


def test_a_grade_that_is_set_goes_before_the_problems_own():
    (task,) = graded_by(generated("test", ["word"], n=1, seed=1), Grade.EXACT)
    assert task.right(f"It is {task.answer}.") is False
    assert task.right(task.answer) is True
    assert not task.needs_maths
    assert graded_by([task], Grade.MATH)[0].needs_maths


def test_an_unknown_grade_names_the_known_ones():
    with pytest.raises(RequestError, match="auto, math, exact, number, contains"):
        parse_grade("best")
