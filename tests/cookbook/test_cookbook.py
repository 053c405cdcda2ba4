"""Every recipe runs as a reader would run it, and gets the right answer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import HANGS_S

COOKBOOK = Path(__file__).parents[2] / "cookbook"
ANSWERS = {
    "first_answer": "1069",
    "streaming_authors": "1717",
    "lcel_chain": "900",
    "structured_extraction": "number=1892",
    "agent_langgraph": "1081",
    "agent_llama_index": "1081",
    "rag_langchain": "1081",
    "rag_llama_index": "1081",
    "budgets": "mine.toml                       3 of 8 right, 14.2%",
    "large_model_dies": "1069",
    "audit_and_trace": "1069",
    "annotate_traces": "<bigmodel>47*23 = 940+141 = 1081 cards.</bigmodel>",
    "human_approval_langgraph": "1069",
    "human_approval_workflow": "1069",
    "your_own_models": "1069",
}


def test_every_recipe_is_tried():
    assert {path.stem for path in COOKBOOK.glob("*.py")} == set(ANSWERS)


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "answer"), ANSWERS.items(), ids=ANSWERS)
def test_a_recipe_gets_its_answer_right(recipe, answer):
    path = COOKBOOK / f"{recipe}.py"
    assert len(path.read_text("utf-8").splitlines()) <= 60
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANGS_S,
    )
    assert done.returncode == 0, done.stderr
    assert answer in "".join(done.stdout.splitlines()[-4:])
