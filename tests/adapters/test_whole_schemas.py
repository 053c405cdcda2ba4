"""Schemas and tools' arguments go through whole, and their values come back right."""

import dataclasses
import datetime as dt
import decimal
import json
import pathlib
import uuid
from collections.abc import Callable
from enum import Enum
from typing import Annotated, NotRequired, TypedDict

import pytest
from langchain_core.exceptions import OutputParserException
from llama_index.core import PromptTemplate
from llama_index.core.tools import FunctionTool, ToolMetadata
from pydantic import BaseModel, RootModel, SecretStr

from langchain_splitreason import SplitReasonLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations.errors import RequestError
from splitreason_integrations.testing import ScriptedModel
from tests.text.schemas import record, validate
from tests.text.whole_schemas import CHECKED, DIGIT, WHOLE, fits

ASK = (
    "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards. "
    "How many cards does Mia have now?"
)


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


@dataclasses.dataclass
class Place:
    row: int


class Tree(BaseModel):
    value: int
    kids: list["Tree"] = []


class Rich(BaseModel):
    numbers: set[int]
    names: frozenset[str]
    pair: tuple[int, str]
    raw: bytes
    file: pathlib.Path
    secret: SecretStr
    price: decimal.Decimal
    at: dt.datetime
    place: Place
    counts: dict[Size, int]
    id: uuid.UUID


RICH = {
    "numbers": [1, 2, 2],
    "names": ["u"],
    "pair": [1, "z"],
    "raw": "by",
    "file": "/a/b",
    "secret": "pw",
    "price": "12.50",
    "at": "2024-01-02T03:04:05Z",
    "place": {"row": 3},
    "counts": {"s": 1},
    "id": "9b2f0c1e-3d4a-4f5b-8c6d-7e8f9a0b1c2d",
}


class Strict(BaseModel, strict=True):
    """In Python such a class takes no list for a set."""

    numbers: set[int]


class Note(TypedDict):
    """A note."""

    text: Annotated[str, ..., "What it says."]
    stars: NotRequired[int]


class Notes(TypedDict):
    notes: list[Note]


class Calls(BaseModel):
    call: Callable[[int], int]


CLASSES = {
    "recursive": (Tree, Tree(value=1, kids=[Tree(value=2)])),
    "root": (RootModel[list[int]], RootModel[list[int]]([1, 2])),
    "strict": (Strict, Strict(numbers={1})),
    "typed dict": (Notes, {"notes": [{"text": "a"}]}),
    "dataclass": (Place, {"row": 4}),
    "list of dataclasses": (list[Place], [Place(4)]),
}


def spelled(value):
    return value.model_dump_json() if isinstance(value, BaseModel) else json.dumps(plain(value))


def plain(value):
    return [dataclasses.asdict(one) for one in value] if isinstance(value, list) else value


def scripted(kind, answer):
    text = f"So.</think>\n\n{answer}"
    return kind(
        small=ScriptedModel(text, name="small"),
        large=ScriptedModel("b</bigmodel>", name="large"),
    )


@pytest.mark.parametrize("name", CLASSES)
def test_values_of_all_types_are_read(name):
    schema, value = CLASSES[name]
    llm = scripted(SplitReasonLLM, spelled(value))
    assert llm.with_structured_output(schema).invoke(ASK) == value


@pytest.mark.parametrize("title", [{}, {"title": "reply"}], ids=["untitled", "titled"])
@pytest.mark.parametrize("name", WHOLE)
def test_dicts_of_every_construct_are_read_and_others_are_not(name, title):
    schema, value = WHOLE[name]
    read = []
    for written in (value, {"another": "value"}):
        llm = scripted(SplitReasonLLM, json.dumps(written))
        asked = llm.with_structured_output({**title, **schema}, include_raw=True)
        read.append(asked.invoke(ASK)["parsed"])
    assert read == [value, None if not fits({"another": "value"}, schema) else {"another": "value"}]


def check_rich(found):
    assert (found.numbers, found.names, found.pair) == ({1, 2}, frozenset({"u"}), (1, "z"))
    assert (found.raw, found.file) == (b"by", pathlib.Path("/a/b"))
    assert (found.secret.get_secret_value(), found.price) == ("pw", decimal.Decimal("12.50"))
    assert (found.at.year, found.place, found.counts) == (2024, Place(3), {Size.SMALL: 1})
    assert found.id == uuid.UUID(RICH["id"])


def test_a_class_of_rich_types_is_read_in_both_frameworks():
    check_rich(scripted(SplitReasonLLM, json.dumps(RICH)).with_structured_output(Rich).invoke(ASK))
    llm = scripted(LlamaIndexLLM, json.dumps(RICH))
    check_rich(llm.structured_predict(Rich, PromptTemplate(ASK)))


@pytest.mark.parametrize("name", CHECKED)
def test_what_no_grammar_holds_is_a_parsing_error(name):
    schema, fitting, other = CHECKED[name]
    for value in (fitting, other):
        llm = scripted(SplitReasonLLM, json.dumps(value))
        found = llm.with_structured_output(schema, include_raw=True).invoke(ASK)
        if value is fitting:
            assert found["parsed"] == fitting
        else:
            assert found["parsed"] is None
            assert isinstance(found["parsing_error"], OutputParserException)


def test_noise_is_a_parsing_error_and_no_value():
    schema = {"$ref": "#/$defs/p", "$defs": {"p": record(x=DIGIT)}}
    for text in ("noise", '"noise"', '{"y": 1}', "{", "[" * 5000):
        found = scripted(SplitReasonLLM, text).with_structured_output(schema, include_raw=True)
        assert isinstance(found.invoke(ASK)["parsing_error"], OutputParserException)


FORMATS = {
    "function": {"name": "f", "parameters": record(x=DIGIT)},
    "tool": {"type": "function", "function": {"name": "f", "parameters": record(x=DIGIT)}},
    "schema": {"name": "f", "strict": True, "schema": record(x=DIGIT)},
    "anthropic": {"name": "f", "input_schema": record(x=DIGIT)},
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_dict_may_be_in_the_formats_of_providers(name):
    assert scripted(SplitReasonLLM, '{"x": 4}').with_structured_output(FORMATS[name]).invoke(
        ASK
    ) == {"x": 4}
    wrong = scripted(SplitReasonLLM, '{"x": "no"}').with_structured_output(FORMATS[name])
    with pytest.raises(OutputParserException, match="'no' is not of type 'integer'"):
        wrong.invoke(ASK)


def nested(levels):
    schema = DIGIT
    for _ in range(levels):
        schema = record(a=schema)
    return schema


def chained(parts):
    defs = {f"p{at}": record(a={"$ref": f"#/$defs/p{at + 1}"}) for at in range(parts)}
    return {"$ref": "#/$defs/p0", "$defs": {**defs, f"p{parts}": DIGIT}}


REFUSED = {
    "no type of JSON": (Calls, "Calls has no JSON schema: .*WithJsonSchema"),
    "nothing fits": (
        record(a=record(b={"type": "string", "minLength": 5, "maxLength": 2})),
        "#/properties/a/properties/b: .*no value fits it",
    ),
    "contradiction": ({"allOf": [{"type": "string"}, {"type": "null"}]}, "no value fits it"),
    "without end": (
        record(next={"$ref": "#"}),
        "#/properties/next: each value needs another one .* make that part optional",
    ),
    "remote": (
        {"$ref": "https://example.org/x"},
        "reference 'https://example.org/x' leads nowhere",
    ),
    "no schema": ({"type": "integr"}, "type: 'integr' is not valid"),
    "half a character": ({"const": "\ud800"}, "'const': character 0 .*half of a surrogate pair"),
    "300 objects": (nested(300), "nested more than 100 levels deep at .*flatten"),
    "300 references": (chained(300), "nested more than 100 levels deep at .*flatten"),
    "200,000 values": (
        record(v={"enum": [f"v{at}" for at in range(200_000)]}),
        "more than 100,000 parts, at #/properties/v/enum; ask for a text",
    ),
    "1,000 optional properties": (
        record(o=record([], **{f"p{at}": DIGIT for at in range(1000)})),
        "1,000 optional properties at #/properties/o, and at most 400 can be held: ask for a list",
    ),
    "1,000 alternatives": (
        {"anyOf": [record(**{f"p{at}": DIGIT}) for at in range(1000)]},
        "1,000 alternatives at its top, and at most 400 can be held",
    ),
    "10^9 items": ({"type": "array", "minItems": 10**9}, "minItems of 1,000,000,000 .*ask for"),
    "all combinations": (
        {
            "allOf": [
                {"anyOf": [{"properties": {f"p{a}{b}": DIGIT}} for b in range(10)]}
                for a in range(8)
            ]
        },
        "schema too large; ask for a text there",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_said_when_the_runnable_is_made(name):
    schema, said = REFUSED[name]
    llm = scripted(SplitReasonLLM, "1")
    with pytest.raises(RequestError, match=said):
        llm.with_structured_output(schema)


def test_llama_index_says_so_when_the_llm_is_made():
    with pytest.raises(RequestError, match="Calls has no JSON schema"):
        scripted(LlamaIndexLLM, "1").as_structured_llm(Calls)


def test_a_call_is_an_object():
    llm = scripted(SplitReasonLLM, "1")
    with pytest.raises(RequestError, match=r"allows array at its top, .*put it in a property"):
        llm.with_structured_output(RootModel[list[int]], method="function_calling")


CALL = '<tool_call>{"name": "Tree", "arguments": {"value": 1, "kids": [{"value": 2}]}}</tool_call>'


def test_arguments_of_tools_go_through_whole():
    llm = scripted(SplitReasonLLM, CALL)
    found = llm.with_structured_output(Tree, method="function_calling").invoke(ASK)
    assert found == Tree(value=1, kids=[Tree(value=2)])
    (tool,) = llm.bind_tools([Tree]).kwargs["tools"]
    validate({"value": 1, "kids": [{"value": 2}]}, tool["function"]["parameters"])
    wrong = CALL.replace('"value": 2', '"value": "x"')
    reply = scripted(SplitReasonLLM, wrong).bind_tools([Tree]).invoke(ASK)
    assert not reply.tool_calls
    assert "'x' is not of type 'integer'" in reply.invalid_tool_calls[0]["error"]


def test_llama_index_gives_the_whole_schema_of_a_tool():
    tool = FunctionTool(lambda **given: given, ToolMetadata("Plant.", "Tree", fn_schema=Tree))
    reply = scripted(LlamaIndexLLM, CALL.replace('"value": 2', '"value": "x"')).chat_with_tools(
        [tool], ASK
    )
    known = reply.raw["splitreason"]["invalid_calls"]
    assert "'x' is not of type 'integer'" in next(iter(known.values()))


@pytest.mark.parametrize("kind", ["reference at the top", "allOf of references", "recursion"])
def test_the_bundled_pair_keeps_to_a_schema(kind):
    schema, _ = WHOLE[kind]
    llm = SplitReasonLLM(seed=1, max_tokens=400)
    found = llm.with_structured_output(schema, include_raw=True).invoke(ASK)
    assert found["parsing_error"] is None
    validate(found["parsed"], schema)


def test_the_bundled_pair_answers_by_a_reference():
    number = {"type": "integer", "minimum": 0, "maximum": 99999}
    schema = {"$ref": "#/$defs/id", "$defs": {"id": record(id=number)}}
    llm = SplitReasonLLM(seed=1, max_tokens=400)
    assert llm.with_structured_output(schema).invoke(ASK) == {"id": 1069}
