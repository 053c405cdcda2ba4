"""Streaming: the large model's text in colour while it is generated.

Your own models: `SplitReasonLLM(small="hf:<small model>", large="hf:<large model>")`.
"""

from rich.console import Console

from langchain_splitreason import SplitReasonLLM

console = Console(highlight=False)
llm = SplitReasonLLM(seed=1)
question = (
    "Tom makes 38 lamps a day for 64 days. Then Tom sells 715 lamps. "
    "How many lamps does Tom have now?"
)

for chunk in llm.stream(question):
    for piece in chunk.additional_kwargs.get("authors", []):
        style = "bold magenta" if piece["type"] == "large" else ""
        console.print(piece["text"], style=style, end="", markup=False, soft_wrap=True)
    if facts := chunk.response_metadata.get("splitreason"):
        console.print(f"\n\n{facts['offload_share']:.0%} by the large model")
