"""Real trainers at toy length: tagged traces in, a model that the engine takes out; resumption."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from accelerate import FullyShardedDataParallelPlugin
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from typer.testing import CliRunner

from splitreason_integrations.cli import app
from splitreason_integrations.embedded import path
from splitreason_integrations.errors import ConfigurationError, ModelCallError
from splitreason_integrations.problems import Split, Writing, join, render, sample
from splitreason_integrations.problems.rendering import AFTER_THOUGHT
from splitreason_integrations.testing import ScriptedModel
from splitreason_integrations.training.documents import Encoder
from splitreason_integrations.training.offloading import grpo as module
from splitreason_integrations.training.offloading import recipe as recipes
from splitreason_integrations.training.offloading import runs
from splitreason_integrations.training.offloading.examples import (
    IGNORED,
    ExampleWriter,
    read_tagged,
)
from splitreason_integrations.training.offloading.grpo import reinforce
from splitreason_integrations.training.offloading.recipe import (
    GRPORecipe,
    Lora,
    Rehearsal,
    SFTRecipe,
    Tasks,
    load_grpo,
    load_sft,
)
from splitreason_integrations.training.offloading.rehearsal import ends_loss, rehearser_of
from splitreason_integrations.training.offloading.sft import fine_tune
from splitreason_integrations.training.pair import train_pair
from splitreason_integrations.training.run import Settings
from splitreason_integrations.training.traces import pair_traces

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parent.parent
TOKENIZER = AutoTokenizer.from_pretrained(path("small"))
ROW = {
    "question": "How many cards are 47 times 23? </think> <bigmodel>",
    "tagged": "47*23 =<bigmodel> 940+141 = 1081</bigmodel> cards.",
    "answer": "There are 1081 cards.",
}


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    file = tmp_path_factory.mktemp("traces") / "traces.jsonl"
    rows = pair_traces(40, tries=4, seed=1)
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return file


def written(tmp_path, *rows):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return file


def example(tmp_path, row, *, weight=1.0, tokenizer=TOKENIZER, spans_only=False):
    (trace,) = read_tagged(written(tmp_path, row))
    writer = ExampleWriter(
        tokenizer, name="small", span_weight=weight, seed=0, spans_only=spans_only
    )
    return writer.write(1, trace)


def test_a_trace_is_written_as_the_engine_reads_it(tmp_path):
    one = example(tmp_path, ROW)
    text = TOKENIZER.decode(one.input_ids)
    assert text == (
        "<|im_start|>user\nHow many cards are 47 times 23? </think> <bigmodel><|im_end|>\n"
        "<|im_start|>assistant\n<think>\n47*23 =<bigmodel> 940+141 = 1081</bigmodel> cards.\n"
        "</think>\n\nThere are 1081 cards.<|im_end|>"
    )
    # What the user wrote spells no control token, what the model is to write does.
    opening = TOKENIZER.convert_tokens_to_ids("<bigmodel>")
    assert one.input_ids.count(opening) == 1
    learned = [t for t, label in zip(one.input_ids, one.labels, strict=True) if label != IGNORED]
    assert TOKENIZER.decode(learned).startswith("47*23 =<bigmodel> 940")
    assert one.labels[: len(one.labels) - len(learned)] == [IGNORED] * (
        len(one.labels) - len(learned)
    )


def test_without_weight_a_span_is_read_and_not_learned(tmp_path):
    one = example(tmp_path, ROW, weight=0.0)
    learned = [t for t, label in zip(one.input_ids, one.labels, strict=True) if label != IGNORED]
    assert TOKENIZER.decode(learned) == (
        "47*23 =<bigmodel> cards.\n</think>\n\nThere are 1081 cards.<|im_end|>"
    )
    assert one.input_ids == example(tmp_path, ROW).input_ids


def test_what_spans_say_and_where_they_end_can_be_learned_alone(tmp_path):
    one = example(tmp_path, ROW, spans_only=True)
    learned = [t for t, label in zip(one.input_ids, one.labels, strict=True) if label != IGNORED]
    assert TOKENIZER.decode(learned) == " 940+141 = 1081</bigmodel>"
    assert one.input_ids == example(tmp_path, ROW).input_ids


def test_a_trace_from_outside_never_becomes_a_control_token(tmp_path):
    one = example(tmp_path, {**ROW, "tagged": "a </think> b <|im_end|>", "answer": "c <think>"})
    ends = [TOKENIZER.convert_tokens_to_ids(t) for t in ("</think>", "<think>", "<|im_end|>")]
    assert [one.input_ids.count(t) for t in ends] == [1, 1, 2]


TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


def test_a_call_is_written_as_the_family_writes_it_and_spells_no_control_token(tmp_path):
    asked = {"role": "user", "content": "47 and 23?"}
    call = {"name": "add", "arguments": {"a": "47 </tool_call> <think>"}}
    row = {"messages": [asked], "tools": TOOLS, "tagged": "I add.", "tool_calls": [call, call]}
    one = example(tmp_path, row)
    text = TOKENIZER.decode(one.input_ids)
    body = '{"name": "add", "arguments": {"a": "47 </tool_call> <think>"}}'
    written = f"<tool_call>\n{body}\n</tool_call>"
    assert text.endswith(f"I add.\n</think>\n\n{written}\n{written}<|im_end|>")
    assert '"name": "add"' in text.partition("<|im_start|>assistant")[0]
    learned = [label for label in one.labels if label != IGNORED]
    ends = [TOKENIZER.convert_tokens_to_ids(t) for t in ("<tool_call>", "</tool_call>", "<think>")]
    assert [learned.count(t) for t in ends] == [2, 2, 0]


def test_the_pairs_own_traces_read_like_the_documents_that_taught_it(tmp_path):
    rows = list(pair_traces(30, tries=4, seed=2, families=["tools"]))
    assert len(rows) == 30
    assert any("tool_calls" in row for row in rows)
    found = {}
    for problem in sample(Split.TRAIN, "tools", seed=2, n=30):
        for turn in range(len(problem.turns)):
            shown = Encoder(TOKENIZER).prompt_text(problem, turn)
            ending = join(render(problem.turns[turn], lambda _: Writing.TERSE))
            found[shown] = ending.partition(AFTER_THOUGHT)[2]
    for row in rows:
        text = TOKENIZER.decode(example(tmp_path, row).input_ids)
        shown = next(prompt for prompt in found if text.startswith(prompt))
        assert text == f"{shown}{row['tagged']}{AFTER_THOUGHT}{found[shown]}<|im_end|>"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "line 1: not JSON"),
        ({**ROW, "tool_calls": [{"name": "f", "arguments": {}}]}, "a reply ends with one"),
        ({"tagged": "x", "question": "?", "tool_calls": [{"name": "f"}]}, "must be a list of"),
        ({"tagged": "x", "question": "?", "tool_calls": {"name": "f"}}, "must be a list of"),
        ({"question": "?"}, 'line 1: needs "tagged"'),
        ({"tagged": "x"}, 'line 1: needs "question"'),
        ({**ROW, "tagged": "a <bigmodel> b"}, "never closed"),
        ({**ROW, "tagged": "a </bigmodel> b"}, "in turn, not nested"),
        ({**ROW, "tagged": "<bigmodel> <bigmodel> </bigmodel>"}, "in turn, not nested"),
    ],
)
def test_a_file_that_will_not_do_is_refused_by_its_line(tmp_path, row, said):
    file = tmp_path / "rows.jsonl"
    file.write_text(row if isinstance(row, str) else json.dumps(row), "utf-8")
    with pytest.raises(ConfigurationError, match=said):
        list(read_tagged(file))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model = 'x'", "traces is missing"),
        ("model = 'x'\ntraces = 'y'\ntag = 'text'", "did you mean 'tags'"),
        ("model = 'x'\ntraces = 'y'\nspan_weight = 2", r"line 3: span_weight must lie in \[0, 1\]"),
        ("model = 'x'\ntraces = 'y'\ntags = 'none'", "'special' or 'text'"),
    ],
)
def test_a_recipe_that_will_not_do_is_refused_by_its_line(tmp_path, text, said):
    file = tmp_path / "recipe.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match=said):
        load_sft(file)


def test_missing_trainers_are_named_with_the_way_to_them(tmp_path, traces, monkeypatch):
    monkeypatch.setattr(runs, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"splitreason-integrations\[train\]"):
        fine_tune(sft(traces), tmp_path / "sft", command="x")
    with pytest.raises(ConfigurationError, match=r"splitreason-integrations\[train\]"):
        reinforce(grpo(), tmp_path / "grpo", command="x")
    with pytest.raises(ConfigurationError, match=r"splitreason-integrations\[train\]"):
        train_pair(tmp_path / "pair", Settings(), device="cpu", tell=print, carry_out=print)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["sft", "grpo"])
def test_the_cookbooks_recipes_can_be_read(name):
    load = {"sft": load_sft, "grpo": load_grpo}[name]
    recipe = load(ROOT / "cookbook" / "train" / f"{name}.toml")
    assert recipe.trainer


@pytest.mark.parametrize("name", ["several-gpus", "fsdp"])
def test_the_cookbooks_launches_are_what_accelerate_takes(name):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(ROOT / "cookbook" / "train" / f"{name}.yaml"))
    assert config.num_processes == 4
    plugin = config.to_dict().get("fsdp_config") or {}
    names = {f"fsdp_{one.name}" for one in fields(FullyShardedDataParallelPlugin)}
    renamed = {"fsdp_version", "fsdp_offload_params", "fsdp_cpu_ram_efficient_loading"}
    assert set(plugin) <= names | renamed


def sft(traces, **more):
    trainer = {"per_device_train_batch_size": 4, "max_steps": 4, "save_steps": 2}
    return SFTRecipe(model="embedded:base", traces=str(traces), trainer=trainer, **more)


def answers_with(folder):
    asked = ["ask", "What is 47 times 23?", "--small", f"hf:{folder}", "--max-tokens", "40"]
    done = CliRunner().invoke(app, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_fine_tuning_writes_a_model_that_the_engine_takes(tmp_path, traces):
    out, told = tmp_path / "sft", []
    fine_tune(sft(traces), out, command="x", tell=lambda *news: told.append(news))
    assert [done for done, _, figures in told if "loss" in figures] == [1, 2, 3, 4]
    assert answers_with(out)["tokens"]["small"]
    logged = [json.loads(line) for line in (out / "log.jsonl").read_text("utf-8").splitlines()]
    assert [line["step"] for line in logged if "loss" in line] == [1, 2, 3, 4]
    facts = json.loads((out / "run.json").read_text("utf-8"))
    assert {"command", "hardware", "versions", "date", "traces"} <= set(facts)
    with pytest.raises(ConfigurationError, match="another recipe"):
        fine_tune(sft(traces, seed=1), out, command="x")


@pytest.mark.parametrize("packing", [False, True])
def test_adapters_and_packing_change_the_model(tmp_path, traces, packing):
    out = tmp_path / "lora"
    recipe = sft(traces, lora=Lora(rank=2), packing=packing, max_tokens=700)
    if packing:
        recipe = SFTRecipe(
            **{**recipe.__dict__, "trainer": {**recipe.trainer, "packing_strategy": "wrapped"}}
        )
    fine_tune(recipe, out, command="x")
    before = load_file(path("base") / "model.safetensors")
    after = load_file(out / "model.safetensors")
    assert set(before) == set(after)
    assert any(not before[name].equal(after[name]) for name in before)
    assert answers_with(out)["tokens"]["small"]


def test_a_tokenizer_without_tags_is_given_them(tmp_path, traces):
    network, tokenizer = runs.load_network("embedded:base")
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    described["added_tokens"] = [
        one for one in described["added_tokens"] if "bigmodel" not in one["content"]
    ]
    plain = tmp_path / "plain"
    tokenizer.save_pretrained(plain)
    network.save_pretrained(plain)
    for name in ("<bigmodel>", "</bigmodel>"):
        described["model"]["vocab"].pop(name)
    (plain / "tokenizer.json").write_text(json.dumps(described), "utf-8")
    settings = json.loads((plain / "tokenizer_config.json").read_text("utf-8"))
    for name in [key for key in settings if "special_tokens" in key]:
        del settings[name]
    (plain / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    assert "<bigmodel>" not in AutoTokenizer.from_pretrained(plain).get_vocab()
    for tags in ("special", "text"):
        out = tmp_path / tags
        recipe = SFTRecipe(**{**sft(traces, tags=tags).__dict__, "model": str(plain)})
        fine_tune(recipe, out, command="x")
        found = AutoTokenizer.from_pretrained(out)
        assert ("<bigmodel>" in found.get_vocab()) is (tags == "special")
        assert answers_with(out)["tokens"]["small"]


def test_traces_that_are_too_long_are_left_out_and_none_is_an_error(tmp_path, traces):
    with pytest.raises(ConfigurationError, match="none of its 40 traces has 3 tokens"):
        fine_tune(sft(traces, max_tokens=3), tmp_path / "short", command="x")
    assert not (tmp_path / "short").exists()


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({"learning_rat": 1.0}, "did you mean 'learning_rate'"),
        ({"seed": 3}, "unknown setting of trainer 'seed'"),
        ({"num_generations": 3, "per_device_train_batch_size": 4}, "refuses it"),
    ],
)
def test_a_trainer_setting_that_will_not_do_is_refused_before_work(tmp_path, trainer, said):
    with pytest.raises(ConfigurationError, match=said):
        reinforce(GRPORecipe(trainer=trainer), tmp_path / "out", command="x")
    assert not (tmp_path / "out").exists()


def grpo(steps=2, **more):
    trainer = {
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_steps": steps,
        "save_steps": 1,
        "learning_rate": 1e-3,
    }
    writing = recipes.Writing(max_tokens=120, temperature=1.5, at_once=4)
    return GRPORecipe(tasks=Tasks(count=8), writing=writing, trainer=trainer, **more)


def test_advantages_are_scaled_by_the_batch_unless_a_recipe_says_otherwise(tmp_path):
    plain = grpo()
    grouped = replace(plain, trainer={**plain.trainer, "scale_rewards": "group"})
    with runs.quiet():
        scaled = [module.settings_of(one, tmp_path).scale_rewards for one in (plain, grouped)]
    assert scaled == ["batch", "group"]


def test_reinforcement_trains_on_real_rollouts_and_logs_every_part(tmp_path):
    out, told = tmp_path / "grpo", []
    reinforce(grpo(), out, command="x", tell=lambda *news: told.append(news))
    (_, _, figures), *_ = [news for news in told if "right" in news[2]]
    wanted = {"right", "malformed", "offload_share", "wait_s", "usd", "surprise", "degraded"}
    assert wanted | {"price", "reward/correct", "reward/latency"} <= set(figures)
    assert figures["wait_s"] > 0
    assert answers_with(out)["tokens"]["small"]


def test_a_rehearsal_is_read_beside_the_rollouts(tmp_path, traces):
    recipe = grpo(rehearsal=Rehearsal(str(traces), weight=0.5, batch=3))
    network, tokenizer = runs.load_network(recipe.model)
    rehearser = rehearser_of(recipe, tokenizer)
    losses = [rehearser.loss(network, step=at, device="cpu").item() for at in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]
    told = []
    reinforce(recipe, tmp_path / "grpo", command="x", tell=lambda *news: told.append(news))
    figures = [one for _, _, one in told if "rehearsal" in one]
    assert figures[0]["rehearsal"] == pytest.approx(losses[0], rel=1e-4)
    assert len(figures) == 2


def test_ends_are_rehearsed_at_each_place_inside_of_a_span():
    torch.manual_seed(0)
    logits, closing = torch.randn(1, 6, 9, requires_grad=True), 4
    labels = torch.tensor([[IGNORED, 2, 3, 4, IGNORED, 1]])
    loss = ends_loss(logits, labels, closing=closing)
    closes = logits.softmax(-1)[0, :, closing]
    chances = [1 - closes[0], 1 - closes[1], closes[2], 1 - closes[4]]
    assert loss.item() == pytest.approx(-sum(one.log().item() for one in chances) / 4, rel=1e-5)
    loss.backward()
    assert logits.grad[0, 3].eq(0).all()  # predicts what stands outside
    certain = torch.full((1, 6, 9), -100.0).index_fill(2, torch.tensor([closing]), 100.0)
    assert math.isfinite(ends_loss(certain, labels, closing=closing))


def test_ends_of_several_tokens_are_refused(tmp_path, traces):
    tokenizer = AutoTokenizer.from_pretrained(path("small"))
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    described["added_tokens"] = [
        one for one in described["added_tokens"] if "bigmodel" not in one["content"]
    ]
    plain = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(described)),
        chat_template=tokenizer.chat_template,
        eos_token=tokenizer.eos_token,
    )
    recipe = grpo(rehearsal=Rehearsal(str(traces)))
    with pytest.raises(ConfigurationError, match='use "spans"'):
        rehearser_of(recipe, plain)
    spans = replace(recipe, rehearsal=Rehearsal(str(traces), tokens="spans"))
    assert rehearser_of(spans, plain) is not None


def test_a_rehearsal_alone_keeps_what_it_reads(tmp_path, traces):
    """Rollouts that are all alike teach nothing: what moves the weights then is the rehearsal."""
    alike = replace(
        grpo(steps=6), writing=recipes.Writing(max_tokens=60, temperature=1e-3, at_once=4)
    )
    recipe = replace(alike, rehearsal=Rehearsal(str(traces), weight=1.0, batch=40, tokens="all"))
    reinforce(recipe, tmp_path / "grpo", command="x")
    rehearser, losses = rehearser_of(recipe, TOKENIZER), []
    for name in (recipe.model, str(tmp_path / "grpo")):
        network, _ = runs.load_network(name)
        losses.append(rehearser.loss(network, step=0, device="cpu").item())
    assert losses[1] < losses[0]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**ROW, "tagged": "no span"}, "of the 1 traces of .* none with a span"),
        ({"question": "?"}, 'line 1: needs "tagged"'),
    ],
)
def test_a_rehearsal_that_will_not_do_is_refused_before_work(tmp_path, row, said):
    recipe = grpo(rehearsal=Rehearsal(str(written(tmp_path, row))))
    with pytest.raises(ConfigurationError, match=said):
        reinforce(recipe, tmp_path / "out", command="x")
    assert not (tmp_path / "out").exists()


def test_a_large_model_that_fails_ends_no_run(tmp_path, monkeypatch):
    dead = ScriptedModel("x", name="dead", fail_after=0, error=ModelCallError("", retryable=False))
    engine_of, told = module.engine_of, []
    monkeypatch.setattr(module, "engine_of", lambda one: replace(engine_of(one), large=dead))
    reinforce(grpo(steps=3), tmp_path / "grpo", command="x", tell=lambda *news: told.append(news))
    figures = [one for _, _, one in told if "degraded" in one]
    assert len(figures) == 3
    assert any(one["degraded"] > 0 for one in figures)
    assert all(math.isfinite(one["grad_norm"]) for one in figures)


SCRIPT = """
import sys
from pathlib import Path
from splitreason_integrations.training.offloading import recipe
from splitreason_integrations.training.offloading.{kind} import {work}
{work}(recipe.load_{kind}(sys.argv[1]), Path(sys.argv[2]), command="x",
       tell=lambda done, of, figures: print(done, flush=True))
"""
GRPO = """
seed = 3
[tasks]
count = 8
[writing]
max_tokens = 60
temperature = 1.5
[rehearsal]
traces = "{traces}"
batch = 2
[trainer]
per_device_train_batch_size = 4
num_generations = 4
max_steps = 5
save_steps = 1
learning_rate = 1e-3
"""
SFT = """
model = "embedded:base"
traces = "{traces}"
[trainer]
per_device_train_batch_size = 4
max_steps = 6
save_steps = 1
"""


@pytest.mark.parametrize(("kind", "work"), [("sft", "fine_tune"), ("grpo", "reinforce")])
def test_a_killed_run_goes_on_and_gives_the_same_weights(tmp_path, traces, kind, work):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text((GRPO if kind == "grpo" else SFT).format(traces=traces), "utf-8")
    script = SCRIPT.format(kind=kind, work=work)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'adapters'}"}

    def start(out):
        return subprocess.Popen(
            [sys.executable, "-c", script, str(recipe), str(out)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    with start(tmp_path / "killed") as process:
        late_s = time.monotonic() + 200
        while not list((tmp_path / "killed").glob("checkpoint-2/trainer_state.json")):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < late_s
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    torn = tmp_path / "killed" / "checkpoint-99"
    torn.mkdir()
    (torn / "trainer_state.json").write_text('{"global_st', "utf-8")
    outs = []
    for name in ("killed", "whole"):
        with start(tmp_path / name) as process:
            told, error = process.communicate(timeout=280)
        assert process.returncode == 0, error
        outs.append([int(line) for line in told.split()])
    assert outs[0][0] > 1
    assert outs[1][0] == 1
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("killed", "whole"))
    assert all(one[key].equal(other[key]) for key in one)
