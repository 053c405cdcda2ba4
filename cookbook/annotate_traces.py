"""Annotate traces for training in three ways: with a rule, two models, or a chat model.

Your own traces are JSON lines with `question` and `trace`. Your own chat model can be any LangChain
chat model: `LLMAnnotator(init_chat_model("provider:name"))`; the fake one here quotes one sentence.
"""

import json
from pathlib import Path
from tempfile import mkdtemp

from langchain_core.language_models import FakeListChatModel

from splitreason_integrations import blocking
from splitreason_integrations.annotation.gap import GapAnnotator
from splitreason_integrations.annotation.llm import LLMAnnotator
from splitreason_integrations.annotation.rules import RuleAnnotator
from splitreason_integrations.annotation.run import Settings, annotate
from splitreason_integrations.annotation.sources import JsonLines
from splitreason_integrations.backends.registry import load_model

folder = Path(mkdtemp())
question = (
    "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards. "
    "How many cards does Mia have now?"
)
trace = (
    "Let me go through the facts one by one. Mia has 47 boxes with 23 cards in each box. "
    "I multiply 47 by 23 to count all the cards of Mia. 47*23 = 940+141 = 1081 cards. "
    "Then Mia sells 12 cards. I take 12 away from the 1081 cards from before. "
    "1081-12 = 1071-2 = 1069 cards. All the facts are used, so the answer is 1069."
)
source = folder / "traces.jsonl"
source.write_text(json.dumps({"question": question, "trace": trace}) + "\n")

small, large = (
    blocking.run(lambda role=role: load_model("embedded", role=role)) for role in ("small", "large")
)
quoting = FakeListChatModel(responses=['{"snippets": ["47*23 = 940+141 = 1081 cards."]}'])


def tagged(annotator, settings):
    """Annotate the file; return its only trace with tags."""
    out = folder / f"{annotator.name}.jsonl"
    report = blocking.run(lambda: annotate(JsonLines(source), annotator, out, settings))
    print(f"{annotator.name}: {report.character_share:.0%} of the characters are hard")
    return json.loads(out.read_text())["tagged"]


print(tagged(RuleAnnotator(["arithmetic"]), Settings()))
print(tagged(GapAnnotator(small, large), Settings(min_score=0.5)))  # or share=0.1
print(tagged(LLMAnnotator(quoting), Settings()))
