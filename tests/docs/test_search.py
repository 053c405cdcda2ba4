"""The site's search finds parts of names, and Japanese words."""

import re
from pathlib import Path

import pytest
import yaml

SEARCH = re.compile(r"^  - search:\n(?:      .*\n)+", re.MULTILINE)


@pytest.fixture(scope="module")
def search():
    text = (Path(__file__).parents[2] / "mkdocs.yml").read_text("utf-8")
    return yaml.safe_load(SEARCH.search(text)[0])[0]["search"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("splitreason.budget.exhausted", ["splitreason", "budget", "exhausted"]),
        ("max_offload_share", ["max", "offload", "share"]),
        ("ReplyMetadata", ["Reply", "Metadata"]),
        ("hand-over of GPT4", ["hand", "over", "of", "GPT4"]),
    ],
)
def test_names_are_split_into_their_parts(search, text, words):
    assert re.split(search["separator"], text) == words


def test_english_and_japanese_are_searched(search):
    assert search["lang"] == ["en", "ja"]
