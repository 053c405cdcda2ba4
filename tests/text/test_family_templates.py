"""Chat templates of the families: what they write as a call is read back as that call."""

from copy import deepcopy
from pathlib import Path

import pytest
import trl

from splitreason_integrations.backends.codec import TokenizerCodec
from splitreason_integrations.protocols import CONTROL
from splitreason_integrations.text.replies import ReplyReader
from splitreason_integrations.text.reply_formats import FORMATS
from splitreason_integrations.text.thoughts import call_tokens

TRL = Path(trl.__file__).parent / "chat_templates"
KIMI = """\
{%- if tools %}<|im_system|>tool_declare<|im_middle|>{{ tools | tojson }}<|im_end|>{% endif -%}
{%- for m in messages -%}
<|im_{{ {'user': 'user', 'assistant': 'assistant'}.get(m.role, 'system') }}|>
{{- m.role }}<|im_middle|>
{%- if m.role == 'tool' %}## Return of {{ m.tool_call_id }}
{% endif -%}
{{ m.content }}
{%- if m.tool_calls %}<|tool_calls_section_begin|>{% for call in m.tool_calls -%}
<|tool_call_begin|>{{ call.id }}<|tool_call_argument_begin|>
{{- call.function.arguments | tojson }}<|tool_call_end|>
{%- endfor %}<|tool_calls_section_end|>{% endif %}<|im_end|>
{%- endfor -%}
{%- if add_generation_prompt %}<|im_assistant|>assistant<|im_middle|>{% endif %}"""
MINIMAX = """\
{%- if tools %}]~b]system
{{ tools | tojson }}[e~[
{% endif -%}
{%- for m in messages -%}
{%- if m.role == 'tool' %}]~b]tool
<response>{{ m.content }}</response>[e~[
{% else %}]~b]{{ 'ai' if m.role == 'assistant' else m.role }}
{{ m.content }}
{%- if m.tool_calls %}
<minimax:tool_call>
{% for call in m.tool_calls %}<invoke name="{{ call.function.name }}">
{% for key, value in call.function.arguments.items() -%}
<parameter name="{{ key }}">{{ value if value is string else value | tojson }}</parameter>
{% endfor %}</invoke>
{% endfor %}</minimax:tool_call>{% endif %}[e~[
{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}]~b]ai
{% endif %}"""
DEEPSEEK_3_1 = """\
{%- for m in messages -%}
{%- if m.role == 'user' %}<｜User｜>{{ m.content }}{% endif -%}
{%- if m.role == 'assistant' %}<｜Assistant｜></think>{{ m.content }}
{%- if m.tool_calls %}<｜tool▁calls▁begin｜>{% for call in m.tool_calls -%}
{{ '<｜tool▁call▁begin｜>' + call.function.name + '<｜tool▁sep｜>' + call.function.arguments }}
{{- '<｜tool▁call▁end｜>' }}{% endfor %}<｜tool▁calls▁end｜>{% endif -%}<｜end▁of▁sentence｜>
{%- endif -%}
{%- if m.role == 'tool' %}<｜tool▁output▁begin｜>{{ m.content }}<｜tool▁output▁end｜>{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}<｜Assistant｜></think>{% endif %}"""
TEMPLATES = {
    "qwen3": ("hermes", (TRL / "qwen3.jinja").read_text("utf-8")),
    "qwen3_6": ("qwen3-coder", (TRL / "qwen3_6.jinja").read_text("utf-8")),
    "qwen3_8": ("qwen3-coder", (TRL / "qwen3_8.jinja").read_text("utf-8")),
    "nemotron_3_nano": ("qwen3-coder", (TRL / "nemotron_3_nano.jinja").read_text("utf-8")),
    "glm4moe": ("glm", (TRL / "glm4moe.jinja").read_text("utf-8")),
    "deepseekv3": ("deepseek", (TRL / "deepseekv3.jinja").read_text("utf-8")),
    "deepseek 3.1": ("deepseek-v3.1", DEEPSEEK_3_1),
    "kimi": ("kimi", KIMI),
    "minimax": ("minimax", MINIMAX),
}
"""Those of trl, and short ones that write calls as the families do."""

KINDS = {"city": "string", "days": "integer", "scale": "number", "wind": "boolean", "at": "object"}
ARGUMENTS = {"city": "5\nParis ", "days": 3, "scale": 0.5, "wind": True, "at": {"x": [1, None]}}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Gives the weather.",
        "parameters": {"properties": {key: {"type": kind} for key, kind in KINDS.items()}},
    },
}
ASKED = {"role": "user", "content": "Weather?"}
CALLS = [
    {"id": f"id{at}", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    for at, arguments in enumerate([ARGUMENTS, {"city": "Rome"}])
]
CALLED = {"role": "assistant", "content": "", "tool_calls": CALLS}
RESULTS = [
    {"role": "tool", "tool_call_id": f"id{at}", "content": text}
    for at, text in enumerate(["sunny", "windy"])
]


def codec_of(embedded, case):
    """A codec with a family's chat template, and its marks as control tokens."""
    family, template = TEMPLATES[case]
    marks = CONTROL.findall(FORMATS[family].call + FORMATS[family].argument)
    tokenizer = deepcopy(embedded[0].codec._tokenizer)
    tokenizer.add_tokens([mark for mark in marks if "{" not in mark], special_tokens=True)
    tokenizer.chat_template = template
    codec = TokenizerCodec(tokenizer, name=case)
    assert codec.reply_format.name == family
    return codec


@pytest.fixture(params=TEMPLATES)
def codec(request, embedded):
    return codec_of(embedded, request.param)


def written(codec, messages):
    return codec.decode(codec.render(messages, [TOOL]).token_ids)


def test_calls_in_a_conversation_are_those_that_the_reader_knows(codec):
    text = written(codec, [ASKED, CALLED, *RESULTS])
    # The text in front is the offer of tools, which may show a call as an example.
    reader = ReplyReader(codec.reply_format.response_template, "", tools=[TOOL])
    reader.feed(text[text.rindex("Weather?") :])
    reader.finish()
    calls = [call for call in reader.tool_calls if call.name != "function-name"]
    assert [(call.name, call.arguments) for call in calls] == [
        ("weather", ARGUMENTS),
        ("weather", {"city": "Rome"}),
    ]


def test_what_begins_a_call_begins_nothing_else(codec):
    """Where no call may come out, these tokens are not written: all else has to stay possible."""
    form = codec.reply_format
    spelled = "".join(codec.decode([token]) for token in call_tokens(codec))
    assert form.call.strip().startswith(spelled)
    marks = (form.begin_of_reasoning, form.end_of_reasoning, form.answer_start)
    assert not spelled or not any(spelled in mark for mark in marks)
    if form.name == "hermes" and codec.control_token("<tool_call>") is not None:
        assert spelled == "<tool_call>"


def test_tools_calls_and_results_are_shown(codec):
    text = written(codec, [ASKED, CALLED, *RESULTS])
    assert "Gives the weather." in text
    assert text.rindex("Weather?") < text.index("Rome") < text.index("sunny") < text.index("windy")


def test_what_users_and_tools_write_is_no_call(codec):
    family = codec.reply_format
    forged = family.write_call("weather", '{"city": "Jena"}')
    marks = [part for part, own in family.call_parts("weather", "{}") if own]

    def count(said):
        function = {"name": "weather", "arguments": {"city": said}}
        called = {**CALLED, "tool_calls": [{**CALLS[1], "function": function}]}
        user = {**ASKED, "content": said}
        ids = codec.render([user, called, {**RESULTS[1], "content": said}, user], [TOOL]).token_ids
        return [ids.count(codec.control_token(mark)) for mark in marks]

    assert marks
    assert count(forged) == count("Jena")


def test_kimi_names_the_tool_by_its_id(embedded):
    codec = codec_of(embedded, "kimi")
    again = [CALLED, RESULTS[1], RESULTS[0]]
    text = written(codec, [ASKED, CALLED, *RESULTS, *again])
    assert [f"functions.weather:{at}" in text for at in range(5)] == [True] * 4 + [False]
    assert text.rindex("## Return of functions.weather:3") < text.rindex("windy")
    assert text.rindex("windy") < text.rindex("## Return of functions.weather:2")
    unnamed = [
        {key: value for key, value in one.items() if key != "tool_call_id"} for one in RESULTS
    ]
    text = written(codec, [ASKED, CALLED, *unnamed])
    assert text.index("functions.weather:1\nwindy") > text.index("functions.weather:0\nsunny")
