"""An evaluation over two servers, graded by math-verify; no torch."""

import json
import subprocess
import sys
from pathlib import Path

import datasets
from modules import import_all
from questions import NUMBER, WORDS

from splitreason_integrations.evals.grading import Grade, is_right


def main(small: str, large: str) -> None:
    """Grade a formula, and evaluate one task of a file."""
    assert datasets.__version__
    assert is_right(r"So it is \boxed{\frac{2}{4}}.", r"\frac{1}{2}", Grade.MATH)
    Path("tasks.jsonl").write_text(
        json.dumps({"question": WORDS, "answer": NUMBER}) + "\n", "utf-8"
    )
    command = [Path(sys.executable).with_name("splitreason"), "eval", "--json"]
    command += ["--small", f"{small}#large", "--large", f"{large}#large"]
    command += ["--data", "tasks.jsonl", "--mode", "split"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout), done
    import_all(without={"torch", "langchain_core", "llama_index.core", "opentelemetry"})


if __name__ == "__main__":
    main(*sys.argv[1:])
