"""What LangChain's `dumps` writes of a pair, `loads` makes again: each option, and no key."""

import json

import pytest
from langchain_core.load import dumps, load, loads
from pydantic import ValidationError

from langchain_splitreason import InterruptReviewer, SplitReasonLLM
from splitreason_integrations import (
    HumanCheck,
    OpenAIServerModel,
    Policy,
    Retry,
    TransformersModel,
    embedded,
)
from tests.adapters.langchain_fakes import scripted

# LangChain calls its `loads` a beta.
pytestmark = pytest.mark.filterwarnings(
    "ignore::langchain_core._api.beta_decorator.LangChainBetaWarning"
)

SERVER = OpenAIServerModel("http://127.0.0.1:9/v1", "m")
BASE = TransformersModel(str(embedded.path("base")), device="cpu")


def again(text):
    return loads(text, allowed_objects=[SplitReasonLLM], valid_namespaces=["langchain_splitreason"])


@pytest.mark.parametrize(
    "options",
    [
        {"small": BASE},
        {"large": SERVER},
        {"large": [SERVER, "embedded"]},
        {"trigger": "tag>0.4 | entropy>2", "close": "agrees | step"},
        {"policy": "balanced"},
        {"policy": Policy(max_usd=0.5, deadline_s=20)},
        {"retry": Retry(attempts=2)},
        {"redact": ["email", "phone"]},
        {"telemetry": False},
        {"stop": ["a"], "thinking": False, "request_metadata": {"a": "b"}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_survive(options):
    llm = SplitReasonLLM(**{"small": "embedded", "large": "embedded", **options})
    text = dumps(llm)
    assert "not_implemented" not in text
    assert again(text) == llm


def test_what_is_not_equal_to_itself_made_again_survives_too(tmp_path):
    log = tmp_path / "log.jsonl"
    check = HumanCheck(reviewer=InterruptReviewer(), timeout_s=9)
    llm = again(dumps(SplitReasonLLM(audit=log, human_check=check)))
    assert llm.audit.path == log
    assert isinstance(llm.human_check.reviewer, InterruptReviewer)
    assert llm.human_check.timeout_s == 9


def test_keys_are_left_out():
    large = OpenAIServerModel("http://127.0.0.1:9/v1", "m", api_key="sk-secret")
    text = dumps(SplitReasonLLM(small="embedded", large=large))
    assert "sk-secret" not in text
    assert again(text).large == SERVER


def test_what_has_no_written_form_is_asked_for_again():
    with pytest.raises(ValidationError, match="human_check held the function"):
        again(dumps(SplitReasonLLM(human_check=lambda question: "approve")))
    with pytest.raises(ValidationError, match="held the loaded model little"):
        again(dumps(scripted()))


def test_the_error_of_loads_says_how_load_is_given_the_option_again():
    text = dumps(SplitReasonLLM(human_check=lambda question: "approve"))
    with pytest.raises(ValidationError) as failed:
        again(text)
    assert "data['kwargs']['human_check'] = ...; load(data, ...)" in str(failed.value)
    assert "from_dict" not in str(failed.value)
    data = json.loads(text)
    data["kwargs"]["human_check"] = lambda question: "refuse"
    read = load(data, allowed_objects=[SplitReasonLLM], valid_namespaces=["langchain_splitreason"])
    assert read.human_check.reviewer("?") == "refuse"
