"""Budgets: what caps, ready-made policies and a calibrated threshold cost, and what they get right.

Your own models: `SplitReasonLLM(small="hf:<small model>", large="hf:<large model>")`.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from langchain_splitreason import SplitReasonLLM
from splitreason_integrations import ModelTerms, Policy, Prices, SplitEngine
from splitreason_integrations.evals.calibrate import calibrate
from splitreason_integrations.evals.goals import Goal
from splitreason_integrations.evals.metrics import Metric
from splitreason_integrations.evals.tasks import generated

# What the large model costs, in USD per million tokens; "*" is any model.
PRICES = {"*": ModelTerms(prices=Prices(input_usd=0.5, output_usd=2.0))}
PROBLEMS = generated("test", ["word"], n=8, seed=3)


def show(name: str, policy: Policy) -> None:
    """Ask all problems under a policy; print right answers, offload share and cost."""
    llm = SplitReasonLLM(policy=replace(policy, models=PRICES), seed=1)
    replies = llm.batch([list(problem.messages) for problem in PROBLEMS])
    right = sum(one.right(reply.text) for one, reply in zip(PROBLEMS, replies, strict=True))
    facts = [reply.response_metadata["splitreason"] for reply in replies]
    large, small = (sum(one["tokens"][author] for one in facts) for author in ("large", "small"))
    usd = 1000 * sum(one["cost_usd"] for one in facts) / len(facts)
    print(
        f"{name:30} {right:2} of {len(facts)} right, {large / (large + small):5.1%} by the large "
        f"model, {usd:.3f} USD per 1,000"
    )


show("no cap", Policy())
show("max_offload_share=0.1", Policy(max_offload_share=0.1))
show("max_spans=1", Policy(max_spans=1))
show("max_large_tokens=5", Policy(max_large_tokens=5))
show("max_usd=0.0001", Policy(max_usd=0.0001))
show("cost-first", Policy.template("cost-first"))

# The threshold that keeps prompts like these at a share of 10 %; use hundreds of your own.
print("\nmeasuring a threshold on 6 prompts …")
goal = Goal(Metric.SHARE, 0.1, by_point=True)
found = calibrate(SplitEngine(), generated("dev", ["word"], n=6, seed=0), goal, runs=4)

with TemporaryDirectory() as folder:
    path = Path(folder, "mine.toml")
    path.write_text(Policy(trigger=str(found.trigger)).to_toml(), "utf-8")
    print(f"{path.name}: {path.read_text('utf-8').strip()}")
    show(path.name, Policy.load(path))
