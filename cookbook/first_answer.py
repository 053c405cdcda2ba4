"""A first answer: the text, its authors, and its cost.

Your own models: `SplitReasonLLM(small="hf:<small model>", large="hf:<large model>")`.
"""

from langchain_splitreason import SplitReasonLLM

llm = SplitReasonLLM(seed=1)
question = (
    "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards. "
    "How many cards does Mia have now?"
)
reply = llm.invoke(question)
facts = reply.response_metadata["splitreason"]

print(reply.additional_kwargs["reasoning_content"], "\n")
for span in facts["spans"]:
    print(f"  the large model wrote {span['text']!r} ({span['tokens']} tokens)")
print(reply.content)
print(f"{facts['offload_share']:.0%} by the large model, {facts['latency_s']:.2f} s")
