"""Pairs of models that tests share. The embedded pair is the real one."""

import json
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from hypothesis import HealthCheck, settings
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from splitreason_integrations import blocking
from splitreason_integrations.backends.codec import TokenizerCodec
from splitreason_integrations.backends.hf.model import HFModel
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.cli import main
from splitreason_integrations.training.traces import pair_traces

torch.set_num_threads(1)
# No test fails because its machine is slow; `timeout` ends what hangs.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

OTHER_TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command in this process; return its standard output and standard error."""

    def run(*arguments, status=0):
        monkeypatch.setattr(sys, "argv", ["splitreason", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        done = capsys.readouterr()
        assert ended.value.code == status, done.err
        return done

    return run


@pytest.fixture(scope="module")
def embedded():
    """The embedded pair, (small, large); loaded anew if another module's tests released it."""
    return tuple(
        blocking.run(lambda role=role: load_model("embedded", role=role))
        for role in ("small", "large")
    )


@pytest.fixture(scope="session")
def traces(tmp_path_factory):
    """A file with a few of the embedded pair's own problems as tagged traces."""
    file = tmp_path_factory.mktemp("traces") / "traces.jsonl"
    rows = pair_traces(40, tries=4, seed=1)
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return file


def random_network(vocabulary: int, seed: int) -> Qwen2ForCausalLM:
    """A tiny network with random weights of a size that makes its choices clear-cut."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=512,
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    return Qwen2ForCausalLM(config)


@pytest.fixture(scope="module")
def random_pair(embedded):
    """Two models with random weights and the embedded tokenizer."""
    codec = embedded[0].codec
    size = embedded[0].network.config.vocab_size
    return tuple(
        HFModel(random_network(size, seed), codec, name=f"random-{seed}", taught=True)
        for seed in (1, 2)
    )


@pytest.fixture(scope="module")
def one_thread():
    """Let engines of vLLM take one thread each: on two cores each would take both."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def other_codec():
    """A codec with another vocabulary, a space put before words, and no tags of its own."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["[UNK]", "[EOS]", *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz<>/0123456789+-=*.,:\n▁"),
    )
    corpus = [
        "the small model writes and the large model helps\n",
        "first 12*3 = 36, then 36+4 = 40\n",
    ]
    tokenizer.train_from_iterator(corpus * 50, trainer)
    # Byte tokens are ordinary tokens, as in the tokenizers that this one stands for.
    saved = json.loads(tokenizer.to_str())
    saved["added_tokens"] = [t for t in saved["added_tokens"] if not t["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(saved))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="[EOS]", unk_token="[UNK]")
    fast.chat_template = OTHER_TEMPLATE
    return TokenizerCodec(fast, name="other")


@pytest.fixture(scope="session")
def other_model(other_codec):
    """A random model over the other vocabulary."""
    size = max(other_codec._tokenizer.get_vocab().values()) + 1
    return HFModel(random_network(size, 3), other_codec, name="other")


def pytest_collection_modifyitems(items):
    """Mark what may open sockets as `server`: no other test can reach one."""
    for item in items:
        if item.get_closest_marker("allow_hosts"):
            item.add_marker(pytest.mark.server)


def pytest_terminal_summary(terminalreporter):
    """Print the rates that tests recorded."""
    reports = [r for found in ("passed", "failed") for r in terminalreporter.getreports(found)]
    rates = [(r.nodeid, text) for r in reports for key, text in r.user_properties if key == "rate"]
    if rates:
        terminalreporter.section("rates on generated cases")
        for name, text in sorted(rates):
            terminalreporter.write_line(f"{name.rpartition('/')[2]}: {text}")
