"""The checks of snippets can fail: each of these pages has one fault."""

import pytest

from build_tools.snippets.commands import check_inline
from build_tools.snippets.documents import STALE, Snippets
from build_tools.snippets.outputs import matches, renewed

NAMES_ONLY = "<!-- names only -->\n"
LLM = "from langchain_splitreason import SplitReasonLLM\n"
FAULTY = {
    "a keyword": (
        f"{NAMES_ONLY}```python\n{LLM}SplitReasonLLM(smal='embedded')\n```",
        "argument 'smal'",
    ),
    "a keyword of a method": (
        f"{NAMES_ONLY}```python\nfrom splitreason_integrations import ReviewQueue\n"
        "queue = ReviewQueue('x')\nqueue.claim(whom='ann')\n```",
        "unexpected keyword argument 'whom'",
    ),
    "a method": (
        f"{NAMES_ONLY}```python\n{LLM}llm = SplitReasonLLM()\nllm.ask('x')\n```",
        "no 'ask'",
    ),
    "an import": (
        f"{NAMES_ONLY}```python\nfrom splitreason_integrations import Polcy\n```",
        "cannot import name 'Polcy'",
    ),
    "a model": (f"{NAMES_ONLY}```python\n{LLM}SplitReasonLLM(small='hg:x')\n```", "'hg:x'"),
    "a trigger": (f"{NAMES_ONLY}```python\n{LLM}SplitReasonLLM(trigger='tg')\n```", "'tg'"),
    "code that raises": ("```python\n1 / 0\n```", "ZeroDivisionError"),
    "code that does not compile": ("```python\nif\n```", "invalid syntax"),
    "a name of no import": ("```python\nPolicy()\n```", "NameError"),
    "stale output of code": ("```python\nprint(1)\n```\n\n```text\n2\n```", STALE),
    "stale output of a command": ("```console\n$ splitreason policy list\nnone\n```", STALE),
    "a command that fails": ("```console\n$ splitreason policy show x\n```", "status 2"),
    "another program's output": ("```console\n$ ls\n```", "only splitreason"),
    "an option": ("```sh\nsplitreason ask hello --smal embedded\n```", "No such option"),
    "a command": ("```sh\nsplitreason asks hello\n```", "No such command"),
    "a value": ("```sh\nsplitreason eval --samples many\n```", "many"),
    "a missing argument": ("```sh\nsplitreason ask\n```", "Missing"),
    "a trigger of a command": ("```sh\nsplitreason ask hello --trigger tg\n```", "'tg'"),
    "a policy of a command": ("```sh\nsplitreason ask hello --policy cheap\n```", "'cheap'"),
    "a continued line": ("```sh\nsplitreason ask hello \\\n  --smal x\n```", "No such option"),
    "an extra": ("```sh\npip install 'splitreason-integrations[locl]'\n```", "extra 'locl'"),
    "a target": ("```sh\nmake demoo\n```", "target 'demoo'"),
    "a program": ("```sh\nfrobnicate x\n```", "'frobnicate'"),
    "a policy key": ("<!-- policy -->\n```toml\nmax_span = 3\n```", "max_span"),
    "a recipe key": ("<!-- recipe -->\n```toml\nmax_span = 3\n```", "max_span"),
    "JSON": ("```json\n{a: 1}\n```", "not JSON"),
    "a language": ("```pyhton\nx\n```", "neither run nor checked"),
    "no language": ("```\nx\n```", "neither run nor checked"),
    "a command in prose": ("Try `splitreason ask hello --smal x`.", "No such option"),
}


def faults(tmp_path, text: str) -> list[str]:
    path = tmp_path / "page.md"
    path.write_text(f"{text}\n", "utf-8")
    snippets = Snippets(path)
    snippets.run()
    return snippets.faults


@pytest.mark.parametrize(("text", "fault"), FAULTY.values(), ids=FAULTY)
def test_a_page_with_a_fault(tmp_path, text, fault):
    found = faults(tmp_path, text)
    assert len(found) == 1
    assert fault in found[0]


def test_a_page_without_faults(tmp_path):
    text = """```python
x = 1
print(x + 1, "and more")
```

```text
2 …
```

```console
$ splitreason --version
…
```

```sh
splitreason ask "…" --small hf:…   # a comment
make test PYTHON=python3 | tr a b > file
```

```json
{"a": 1}
```

`splitreason ask` and `splitreason eval --task gsm8k …` need more."""
    assert faults(tmp_path, text) == []


def test_each_page_has_a_namespace_of_its_own(tmp_path):
    assert not faults(tmp_path, "```python\nx = 1\n```\n\n```python\nassert x\n```")
    assert faults(tmp_path, "```python\nassert x\n```")


def test_a_class_of_a_page_resolves_its_annotations(tmp_path):
    text = """```python
from pydantic import BaseModel

class Inner(BaseModel):
    a: int

class Outer(BaseModel):
    inner: "Inner"

assert Outer(inner={"a": 1}).inner.a == 1
```"""
    assert faults(tmp_path, text) == []


def test_stale_output_is_written_into_the_page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("```python\nprint(1)\nprint(2)\n```\n\n```text\n3\n```\nend\n", "utf-8")
    snippets = Snippets(path)
    snippets.run()
    assert snippets.text == "```python\nprint(1)\nprint(2)\n```\n\n```text\n1\n2\n```\nend\n"


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["a", "…", "d"], ["a", "b", "c", "d"], True),
        (["a", "…"], ["a"], True),
        (["a", "…", "d"], ["a", "b"], False),
        (["a b …"], ["a b c"], True),
        (["a b …"], ["a c"], False),
        (["a"], ["a", "b"], False),
    ],
)
def test_dots_stand_for_what_is_left_out(shown, printed, same):
    assert matches(shown, printed) is same


def test_renewed_output_keeps_its_dots():
    assert renewed(["a", "…", "d"], ["x", "y", "z"]) == ["x", "…", "z"]
    assert renewed(["old text …"], ["new text that is long"]) == ["new text …"]
    assert renewed(["a"], ["b", "c"]) == ["b", "c"]


def test_commands_in_comments_may_go_over_lines():
    assert list(check_inline("# see `splitreason eval\n# --smal x`.")) != []
