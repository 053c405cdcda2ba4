"""Real trainers on toy data: from tagged traces to a model; resumption."""

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
from accelerate import FullyShardedDataParallelPlugin
from safetensors.torch import load_file
from transformers import AutoTokenizer
from typer.testing import CliRunner

from splitreason_integrations.cli import app
from splitreason_integrations.embedded import path
from splitreason_integrations.errors import ConfigurationError, ModelCallError
from splitreason_integrations.testing import ScriptedModel
from splitreason_integrations.training.offloading import grpo as module
from splitreason_integrations.training.offloading import runs
from splitreason_integrations.training.offloading.grpo import reinforce
from splitreason_integrations.training.offloading.recipe import (
    GRPORecipe,
    Lora,
    SFTRecipe,
    Tasks,
    load_grpo,
    load_sft,
)
from splitreason_integrations.training.offloading.sft import fine_tune
from splitreason_integrations.training.pair import train_pair
from splitreason_integrations.training.run import Settings
from tests.limits import HANGS_S
from tests.training.toy_training import ROW, grpo, sft, written

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model = 'x'", "traces is missing"),
        ("model = 'x'\ntraces = 'y'\ntag = 'text'", "did you mean 'tags'"),
        ("model = 'x'\ntraces = 'y'\nspan_weight = 2", r"line 3: span_weight must lie in \[0, 1\]"),
        ("model = 'x'\ntraces = 'y'\ntags = 'none'", "'special' or 'text'"),
    ],
)
def test_an_invalid_recipe_is_refused_with_its_line(tmp_path, text, said):
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
        train_pair(tmp_path / "pair", Settings(), device="cpu", on_progress=print, run_jobs=print)
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


def answers_with(folder):
    asked = [
        "ask",
        "What is 47 times 23?",
        "--small",
        f"hf:{folder}",
        "--large",
        "embedded",
        "--max-tokens",
        "40",
    ]
    done = CliRunner().invoke(app, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_fine_tuning_writes_a_model_that_the_engine_takes(tmp_path, traces):
    out, reports = tmp_path / "sft", []
    fine_tune(sft(traces), out, command="x", on_progress=lambda *reported: reports.append(reported))
    assert [done for done, _, figures in reports if "loss" in figures] == [1, 2, 3, 4]
    assert answers_with(out)["tokens"]["small"]
    assert json.loads((out / "config.json").read_text("utf-8"))["use_cache"]
    logged = [json.loads(line) for line in (out / "log.jsonl").read_text("utf-8").splitlines()]
    assert [line["step"] for line in logged if "loss" in line] == [1, 2, 3, 4]
    facts = json.loads((out / "run.json").read_text("utf-8"))
    assert {"command", "hardware", "versions", "date", "traces"} <= set(facts)
    with pytest.raises(ConfigurationError, match="another recipe"):
        fine_tune(sft(traces, seed=1), out, command="x")


def test_a_finished_run_stays_as_it_is(tmp_path, traces):
    data = tmp_path / "traces.jsonl"
    data.write_bytes(traces.read_bytes())
    out, recipe = tmp_path / "sft", sft(data)
    fine_tune(recipe, out, command="x")
    made = (out / "model.safetensors").read_bytes()
    fine_tune(recipe, out, command="x", on_progress=lambda *_: pytest.fail("it trains again"))
    assert (out / "model.safetensors").read_bytes() == made
    # Killed behind its last step, before the model was written.
    for name in ("run.json", "model.safetensors"):
        (out / name).unlink()
    fine_tune(recipe, out, command="x")
    assert (out / "model.safetensors").read_bytes() == made
    assert json.loads((out / "run.json").read_text("utf-8"))["steps"] == 4
    data.write_bytes(b"".join(traces.read_bytes().splitlines(keepends=True)[:20]))
    with pytest.raises(ConfigurationError, match="data files have changed"):
        fine_tune(recipe, out, command="x")


def test_a_folder_in_which_nothing_was_trained_is_taken_over(tmp_path, traces):
    out = tmp_path / "sft"
    runs.claim(out, sft(traces, seed=1))
    runs.claim(out, sft(traces))
    (out / "checkpoint-2").mkdir()
    (out / "checkpoint-2" / "trainer_state.json").write_text("{}", "utf-8")
    with pytest.raises(ConfigurationError, match="another recipe"):
        runs.claim(out, sft(traces, seed=1))


def test_a_folder_that_cannot_be_one_is_refused(tmp_path, traces):
    with pytest.raises(ConfigurationError, match="is a file"):
        fine_tune(sft(traces), traces, command="x")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        runs.claim(Path("/proc/run"), sft(traces))


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


def test_traces_without_a_span_teach_nothing(tmp_path):
    plain = {**ROW, "tagged": "47*23 = 1081 cards."}
    with pytest.raises(ConfigurationError, match="none of its 1 traces has a span"):
        fine_tune(sft(written(tmp_path, plain)), tmp_path / "out", command="x")


def test_traces_that_are_too_long_are_left_out_and_none_is_an_error(tmp_path, traces):
    with pytest.raises(ConfigurationError, match="none of its 40 traces has 3 tokens"):
        fine_tune(sft(traces, max_tokens=3), tmp_path / "short", command="x")
    assert not (tmp_path / "short").exists()


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({"learning_rat": 1.0}, "did you mean 'learning_rate'"),
        ({"seed": 3}, "unknown setting of trainer 'seed'"),
        ({"learning_rate": "x"}, "learning_rate must be a number"),
        ({"learning_rate": -1}, "learning_rate must be 0 or more"),
        ({"num_generations": 3, "per_device_train_batch_size": 4}, "refuses it"),
    ],
)
def test_an_invalid_trainer_setting_is_refused_before_training(tmp_path, trainer, said):
    with pytest.raises(ConfigurationError, match=said):
        reinforce(GRPORecipe(trainer=trainer), tmp_path / "out", command="x")
    assert not (tmp_path / "out").exists()


def test_too_few_tasks_for_one_step_are_refused_before_training(tmp_path):
    few = replace(grpo(), tasks=Tasks(count=2), trainer={**grpo().trainer, "num_generations": 2})
    few.trainer["per_device_train_batch_size"] = 6
    with pytest.raises(ConfigurationError, match="2 tasks are too few: one generation needs 3"):
        reinforce(few, tmp_path / "out", command="x")
    assert not (tmp_path / "out").exists()


def test_advantages_are_scaled_by_the_batch_unless_a_recipe_says_otherwise(tmp_path):
    plain = grpo()
    grouped = replace(plain, trainer={**plain.trainer, "scale_rewards": "group"})
    with runs.quiet():
        scaled = [module.settings_of(one, tmp_path).scale_rewards for one in (plain, grouped)]
    assert scaled == ["batch", "group"]


def test_reinforcement_trains_on_real_rollouts_and_logs_every_part(tmp_path):
    out, reports = tmp_path / "grpo", []
    reinforce(grpo(), out, command="x", on_progress=lambda *reported: reports.append(reported))
    (_, _, figures), *_ = [reported for reported in reports if "right" in reported[2]]
    wanted = {"right", "malformed", "offload_share", "wait_s", "usd", "surprise", "degraded"}
    assert wanted | {"price", "reward/correct", "reward/latency"} <= set(figures)
    assert figures["wait_s"] > 0
    assert answers_with(out)["tokens"]["small"]
    assert json.loads((out / "config.json").read_text("utf-8"))["use_cache"]


def test_a_large_model_that_fails_ends_no_run(tmp_path, monkeypatch):
    dead = ScriptedModel("x", name="dead", fail_after=0, error=ModelCallError("", retryable=False))
    engine_of, reports = module.engine_of, []
    monkeypatch.setattr(module, "engine_of", lambda one: replace(engine_of(one), large=dead))
    reinforce(
        grpo(steps=3),
        tmp_path / "grpo",
        command="x",
        on_progress=lambda *reported: reports.append(reported),
    )
    figures = [one for _, _, one in reports if "degraded" in one]
    assert len(figures) == 3
    assert any(one["degraded"] > 0 for one in figures)
    assert all(math.isfinite(one["grad_norm"]) for one in figures)


SCRIPT = """
import sys
from pathlib import Path
from splitreason_integrations.training.offloading import recipe
from splitreason_integrations.training.offloading.{kind} import {work}
{work}(recipe.load_{kind}(sys.argv[1]), Path(sys.argv[2]), command="x",
       on_progress=lambda done, of, figures: print(done, flush=True))
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


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "work"), [("sft", "fine_tune"), ("grpo", "reinforce")])
def test_a_killed_run_resumes_to_the_same_weights(tmp_path, traces, kind, work):
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
        late_s = time.monotonic() + HANGS_S
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
            printed, error = process.communicate(timeout=HANGS_S)
        assert process.returncode == 0, error
        outs.append([int(line) for line in printed.split()])
    assert outs[0][0] > 1
    assert outs[1][0] == 1
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("killed", "whole"))
    assert all(one[key].equal(other[key]) for key in one)
