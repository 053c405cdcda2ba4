"""LangChain's standard suites: on the embedded pair, and on scripted models for what needs a model
that follows any instruction. Both go through the same engine and the same chat model."""

import json
import re
from unittest.mock import ANY

import pytest
from langchain_core._api import LangChainBetaWarning
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_splitreason import SplitReasonLLM
from splitreason_integrations import embedded
from splitreason_integrations.errors import ToolChoiceError
from splitreason_integrations.testing import ScriptedModel

pytestmark = [
    # The suites' tests of stream_events(version="v3") warn that it is in beta.
    pytest.mark.filterwarnings(f"ignore::{LangChainBetaWarning.__module__}.LangChainBetaWarning"),
]


def argument(schema, text):
    """Return a value of a JSON schema, taken from the text where it has one."""
    if "anyOf" in schema:
        return argument(schema["anyOf"][0], text)
    quoted, number = re.search(r"'(.+?)'", text), re.search(r"\d+", text)
    match schema.get("type"):
        case "integer" | "number":
            return int(number[0]) if number else 1
        case "object":
            return {name: argument(part, text) for name, part in schema["properties"].items()}
        case "array":
            return [argument(schema["items"], text)]
        case _:
            return quoted[1] if quoted else "a cat"


def follow_instructions(messages, tools):
    """Call the first tool with what the user says; answer once the tool has."""
    asked = messages[-1]
    if tools and asked["role"] == "user":
        function = tools[0]["function"]
        arguments = argument(function["parameters"], asked["content"])
        call = json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False)
        return f"A tool.<bigmodel></think>\n\n<tool_call>\n{call}\n</tool_call>"
    if "JSON" in asked["content"]:
        return 'Let me see.<bigmodel></think>\n\n{"setup": "Why?", "punchline": "Because."}'
    return "Let me see.<bigmodel></think>\n\nHello, I am well."


class Suite:
    """What both classes share."""

    @property
    def chat_model_class(self):
        return SplitReasonLLM

    @property
    def standard_chat_model_params(self):
        return {"temperature": 0, "max_tokens": 100, "timeout": 60, "stop": [], "max_retries": 2}


class Embedded(Suite):
    @property
    def chat_model_params(self):
        return {"small": "embedded", "large": "embedded", "seed": 1}


class Scripted(Suite):
    @property
    def chat_model_params(self):
        return {
            "small": ScriptedModel(follow_instructions, name="scripted-small"),
            "large": ScriptedModel(" Done.</bigmodel>", name="scripted-large"),
        }


# Skipped below, by both classes: images, audio and PDF (the models read text only) and the timing
# with recorded HTTP (there is no HTTP). Set-up from environment variables: there are none.

FOLLOWS = "the pair knows the tools of its training; it cannot follow any instruction it is given"


follows = pytest.mark.xfail(reason=FOLLOWS, raises=(AssertionError, ToolChoiceError))
"""Of what the pair says alone: any other error is one of ours."""


class TestEmbeddedUnit(Embedded, ChatModelUnitTests):
    @pytest.mark.xfail(
        reason="LangChain's allowed_objects='all' means a list in langchain-core", raises=ValueError
    )
    def test_serdes(self, model):
        # test_langchain_settings.py has the round trip with this class allowed by name, and what is
        # written: no snapshot is kept here.
        super().test_serdes(model, lambda name: ANY)


class TestEmbeddedIntegration(Embedded, ChatModelIntegrationTests):
    # Tests marked FOLLOWS, and those of structured output, run on the scripted models below.
    @property
    def has_structured_output(self):
        return False

    @property
    def has_tool_choice(self):
        return False

    @follows
    def test_tool_calling(self, model):
        super().test_tool_calling(model)

    @follows
    async def test_tool_calling_async(self, model):
        await super().test_tool_calling_async(model)

    @follows
    def test_agent_loop(self, model):
        super().test_agent_loop(model)

    @follows
    def test_bind_runnables_as_tools(self, model):
        super().test_bind_runnables_as_tools(model)

    @follows
    def test_tool_calling_with_no_arguments(self, model):
        super().test_tool_calling_with_no_arguments(model)

    @follows
    def test_unicode_tool_call_integration(self, model):
        super().test_unicode_tool_call_integration(model)

    @property
    def supports_anthropic_inputs(self):
        return True

    @property
    def supports_model_override(self):
        return True

    @property
    def model_override_value(self):
        return f"hf:{embedded.path('base')}"

    @property
    def supported_usage_metadata_details(self):
        return {"invoke": ["reasoning_output"], "stream": ["reasoning_output"]}

    def invoke_with_reasoning_output(self, *, stream=False):
        # "reasoning" and "large" count the same tokens where the large model reasons, and the
        # suite takes details to be apart; so the small model writes alone here.
        model = SplitReasonLLM(**self.chat_model_params, trigger="never", max_tokens=100)
        if not stream:
            return model.invoke("What is 2 + 3?")
        chunks = list(model.stream("What is 2 + 3?"))
        return sum(chunks[1:], chunks[0])


class TestScriptedIntegration(Scripted, ChatModelIntegrationTests):
    @property
    def structured_output_kwargs(self):
        # A script knows the tools it is shown, and is not held to a schema.
        return {"method": "function_calling"}

    # The override of the model by name runs on the embedded pair above.
    @property
    def supports_json_mode(self):
        return True

    @property
    def supports_anthropic_inputs(self):
        return True
