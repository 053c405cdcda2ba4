"""Structured output: the reasoning is unconstrained, the answer always fits the class.

Your own models: `SplitReasonLLM(small="hf:<small model>", large="hf:<large model>")`.
"""

from typing import Literal

from pydantic import BaseModel, Field

from langchain_splitreason import SplitReasonLLM


class Stock(BaseModel):
    """What somebody owns in the end."""

    thing: Literal["cards", "lamps", "stamps"]
    number: int = Field(ge=0, le=9999)


llm = SplitReasonLLM(seed=1).with_structured_output(Stock, include_raw=True)
question = (
    "Leo lays out 34 rows of 56 cards. Then Leo sells 12 cards. How many cards does Leo have now?"
)
reply = llm.invoke(question)
print(reply["raw"].additional_kwargs["reasoning_content"])
print(repr(reply["parsed"]))
print(f"{reply['raw'].response_metadata['splitreason']['offload_share']:.0%} by the large model")
