"""Replies as families of models write them: read whole and in pieces, told by their template."""

import json

import pytest

from splitreason_integrations.records import Channel
from splitreason_integrations.text.replies import ReplyReader
from splitreason_integrations.text.reply_formats import FORMATS, TAGGED, find_format
from tests.text.test_replies import pieces_of

PARIS, ROME = {"city": "Paris"}, {"city": "Rome", "days": 3}
PROPERTIES = {"city": {"type": "string"}, "days": {"type": "integer"}}
WEATHER = [
    {"type": "function", "function": {"name": "weather", "parameters": {"properties": PROPERTIES}}},
    {"type": "function", "function": {"name": "now"}},
]
HARMONY_CALL = "<|channel|>commentary to=functions.weather <|constrain|>json<|message|>"
FIXTURES = {
    "hermes: text, then two calls": (
        "hermes",
        "<|im_start|>assistant\n<think>\n",
        "Both.\n</think>\n\nOne moment.\n<tool_call>\n"
        '{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>\n<tool_call>\n'
        '{"name": "weather", "arguments": {"city": "Rome", "days": 3}}\n</tool_call>',
        ("Both.", "One moment.", [("weather", PARIS), ("weather", ROME)]),
    ),
    "hermes: broken call": (
        "hermes",
        "<|im_start|>assistant\n",
        '<tool_call>\n{"name": "weather", "arguments": {"city": }}\n</tool_call>',
        ("", "", [("", None)]),
    ),
    "llama3: bare call": (
        "llama3",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        '{"name": "weather", "parameters": {"city": "Paris"}}',
        ("", "", [("weather", PARIS)]),
    ),
    "llama3: bare call with its type": (
        "llama3",
        "",
        '{"type": "function", "name": "weather", "parameters": {"city": "Paris"}}',
        ("", "", [("weather", PARIS)]),
    ),
    "llama3: tagged calls in a row": (
        "llama3",
        "",
        '<|python_tag|>{"name": "weather", "parameters": {"city": "Paris"}}; '
        '{"name": "weather", "parameters": {"city": "Rome", "days": 3}}<|eom_id|>',
        ("", "", [("weather", PARIS), ("weather", ROME)]),
    ),
    "llama3: reasoning before a bare call": (
        "llama3",
        "<|start_header_id|>assistant<|end_header_id|>\n\n<think>\n",
        'Hm.\n</think>\n\n{"name": "weather", "parameters": {"city": "Paris"}}',
        ("Hm.", "", [("weather", PARIS)]),
    ),
    "llama3: an answer in JSON is no call": (
        "llama3",
        "",
        '{"name": "Paris", "river": "Seine"}',
        ("", '{"name": "Paris", "river": "Seine"}', []),
    ),
    "llama3: a call in the middle of an answer is text": (
        "llama3",
        "",
        'Write {"name": "weather", "parameters": {}} to ask.',
        ("", 'Write {"name": "weather", "parameters": {}} to ask.', []),
    ),
    "deepseek: R1": (
        "deepseek",
        "<｜Assistant｜><think>\n",
        "Look it up.\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>"
        'weather\n```json\n{"city": "Paris"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function'
        '<｜tool▁sep｜>weather\n```json\n{"city": "Rome", "days": 3}\n```<｜tool▁call▁end｜>'
        "<｜tool▁calls▁end｜>",
        ("Look it up.", "", [("weather", PARIS), ("weather", ROME)]),
    ),
    "deepseek: V3.1": (
        "deepseek",
        "<｜Assistant｜></think>",
        "I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>"
        '{"city": "Paris"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        ("", "I look.", [("weather", PARIS)]),
    ),
    "deepseek-v3.1: calls in a row": (
        "deepseek-v3.1",
        "<｜Assistant｜><think>",
        "Both.</think>I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>"
        '{"city": "Paris"}<｜tool▁call▁end｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>'
        '{"city": "Rome", "days": 3}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        ("Both.", "I look.", [("weather", PARIS), ("weather", ROME)]),
    ),
    "deepseek-v3.2: two calls": (
        "deepseek-v3.2",
        "<｜Assistant｜><think>",
        'Both.</think>\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name="weather">\n'
        '<｜DSML｜parameter name="city" string="true">Paris</｜DSML｜parameter>\n'
        "</｜DSML｜invoke>\n"
        '<｜DSML｜invoke name="weather">\n'
        '<｜DSML｜parameter name="city" string="true">Rome</｜DSML｜parameter>\n'
        '<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
        "</｜DSML｜function_calls>",
        ("Both.", "", [("weather", PARIS), ("weather", ROME)]),
    ),
    "qwen3-coder: text, then two calls": (
        "qwen3-coder",
        "<|im_start|>assistant\n<think>\n",
        "Both.\n</think>\n\nOne moment.\n\n<tool_call>\n<function=weather>\n<parameter=city>\n"
        "Paris\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=weather>\n"
        "<parameter=city>\nRome\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n"
        "</tool_call>",
        ("Both.", "One moment.", [("weather", PARIS), ("weather", ROME)]),
    ),
    "qwen3-coder: a value with the family's marks": (
        "qwen3-coder",
        "",
        "<tool_call>\n<function=weather>\n<parameter=city>\n\n<tool_call></tool_call>\n"
        "</parameter> </function>\n\n</parameter>\n</function>\n</tool_call>",
        ("", "", [("weather", {"city": "\n<tool_call></tool_call>\n</parameter> </function>\n"})]),
    ),
    "qwen3-coder: no arguments": (
        "qwen3-coder",
        "",
        "<tool_call>\n<function=now>\n</function>\n</tool_call>",
        ("", "", [("now", {})]),
    ),
    "qwen3-coder: cut off between two arguments": (
        "qwen3-coder",
        "",
        "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n",
        ("", "", [("", None)]),
    ),
    "qwen3-coder: an argument twice": (
        "qwen3-coder",
        "",
        "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=city>\n"
        "Rome\n</parameter>\n</function>\n</tool_call>",
        ("", "", [("weather", None)]),
    ),
    "qwen3-coder: text between the arguments": (
        "qwen3-coder",
        "",
        "<tool_call>\n<function=weather>\ncity: Paris\n</function>\n</tool_call>Done.",
        ("", "Done.", [("weather", None)]),
    ),
    "glm: two calls": (
        "glm",
        "<|assistant|>",
        "\n<think>Both.</think>\nOne moment.\n<tool_call>weather\n<arg_key>city</arg_key>\n"
        "<arg_value>Paris</arg_value>\n</tool_call>\n<tool_call>weather\n<arg_key>city</arg_key>\n"
        "<arg_value>Rome</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n"
        "</tool_call>",
        ("Both.", "One moment.", [("weather", PARIS), ("weather", ROME)]),
    ),
    "glm: without line breaks": (
        "glm",
        "<|assistant|><think>",
        "Hm.</think><tool_call>weather<arg_key>city</arg_key><arg_value>Rome</arg_value>"
        "<arg_key>days</arg_key><arg_value>3</arg_value></tool_call><tool_call>now</tool_call>",
        ("Hm.", "", [("weather", ROME), ("now", {})]),
    ),
    "glm: cut off between two arguments": (
        "glm",
        "",
        "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n",
        ("", "", [("", None)]),
    ),
    "kimi: two calls": (
        "kimi",
        "<|im_assistant|>assistant<|im_middle|>",
        "<think>Both.</think>One moment.<|tool_calls_section_begin|><|tool_call_begin|>"
        'functions.weather:0<|tool_call_argument_begin|>{"city": "Paris"}<|tool_call_end|>'
        "<|tool_call_begin|>functions.weather:1<|tool_call_argument_begin|>"
        '{"city": "Rome", "days": 3}<|tool_call_end|><|tool_calls_section_end|>',
        ("Both.", "One moment.", [("weather", PARIS), ("weather", ROME)]),
    ),
    "kimi: cut off in the second call": (
        "kimi",
        "",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0"
        '<|tool_call_argument_begin|>{"city": "Paris"}<|tool_call_end|><|tool_call_begin|>functi',
        ("", "", [("weather", PARIS), ("", None)]),
    ),
    "kimi: broken arguments": (
        "kimi",
        "",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0"
        '<|tool_call_argument_begin|>{"city": <|tool_call_end|><|tool_calls_section_end|>',
        ("", "", [("weather", None)]),
    ),
    "minimax: two calls": (
        "minimax",
        "]~b]ai\n<think>\n",
        'Both.\n</think>\n\nOne moment.\n<minimax:tool_call>\n<invoke name="weather">\n'
        '<parameter name="city">Paris</parameter>\n</invoke>\n<invoke name="weather">\n'
        '<parameter name="city">Rome</parameter>\n<parameter name="days">3</parameter>\n'
        "</invoke>\n</minimax:tool_call>",
        ("Both.", "One moment.", [("weather", PARIS), ("weather", ROME)]),
    ),
    "minimax: cut off in the second call": (
        "minimax",
        "",
        '<minimax:tool_call>\n<invoke name="weather">\n<parameter name="city">Paris</parameter>\n'
        '</invoke>\n<invoke name="weather">\n<parameter name="city">Rome</parameter>\n',
        ("", "", [("weather", PARIS), ("", None)]),
    ),
    "deepseek: only an answer": (
        "deepseek",
        "<｜Assistant｜><think>\n",
        "Hm.\n</think>\n\nIt rains.",
        ("Hm.", "It rains.", []),
    ),
    "mistral: named calls": (
        "mistral",
        "[/INST]",
        '[THINK]Both.[/THINK]I look.[TOOL_CALLS]weather[ARGS]{"city": "Paris"}'
        '[TOOL_CALLS]weather[CALL_ID]a1B2c3D4e[ARGS]{"city": "Rome", "days": 3}</s>',
        ("Both.", "I look.", [("weather", PARIS), ("weather", ROME)]),
    ),
    "mistral: a list of calls": (
        "mistral-lists",
        "[/INST]",
        '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Paris"}, "id": "a1B2c3D4e"}, '
        '{"name": "weather", "arguments": {"city": "Rome", "days": 3}}]</s>',
        ("", "", [("weather", PARIS), ("weather", ROME)]),
    ),
    "gpt-oss: analysis and answer": (
        "gpt-oss",
        "<|start|>assistant",
        "<|channel|>analysis<|message|>Simple.<|end|><|start|>assistant"
        "<|channel|>final<|message|>It rains.<|return|>",
        ("Simple.", "It rains.", []),
    ),
    "gpt-oss: preamble and call": (
        "gpt-oss",
        "<|start|>assistant",
        "<|channel|>analysis<|message|>Look it up.<|end|><|start|>assistant<|channel|>commentary"
        "<|message|>I look.<|end|><|start|>assistant" + HARMONY_CALL + '{"city": "Paris"}<|call|>',
        ("Look it up.", "I look.", [("weather", PARIS)]),
    ),
    "gpt-oss: the recipient comes before the channel": (
        "gpt-oss",
        "<|start|>assistant",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant to=functions.weather"
        '<|channel|>commentary json<|message|>{"city": "Rome", "days": 3}',
        ("Hm.", "", [("weather", ROME)]),
    ),
    "gpt-oss: broken arguments": (
        "gpt-oss",
        "<|start|>assistant",
        HARMONY_CALL + '{"city": ',
        ("", "", [("weather", None)]),
    ),
    "gpt-oss: an answer in a format": (
        "gpt-oss",
        "<|start|>assistant",
        '<|channel|>final <|constrain|>json<|message|>{"a": 1}',
        ("", '{"a": 1}', []),
    ),
}


@pytest.mark.parametrize("how", ["whole", "characters", "cut 1", "cut 2", "cut 3"])
@pytest.mark.parametrize("case", FIXTURES)
def test_replies_of_the_families(case, how):
    family, header, text, (reasoning, answer, calls) = FIXTURES[case]
    reader = ReplyReader(FORMATS[family].response_template, header, tools=WEATHER)
    shown = [one for piece in pieces_of(text, how) for one in reader.feed(piece)]
    shown += reader.finish()
    assert reader.text(Channel.REASONING) == reasoning
    assert reader.text(Channel.ANSWER) == answer
    assert [(call.name, call.arguments) for call in reader.tool_calls] == calls
    assert [call.id for call in reader.tool_calls] == [f"call_{at}" for at in range(len(calls))]
    for channel, expected in ((Channel.REASONING, reasoning), (Channel.ANSWER, answer)):
        assert "".join(text for where, text in shown if where is channel) == expected


@pytest.mark.parametrize("how", ["whole", "characters", "cut 1", "cut 2"])
@pytest.mark.parametrize("most", [0, 1])
@pytest.mark.parametrize("case", FIXTURES)
def test_the_last_call_that_may_be_made_ends_the_reply(case, most, how):
    family, header, text, (_, _, calls) = FIXTURES[case]
    reader = ReplyReader(FORMATS[family].response_template, header, tools=WEATHER, max_calls=most)
    pieces = []
    for piece in pieces_of(text, how):
        reader.feed(piece)
        pieces += reader.take_call_pieces()
    reader.finish()
    pieces += reader.take_call_pieces()
    made = [(call.name, call.arguments) for call in reader.tool_calls]
    assert made == calls[:most]
    assert {piece.index for piece in pieces} == set(range(len(made)))
    assert reader.stopped == reader.has_all_calls == (most == len(made) == 1)


@pytest.mark.parametrize("family", FORMATS)
def test_a_written_call_is_read_back(family):
    arguments = {"city": "São Paulo", "days": [1, 2], "x": {"y": None}}
    kinds = {"city": "string", "days": "array", "x": "object"}
    schema = {"type": "object", "properties": {key: {"type": kinds[key]} for key in kinds}}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]
    reader = ReplyReader(FORMATS[family].response_template, "", tools=tools)
    reader.feed(FORMATS[family].write_call("weather", json.dumps(arguments, ensure_ascii=False)))
    reader.finish()
    (call,) = reader.tool_calls
    assert (call.name, call.arguments) == ("weather", arguments)
    assert reader.text(Channel.ANSWER) == ""


def test_every_family_is_tried():
    assert {family for family, *_ in FIXTURES.values()} == set(FORMATS)


@pytest.mark.parametrize(
    ("template", "tokens", "family"),
    [
        ("<|im_start|> ... <tool_call>", {"<tool_call>"}, "hermes"),
        ("<|start_header_id|> ... <|python_tag|>", set(), "llama3"),
        ("<|start_header_id|> ...", {"<|python_tag|>", "<|eom_id|>"}, "llama3"),
        ("<｜User｜> ... <｜tool▁calls▁begin｜> ... ```json", set(), "deepseek"),
        ("<｜User｜> ...", {"<｜tool▁calls▁begin｜>"}, "deepseek"),
        ("<｜User｜> ... <｜tool▁calls▁begin｜>", {"<｜tool▁calls▁begin｜>"}, "deepseek-v3.1"),
        ("<｜User｜> ... {% set token = '｜DSML｜' %}", {"｜DSML｜"}, "deepseek-v3.2"),
        ("<|im_system|> ...", {"<|tool_calls_section_begin|>"}, "kimi"),
        ("]~b]ai ... '<minimax:tool_call>' ... <parameter=", set(), "minimax"),
        ("[gMASK]<sop> ... <tool_call> ... <arg_key>", {"<tool_call>"}, "glm"),
        ("<|im_start|> ... <tool_call> ... <parameter=x>", {"<tool_call>"}, "qwen3-coder"),
        ("[INST] ... [TOOL_CALLS]", {"[TOOL_CALLS]"}, "mistral-lists"),
        ("[INST] ... [TOOL_CALLS]", {"[TOOL_CALLS]", "[ARGS]"}, "mistral-lists"),
        ("[INST] ... [TOOL_CALLS] ... [ARGS]", {"[TOOL_CALLS]", "[ARGS]"}, "mistral"),
        ("<|start|> ... <|channel|>", {"<|call|>"}, "gpt-oss"),
        ("{{ messages }}", {"</s>"}, "hermes"),
    ],
)
def test_the_chat_template_identifies_the_family(template, tokens, family):
    assert find_format(template, tokens).name == family


def test_a_tokenizers_own_template_is_read_with_broken_calls():
    transform = {"type": "function", "function": "{content}"}
    calls = {"open": "<call>", "close": "</call>", "repeats": True, "content": "json"}
    descending = {"function": {"name": "{content.name}", "arguments": "{content.arguments}"}}
    for shape in ({"transform": transform}, {"transform": descending}):
        template = {
            "start_anchor": "<bot>",
            "fields": {"tool_calls": {**calls, **shape}, "content": {}},
        }
        reader = ReplyReader(template, "<bot>")
        reader.feed('Yes.<call>{"name": "f", "arguments": {"a": 1}}</call><call>{"name": </call>')
        reader.finish()
        found = [(call.name, call.arguments) for call in reader.tool_calls]
        assert found == [("f", {"a": 1}), ("", None)]


def test_arguments_without_quotes_get_the_type_of_the_tool():
    template = {
        "start_anchor_pattern": r"\A",
        "fields": {
            "tool_calls": {
                "open_pattern": r"<function=(?P<name>\w+)>",
                "close": "</function>",
                "repeats": True,
                "content": "xml-inline",
                "content_args": {"tag_pattern": r"<p=(?P<key>\w+)>(?P<value>.*?)</p>"},
                "transform": {
                    "type": "function",
                    "function": {"name": "{name}", "arguments": "{content}"},
                },
            },
            "content": {},
        },
    }
    schema = {"type": "object", "properties": {"days": {"type": "integer"}}}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]
    reader = ReplyReader(template, "", tools=tools)
    reader.feed("<function=weather><p=days>3</p><p=city>3</p></function>")
    reader.finish()
    assert reader.tool_calls[0].arguments == {"days": 3, "city": "3"}


def test_unknown_templates_have_the_common_format():
    assert find_format("", ()) is TAGGED
