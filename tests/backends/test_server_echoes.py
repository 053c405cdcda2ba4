"""What a server's error repeats of a request is in no exception."""

import pytest

from splitreason_integrations.backends.openai_server.echoes import without_echo

SENT = {"messages": [{"role": "user", "content": "my password is hunter22xx, for the prompt"}]}
ECHOES = [
    ("Invalid prompt: 'my password is hunter22xx'", "Invalid prompt: […]"),
    ("cannot parse hunter22xx, at 12", "cannot parse […] at 12"),
    ("bad key sk-proj-0123456789abcdefghij given", "bad key [KEY_1] given"),
    ("The maximum context length is 8192 tokens", "The maximum context length is 8192 tokens"),
    ("Unknown parameter: 'min_p' for the model", "Unknown parameter: 'min_p' for the model"),
]


@pytest.mark.parametrize(("said", "shown"), ECHOES)
def test_a_servers_words_are_shown_without_the_requests(said, shown):
    assert without_echo(said, SENT) == shown


def test_a_prompt_that_is_text_is_left_out_too():
    prompt = "swordfish hunter of cats"
    assert without_echo(f"bad: {prompt}", {"prompt": prompt}) == "bad: […]"
