"""The audit log behind both adapters: a path is enough, for a model or for a single call."""

import asyncio

import pytest
from langchain_core.messages import HumanMessage
from llama_index.core.base.llms.types import ChatMessage

from langchain_splitreason import SplitReasonLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations.audit import AuditLog, verify
from splitreason_integrations.audit.history import load
from splitreason_integrations.errors import AuditError
from splitreason_integrations.testing import ScriptedModel

SMALL = "47*23 =<bigmodel> cards.\n</think>\n\nMia has 1081 cards."
ASK = "How many cards?"


def chat_model(kind, **more):
    large = ScriptedModel(" 940+141 = 1081</bigmodel>", name="large")
    return kind(small=ScriptedModel(SMALL, name="small"), large=large, **more)


def invoke(llm):
    return llm.invoke(ASK).response_metadata["splitreason"]


def chat(llm):
    return llm.chat([ChatMessage(content=ASK)]).raw["splitreason"]


@pytest.mark.parametrize(("kind", "ask"), [(SplitReasonLLM, invoke), (LlamaIndexLLM, chat)])
def test_log_and_metadata_agree(tmp_path, kind, ask):
    path = tmp_path / "audit.jsonl"
    facts = ask(chat_model(kind, audit=str(path)))
    (request,) = load(path).requests
    assert request.request_id == facts["request_id"]
    assert request.finished["offload_share"] == facts["offload_share"]
    assert request.status == "finished"
    assert ASK.encode() not in path.read_bytes()


@pytest.mark.parametrize("kind", [SplitReasonLLM, LlamaIndexLLM])
def test_what_audit_takes(tmp_path, kind):
    log = AuditLog(tmp_path / "audit.jsonl", content=True)
    assert chat_model(kind, audit=log).audit is log
    assert chat_model(kind, audit=log.path).audit.path == log.path
    with pytest.raises(AuditError, match="folder that exists"):
        chat_model(kind, audit=str(tmp_path / "no" / "audit.jsonl"))
    with pytest.raises(ValueError, match="audit must be an AuditLog"):
        chat_model(kind, audit=3)


def test_one_call_can_have_a_log(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl", content=True)
    llm = chat_model(SplitReasonLLM)
    llm.invoke(ASK)
    llm.invoke(ASK, audit=log)
    llm.bind(audit=str(log.path)).invoke(ASK)
    first, second = load(log.path).requests
    assert first.started["request"]["messages"] == [{"role": "user", "content": ASK}]
    assert "pieces" not in second.finished


def test_the_settings_name_the_log(tmp_path):
    path = str(tmp_path / "audit.jsonl")
    llm = chat_model(SplitReasonLLM, audit=path)
    assert llm.plain_options()["audit"] == path
    assert chat_model(SplitReasonLLM).plain_options()["audit"] is None
    assert SplitReasonLLM(audit=path).model_copy(deep=True).audit.path == llm.audit.path
    assert SplitReasonLLM(audit=path).model_dump(mode="json")["audit"] == path
    assert SplitReasonLLM().model_dump(mode="json")["audit"] is None


async def test_batches_and_broken_off_streams(tmp_path):
    path = tmp_path / "audit.jsonl"
    llm = chat_model(SplitReasonLLM, audit=str(path))
    llm.batch([ASK] * 4)
    await llm.abatch([[HumanMessage(ASK)]] * 4)
    stream = llm.astream(ASK)
    await anext(stream)
    await stream.aclose()
    for chunk in llm.stream(ASK):
        assert chunk
        break
    await asyncio.sleep(0.2)
    history = load(path)
    statuses = [request.status for request in history.requests]
    assert statuses.count("finished") == 8
    assert statuses.count("cancelled") == 2
    assert verify(path).ok
