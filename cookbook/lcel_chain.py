"""A LangChain chain: prompt, model, parser; offload events reach any callback.

Your own models: `SplitReasonLLM(small="hf:<small model>", large="hf:<large model>")`.
"""

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_splitreason import SplitReasonLLM


class Offloads(BaseCallbackHandler):
    """Prints each finished span."""

    def on_custom_event(self, name, data, **kwargs):
        """Handle an offload event."""
        if name == "splitreason.handoff.finished":
            print(f"  offloaded {data['tokens']} tokens: {data['text']!r}")


prompt = ChatPromptTemplate.from_messages(
    [("system", "You solve word problems."), ("user", "{problem}")]
)
chain = prompt | SplitReasonLLM(seed=1) | StrOutputParser()
problem = "Ana buys 25 packs of 36 stamps each. How many stamps does Ana have now?"
print(chain.invoke({"problem": problem}, config={"callbacks": [Offloads()]}))
