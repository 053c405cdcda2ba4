"""The generator: right answers, disjoint splits, nothing held out in training traces."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from splitreason_integrations.problems import (
    FAMILIES,
    Problem,
    Split,
    Step,
    Writing,
    grade,
    is_held_out,
    join,
    last_integer,
    render,
    render_large,
    render_small,
    render_tagged,
    sample,
    wordings,
)
from splitreason_integrations.problems.arithmetic import count_carries, partial_products
from splitreason_integrations.problems.sampling import fingerprint

CHAIN = re.compile(r"\d+[*+-]\d+(?: = \d+[+-]\d+)* = \d+")
NUMBERED = [family for family in FAMILIES if family != "chat"]


def run_python(code: str) -> str:
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    return done.stdout.strip()


def calculate(a: int, operator: str, b: int) -> int:
    """Work out a step in another way than the package does."""
    if operator == "*":
        return sum(a for _ in range(b))
    return a + (b if operator == "+" else -b)


def calculations(text: str) -> list[tuple[list[tuple[int, str, int]], int]]:
    """Read the calculations of a reply: what is worked out on the way, and the result."""
    found = []
    for chain in CHAIN.findall(text):
        *sides, result = chain.split(" = ")
        operands = [re.fullmatch(r"(\d+)(\D)(\d+)", side).groups() for side in sides]
        found.append(([(int(a), sign, int(b)) for a, sign, b in operands], int(result)))
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_every_written_step_is_right_and_ends_in_the_answer(family):
    for problem in sample(Split.DEV, family, seed=1, n=200):
        for turn in problem.turns:
            for text in (render_small(turn), render_large(turn)):
                found = calculations(text)
                assert len(found) == len(turn.steps)
                for sides, result in found:
                    assert {calculate(*side) for side in sides} == {result}
                    assert result > 0
        assert grade(problem, problem.turns[-1].content)


@pytest.mark.parametrize("family", ["word", "context"])
def test_the_last_step_gives_the_answer(family):
    for problem in sample(Split.DEV, family, seed=2, n=200):
        assert problem.steps[-1].result == problem.answer


@pytest.mark.parametrize("family", NUMBERED)
def test_numbers_of_the_reply_come_from_the_prompt_or_from_earlier_results(family):
    for problem in sample(Split.DEV, family, seed=3, n=200):
        known = {int(n) for m in problem.messages for n in re.findall(r"\d+", m["content"])}
        for turn in problem.turns:
            for step in turn.steps:
                assert {step.a, step.b} <= known, (problem, step)
                known.add(step.result)
            if turn.call:
                known |= {int(n) for n in re.findall(r"\d+", turn.call.result)}


@pytest.mark.parametrize("family", FAMILIES)
def test_splits_are_disjoint(family):
    splits = [split for split in Split if (family, split) != ("chat", Split.TEST_OPERANDS)]
    seen: dict[str, Split] = {}
    for split in splits:
        for problem in sample(split, family, seed=4, n=100):
            assert seen.setdefault(fingerprint(problem), split) is split


def shown_pairs(problem: Problem, *, on_the_way: bool = True) -> set[tuple[int, int]]:
    """Return the operand pairs of a trace; sums and differences on the way are optional."""
    found = set()
    for turn in problem.turns:
        for sides, _ in calculations(render_large(turn)):
            product = sides[0][1] == "*"
            for a, _, b in sides if on_the_way or product else sides[:1]:
                found.add((min(a, b), max(a, b)))
    return found


@pytest.mark.parametrize("family", NUMBERED)
def test_training_traces_show_no_held_out_pair(family):
    for problem in sample(Split.TRAIN, family, seed=5, n=300):
        assert not any(is_held_out(*pair) for pair in shown_pairs(problem))


@pytest.mark.parametrize("family", NUMBERED)
def test_held_out_pairs_decide_between_the_two_test_splits(family):
    for problem in sample(Split.TEST, family, seed=5, n=50):
        assert not any(is_held_out(*pair) for pair in shown_pairs(problem, on_the_way=False))
    for problem in sample(Split.TEST_OPERANDS, family, seed=5, n=20):
        assert any(is_held_out(*pair) for pair in shown_pairs(problem, on_the_way=False))


def test_one_pair_in_ten_is_held_out_in_either_order_and_tables_never_are():
    pairs = [(a, b) for a in range(11, 100) for b in range(a, 100)]
    share = sum(is_held_out(*pair) for pair in pairs) / len(pairs)
    assert 0.08 < share < 0.12
    assert all(is_held_out(a, b) == is_held_out(b, a) for a, b in pairs)
    assert not any(is_held_out(a, b) for a in range(10) for b in range(100))


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_are_reproducible_in_another_process_and_differ_by_seed(family):
    code = (
        "from splitreason_integrations.problems import Split, sample\n"
        "from splitreason_integrations.problems.sampling import fingerprint\n"
        f"print([fingerprint(p) for p in sample(Split.DEV, {family!r}, seed=6, n=5)])"
    )
    first = [fingerprint(problem) for problem in sample(Split.DEV, family, seed=6, n=5)]
    assert run_python(code) == str(first)
    assert first != [fingerprint(problem) for problem in sample(Split.DEV, family, seed=7, n=5)]


def test_unknown_requests_raise():
    with pytest.raises(ValueError, match="unknown family 'poems'"):
        sample(Split.DEV, "poems", seed=0, n=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no operands"):
        sample(Split.TEST_OPERANDS, "chat", seed=0, n=1)


def test_a_missing_extra_is_named(monkeypatch):
    wordings.load_wordings.cache_clear()
    monkeypatch.setitem(sys.modules, "llama_index.core.prompts", None)
    with pytest.raises(ImportError, match=r'pip install "splitreason-integrations\[train\]"'):
        sample(Split.DEV, "frameworks", seed=0, n=20)


def test_frameworks_use_the_installed_wordings():
    from llama_index.core.prompts.default_prompts import DEFAULT_TEXT_QA_PROMPT

    wordings.load_wordings.cache_clear()
    head = DEFAULT_TEXT_QA_PROMPT.template.split("{")[0]
    texts = [
        message["content"]
        for problem in sample(Split.DEV, "frameworks", seed=0, n=40)
        for message in problem.messages
    ]
    assert any(text.startswith(head) for text in texts)


def test_the_generator_does_not_import_torch():
    code = "import sys, splitreason_integrations.problems; print('torch' in sys.modules)"
    assert run_python(code) == "False"


def test_a_share_of_problems_has_only_easy_steps():
    found = sample(Split.DEV, "word", seed=8, n=500)
    easy = sum(all(step.is_easy for step in problem.steps) for problem in found)
    assert 0.05 < easy / len(found) < 0.3


@pytest.mark.parametrize(
    ("a", "b", "parts"),
    [
        (47, 23, (940, 141)),
        (6, 347, (1800, 282)),
        (47, 6, None),
        (47, 20, None),
        (300, 6, None),
        (7, 8, None),
    ],
)
def test_long_products_split_into_two(a, b, parts):
    assert partial_products(a, b) == parts


@pytest.mark.parametrize(
    ("step", "carries"),
    [
        (Step("+", 95, 5), 2),
        (Step("+", 11, 22), 0),
        (Step("-", 100, 1), 2),
        (Step("-", 99, 11), 0),
    ],
)
def test_carries_and_borrows_are_counted(step, carries):
    assert count_carries(step) == carries


@pytest.mark.parametrize(
    ("step", "expansion"),
    [
        (Step("*", 47, 23), "940+141 = 1081"),
        (Step("*", 7, 8), "56"),
        (Step("+", 4871, 2965), "6871+965 = 7771+65 = 7831+5 = 7836"),
        (Step("+", 58, 4871), "4058+871 = 4858+71 = 4928+1 = 4929"),
        (Step("-", 4001, 305), "3701-5 = 3696"),
        (Step("-", 72, 8), "64"),
    ],
)
def test_a_careful_author_goes_by_parts(step, expansion):
    assert step.expansion == expansion


def test_one_turn_in_three_writings():
    turn = sample(Split.DEV, "word", seed=9, n=1)[0].turns[0]
    step = turn.steps[0]
    assert f"{step.question}{step.result} " in render_small(turn)
    assert f"{step.question}{step.expansion} " in render_large(turn)
    tagged = render_tagged(turn, lambda s: s == step)
    assert f"{step.question}<bigmodel>{step.expansion}</bigmodel> " in tagged
    assert join(render(turn, lambda _: Writing.TERSE)) == render_small(turn)


@pytest.mark.parametrize(
    ("text", "number"),
    [("It is 1,081 now.", 1081), ("12 and 7.", 7), ("none", None), ("It fell to -5", -5)],
)
def test_last_integer(text, number):
    assert last_integer(text) == number


def test_grading_looks_at_the_last_integer_or_for_any_text():
    word = sample(Split.DEV, "word", seed=10, n=1)[0]
    assert grade(word, f"First 3, then {word.answer}.")
    assert not grade(word, f"{word.answer}, no, 3")
    assert not grade(word, "")
    chat = sample(Split.DEV, "chat", seed=10, n=1)[0]
    assert grade(chat, "Hello!")
    assert not grade(chat, " \n")


def test_tools_return_what_the_call_asks_for():
    for problem in sample(Split.DEV, "tools", seed=11, n=50):
        names = {tool["function"]["name"] for tool in problem.tools}
        for index, turn in enumerate(problem.turns):
            if turn.call is None:
                continue
            assert turn.call.name in names
            assert problem.result_of(turn.call.name, turn.call.arguments) == turn.call.result
            conversation = problem.conversation(index + 1, ["thought"] * (index + 1))
            assert conversation[-1]["content"] == turn.call.result
            assert conversation[-2]["reasoning_content"] == "thought"
        assert problem.result_of("unheard_of", {}) is None
