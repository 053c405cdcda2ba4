"""Budgets: caps in code, ready-made policies, a policy file with a calibrated threshold.

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
QUESTION = (
    "Tom makes 38 lamps a day for 64 days. Then Tom sells 715 lamps. "
    "How many lamps does Tom have now?"
)


def show(name: str, policy: Policy) -> None:
    """Ask under a policy; print share, cost and answer."""
    reply = SplitReasonLLM(policy=replace(policy, models=PRICES), seed=1).invoke(QUESTION)
    facts = reply.response_metadata["splitreason"]
    share, usd = facts["offload_share"], 1000 * facts["cost_usd"]
    print(f"{name:32} {share:6.1%} {usd:7.3f} USD per 1,000   {reply.content}")


show("no cap", Policy())
show("Policy(max_spans=1)", Policy(max_spans=1))
show("Policy(max_offload_share=0.1)", Policy(max_offload_share=0.1))
show("cost-first", Policy.template("cost-first"))
show("balanced", Policy.template("balanced"))

# The threshold that keeps these prompts at a share of 10 %; use hundreds of your own prompts.
print("\nmeasuring a threshold on 6 prompts …")
found = calibrate(
    SplitEngine(policy=Policy(models=PRICES)),
    generated("dev", ["word"], n=6, seed=0),
    Goal(Metric.SHARE, 0.1, by_point=True),
    runs=4,
)
for row in found.rows:
    share, usd = (row.figures[one].value for one in (Metric.SHARE, Metric.USD))
    print(f"  tag>{row.threshold:<6g} {share:6.1%} {usd:7.3f} USD per 1,000")

with TemporaryDirectory() as folder:
    path = Path(folder, "mine.toml")
    path.write_text(Policy(trigger=str(found.trigger), max_usd=0.01).to_toml(), "utf-8")
    print(f"\n{path.read_text('utf-8')}")
    show(path.name, Policy.load(path))
