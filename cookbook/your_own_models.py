"""Your own two models, neither of them trained to share a reply: try, measure, use the verdict.

The bundled `base` never learned to mark hard spans. Put your models in the place of `MODELS`, and
your prompts in that of `generated`. As a command, with a page to print:
`splitreason recommend --small hf:<small> --large hf:<large> --data mine.jsonl --out report`.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from langchain_splitreason import SplitReasonLLM
from splitreason_integrations import SplitEngine
from splitreason_integrations.evals.recommend import recommend
from splitreason_integrations.evals.runner import Runner
from splitreason_integrations.evals.tasks import generated

MODELS = {"small": "embedded:base", "large": "embedded:large"}
QUESTION = (
    "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards. "
    "How many cards does Mia have now?"
)

# Nothing has to be set: what opens and ends spans follows what the models are.
reply = SplitReasonLLM(**MODELS, seed=1).invoke(QUESTION)
facts = reply.response_metadata["splitreason"]
print(f"{facts['trigger']}, {facts['close']}: {facts['choice_reason']}")
print(f"{reply.content} {facts['offload_share']:.0%} by the large model\n")

# 30 prompts are the least that give a verdict; 60 of your own are better.
print("trying both models alone, and what they could do together …")
found = recommend(Runner(tasks=generated("dev", ["word"], n=30, seed=1)), SplitEngine(**MODELS))
for tried in found.rows:
    share, saving = tried.result.offload_share, tried.saving.value
    print(
        f"{tried.result.name:22} {tried.score:4.0%} right, {share:4.0%} large, saves {saving:.0%}"
    )
print(f"\n{found.verdict.sentence}")

# The policy is a file that code, command and colleagues can use.
with TemporaryDirectory() as folder:
    path = Path(folder, "policy.toml")
    path.write_text(found.policy.to_toml(), "utf-8")
    reply = SplitReasonLLM(**MODELS, policy=str(path), seed=1).invoke(QUESTION)
print(reply.content)
