"""A description of a server shows its key nowhere, and pickles without it."""

import copy
import pickle

import pytest

from splitreason_integrations import OpenAIServerModel
from splitreason_integrations.errors import ConfigurationError

KEY = "sk-0123456789abcdef"


def described(**more):
    return OpenAIServerModel("https://gpu.example/v1", "qwen", **more)


def test_no_key_is_shown_or_pickled():
    model = described(api_key=KEY)
    copies = [copy.copy(model), copy.deepcopy(model)]
    assert KEY.encode() not in pickle.dumps(model)
    assert KEY not in repr([model, *copies])
    assert [one.key() for one in copies] == [KEY, KEY]


def test_what_was_pickled_says_that_the_key_is_missing():
    model = pickle.loads(pickle.dumps(described(api_key=KEY)))  # noqa: S301
    with pytest.raises(ConfigurationError, match="api_key_env"):
        model.key()


def test_a_description_without_a_key_pickles_whole():
    for model in (described(), described(api_key_env="GPU_KEY")):
        assert pickle.loads(pickle.dumps(model)) == model  # noqa: S301
