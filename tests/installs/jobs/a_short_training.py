"""Traces, a fine-tuning and a reinforcement of a few steps, and an answer of what they made."""

import subprocess
import sys
from pathlib import Path

from modules import import_all

SFT = """
model = "embedded:base"
traces = "traces.jsonl"
[trainer]
per_device_train_batch_size = 4
max_steps = 2
"""
GRPO = """
[tasks]
count = 4
[writing]
max_tokens = 60
temperature = 1.5
at_once = 4
[trainer]
per_device_train_batch_size = 4
num_generations = 4
max_steps = 1
"""


def run(*arguments: str) -> None:
    """Run the command of this environment."""
    command = Path(sys.executable).with_name("splitreason")
    subprocess.run([command, *arguments], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Train for a few steps and ask."""
    Path("sft.toml").write_text(SFT, "utf-8")
    Path("grpo.toml").write_text(GRPO, "utf-8")
    run("train", "traces", "--out", "traces.jsonl", "--count", "8", "--family", "word")
    run("train", "sft", "--recipe", "sft.toml", "--out", "sft")
    run("train", "grpo", "--recipe", "grpo.toml", "--out", "grpo")
    run("ask", "--small", "hf:sft", "--large", "embedded", "What is 47*23?")
    import_all(without={"phonenumbers", "opentelemetry", "matplotlib", "vllm"})


if __name__ == "__main__":
    main()
