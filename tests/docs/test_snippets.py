"""Every snippet of pages, docstrings, policies and help texts is run or checked."""

from collections.abc import Iterator

import pytest
from typer.main import get_command

from build_tools.snippets.commands import ROOT, check_inline
from build_tools.snippets.documents import Snippets, modules, pages
from splitreason_integrations.cli import app


def name(path) -> str:
    return str(path.relative_to(ROOT))


# llama-index reads deprecated attributes of pydantic's models; LangChain says once per process
# that a function of its own is in beta, on whichever page comes first.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.parametrize("path", pages(), ids=name)
def test_the_snippets_of_a_page(path):
    snippets = Snippets(path)
    snippets.run()
    assert not snippets.faults, "\n".join(snippets.faults)


def test_docstrings_name_commands_that_exist_and_show_code_in_one_form():
    faults = [fault for path in modules() for fault in Snippets.of_docstrings(path)]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "splitreason_integrations/policies").glob("*.toml")), ids=name
)
def test_comments_of_policies_name_commands_that_exist(path):
    assert not list(check_inline(path.read_text("utf-8")))


def helps(command, trail: str) -> Iterator[tuple[str, str]]:
    """Yield the help texts of a command and of those below it."""
    yield trail, command.help or ""
    for one in command.params:
        yield f"{trail} {one.name}", getattr(one, "help", None) or ""
    for key, below in getattr(command, "commands", {}).items():
        yield from helps(below, f"{trail} {key}")


def test_help_texts_name_commands_that_exist():
    texts = dict(helps(get_command(app), "splitreason"))
    assert len(texts) > 100
    faults = [f"{where}: {f}" for where, text in texts.items() for f in check_inline(text)]
    assert not faults, "\n".join(faults)
