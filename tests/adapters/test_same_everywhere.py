"""One seed, one text: the engine, the blocking door and every way into LangChain agree."""

import asyncio

import pytest

from langchain_splitreason import SplitReasonLLM
from splitreason_integrations import Request, Sampling, SplitEngine, blocking, parse_trigger

ASK = "Mia has 47 boxes with 23 pens each. She gives 120 pens away. How many pens does Mia keep?"


def text_of(message):
    return message.additional_kwargs.get("reasoning_content", ""), message.content


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("trigger", ["tag", "tag>0.05", "random:0.02"])
def test_same_seed_same_text(embedded, trigger, temperature):
    engine = SplitEngine(trigger=parse_trigger(trigger))
    request = Request(
        messages=[{"role": "user", "content": ASK}],
        sampling=Sampling(temperature=temperature),
        max_tokens=120,
        seed=7,
    )
    llm = SplitReasonLLM(trigger=trigger, temperature=temperature, max_tokens=120, seed=7)

    def joined(chunks):
        whole = None
        for chunk in chunks:
            whole = chunk if whole is None else whole + chunk
        return text_of(whole)

    async def by_engine():
        reply = await engine.complete(request)
        return reply.reasoning, reply.answer

    async def astream():
        return joined([chunk async for chunk in llm.astream(ASK)])

    def by_blocking():
        reply = blocking.run(lambda: engine.complete(request))
        return reply.reasoning, reply.answer

    texts = {
        "engine": asyncio.run(by_engine()),
        "blocking": by_blocking(),
        "invoke": text_of(llm.invoke(ASK)),
        "stream": joined(llm.stream(ASK)),
        "ainvoke": text_of(asyncio.run(llm.ainvoke(ASK))),
        "astream": asyncio.run(astream()),
        "batch": text_of(llm.batch([ASK, "Hello"])[0]),
        "batch, second": text_of(llm.batch(["Hello", ASK])[1]),
    }
    assert len(set(texts.values())) == 1, texts
    assert texts["engine"][0]
