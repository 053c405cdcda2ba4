"""Training: annotation on known cases, exact resumption, the whole pipeline at a tiny scale."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from splitreason_integrations.cli.train import app
from splitreason_integrations.embedded import MEMBERS, path
from splitreason_integrations.problems import Kind, Split, Writing, render, sample
from splitreason_integrations.training import labels, mixture
from splitreason_integrations.training.annotate import (
    Trace,
    failure_rates,
    tag_probability,
)
from splitreason_integrations.training.architecture import build_model
from splitreason_integrations.training.batches import make_batches
from splitreason_integrations.training.documents import Document, Encoder
from splitreason_integrations.training.export import export_model
from splitreason_integrations.training.loop import Plan
from splitreason_integrations.training.pair import train_pair
from splitreason_integrations.training.parallel import in_parallel, one_by_one
from splitreason_integrations.training.pretrain import Recipe
from splitreason_integrations.training.run import Folders, Settings
from splitreason_integrations.training.sft import tagged_documents
from splitreason_integrations.training.start import check_start, start_model

TINY = Settings(scale=0.002, seed=3)


@pytest.fixture(scope="module")
def encoder():
    return Encoder(AutoTokenizer.from_pretrained(path("small")))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Guesser:
    """Gives the token after `n` the probability `chances[n]`; every other token shares the rest."""

    device = "cpu"

    def __init__(self, chances, size=16):
        self.chances, self.size = chances, size

    def __call__(self, input_ids, use_cache):
        logits = torch.zeros((*input_ids.shape, self.size))
        for token, chance in self.chances.items():
            row = torch.full((self.size,), math.log((1 - chance) / (self.size - 1)))
            row[token + 1] = math.log(chance)
            logits[input_ids == token] = row
        return SimpleNamespace(logits=logits)


def test_failure_is_one_minus_the_product_over_the_span():
    guesser = Guesser({1: 0.5, 2: 0.8, 3: 0.9})
    traces = [Trace([1, 2, 3, 4], [(1, 3), (3, 4)]), Trace([0, 1, 2], [(2, 3)]), Trace([5], [])]
    rates = failure_rates(guesser, traces, batch_tokens=8)
    assert [len(row) for row in rates] == [2, 1, 0]
    assert rates[0] == pytest.approx([1 - 0.5 * 0.8, 1 - 0.9], abs=1e-5)
    assert rates[1] == pytest.approx([0.5], abs=1e-5)


def test_failure_does_not_depend_on_the_batch():
    guesser = Guesser({1: 0.5, 2: 0.8, 3: 0.9})
    traces = [Trace([1, 2, 3, 4][:n], [(1, 2)]) for n in (2, 3, 4, 2)]
    one, many = (failure_rates(guesser, traces, batch_tokens=n) for n in (1, 100))
    assert [rate for (rate,) in one] == pytest.approx([rate for (rate,) in many])


@pytest.mark.parametrize("span", [(0, 1), (2, 2), (1, 4)])
def test_spans_outside_the_trace_raise(span):
    with pytest.raises(ValueError, match="not inside a trace of 3 tokens"):
        Trace([1, 2, 3], [span])


def test_tag_probability_rises_with_the_gap_alone():
    assert tag_probability(0.0, 0.0, tries=4) == 0.0
    assert tag_probability(1.0, 0.0, tries=4) == 1.0
    assert tag_probability(0.3, 0.5, tries=4) == 0.0
    assert tag_probability(0.25, 0.0, tries=1) == pytest.approx(0.25)
    assert tag_probability(0.5, 0.25, tries=2) == pytest.approx(1 - 0.75**2)
    with pytest.raises(ValueError, match="between 0 and 1"):
        tag_probability(1.2, 0.0, tries=4)


def test_candidates_are_the_results_of_the_steps(encoder):
    tools, words = (sample(Split.DEV, family, seed=1, n=20) for family in ("tools", "word"))
    for problem in tools + words:
        for writing in (Writing.TERSE, Writing.EXPANDED):
            trace = labels.trace_of(encoder, problem, writing)
            texts = [encoder.tokenizer.decode(trace.ids[a:b]) for a, b in trace.spans]
            terse = writing is Writing.TERSE
            steps = problem.steps
            assert texts == [str(s.result) if terse else s.expansion for s in steps]


def test_tagged_documents_follow_the_labels(encoder):
    found = labels.fresh_problems(0, seed=1, documents=60)
    rng = random.Random(0)
    opening = encoder.encode("<bigmodel>")[0]
    for certain in (0.0, 1.0):
        rates = [[(certain, 0.0)] * len(problem.steps) for problem in found]
        chances = labels.by_step(found, rates, tries=4.0)
        pages = tagged_documents(encoder, rng, found, chances)
        weighted = [
            weight
            for page in pages
            for token, weight in zip(page.ids, page.weights, strict=True)
            if token == opening
        ]
        assert (1.0 in weighted) is bool(certain)


def test_the_large_model_is_not_taught_to_open_or_to_skip_the_expansion(encoder):
    turn = sample(Split.TRAIN, "word", seed=2, n=1)[0].turns[0]
    for writing in Writing:
        for piece in render(turn, lambda _, w=writing: w):
            long = piece.kind is Kind.RESULT and piece.step.expansion != str(piece.step.result)
            skipped = piece.kind is Kind.OPEN or long
            step = piece.kind in (Kind.RESULT, Kind.SPAN)
            expected = 0.0 if skipped else mixture.STEP_WEIGHT if step else 1.0
            assert mixture.by_large(piece) == expected


def test_training_chunks_are_reproducible_and_differ(encoder):
    for role in ("small", "large"):
        first, again, other = (
            mixture.pretraining_chunk(encoder, role, i, seed=1, documents=30, drills=0.4)
            for i in (1, 1, 2)
        )
        assert first == again != other


def test_batches_keep_every_document_and_stay_small():
    documents = [Document([n] * n, [1.0] * n) for n in (5, 90, 3, 40, 41, 2)]
    batches = make_batches(documents, tokens=100, pad=0, seed=0)
    assert all(batch.tokens <= 100 for batch in batches)
    lengths = sorted(int((row > 0).sum()) for batch in batches for row in batch.weights)
    assert lengths == sorted(len(document) for document in documents)


def test_rates_rise_hold_and_fall():
    plan = Plan(100, warmup=4, decay=0.5)
    assert plan.rate(0) < plan.rate(2) < plan.rate(10) == plan.rate(49) == 1.0
    assert plan.rate(75) == pytest.approx(0.5)
    assert plan.rate(100) == 0.0


def test_a_restart_begins_a_second_smaller_round():
    plan = Plan(140, warmup=4, restart=100, restart_rate=0.6)
    assert [plan.round_of(at) for at in (0, 99, 100, 139)] == [(0, 100)] * 2 + [(100, 140)] * 2
    assert plan.rate(99.9) == pytest.approx(0.0, abs=0.01)
    assert plan.rate(105) == pytest.approx(0.6 * 35 / 40)
    assert plan.rate(140) == 0.0
    recipe = Recipe(plan, 10, 0.5, 0.9, 0.1)
    assert [recipe.drills(at) for at in (0, 49, 50, 99, 100, 119, 120)] == [
        *(0.9, 0.9, 0.1, 0.1),
        *(0.9, 0.9, 0.1),
    ]


def test_an_export_computes_the_same(tmp_path, encoder):
    model = build_model("small", encoder.tokenizer, seed=1).eval()
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weight)
    export_model(model, encoder.tokenizer, tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = torch.tensor([tokenizer.encode('{"name": "get_price"} and 47*23 = 1081')])
    assert ids[0].tolist() == list(encoder.encode('{"name": "get_price"} and 47*23 = 1081'))
    with torch.inference_mode():
        assert torch.equal(model(input_ids=ids).logits, loaded(input_ids=ids).logits)


class InterruptedRunError(Exception):
    pass


def interrupt_at(stage, done):
    def on_progress(name, number, total, loss):
        if (name, number) == (stage, done):
            raise InterruptedRunError

    return on_progress


def quiet(*_):
    pass


def weights_of(out):
    return {name: load_file(out / name / "model.safetensors") for name in MEMBERS}


@pytest.mark.slow
def test_an_interrupted_run_resumes_to_the_same_pair(tmp_path):
    options = {"device": "cpu", "run_jobs": one_by_one}
    train_pair(tmp_path / "whole", TINY, on_progress=quiet, **options)
    for stage, done in (
        ("pretrain large", 2),
        ("pretrain small", 2),
        ("annotate 1", 1),
        ("sft 1", 2),
        ("annotate 2", 1),
        ("traces", 5),
        ("grpo", 1),
    ):
        with pytest.raises(InterruptedRunError):
            train_pair(tmp_path / "cut", TINY, on_progress=interrupt_at(stage, done), **options)
    train_pair(tmp_path / "cut", TINY, on_progress=quiet, **options)
    whole, cut = weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut")
    for name, tensors in whole.items():
        for key, tensor in tensors.items():
            assert torch.equal(tensor, cut[name][key]), (name, key)
    assert any(not torch.equal(t, whole["base"][k]) for k, t in whole["small"].items())
    for name in whole:
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "cut" / name)
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "cut" / name)
        assert model.config.vocab_size == len(tokenizer)
    card = (tmp_path / "cut" / "MODEL_CARD.md").read_text("utf-8")
    assert "--seed 3" in card
    assert "{" not in card
    with pytest.raises(ValueError, match="other settings"):
        Folders(tmp_path / "cut").claim(Settings(scale=0.002, seed=4))


@pytest.mark.slow
def test_both_models_train_at_once(tmp_path):
    stages = []
    settings = Settings(scale=0.001, seed=5)
    train_pair(
        tmp_path,
        settings,
        device="cpu",
        on_progress=lambda stage, *_: stages.append(stage),
        run_jobs=in_parallel,
    )
    assert {
        "pretrain large",
        "pretrain small",
        "annotate 1",
        "sft 1",
        "annotate 2",
        "sft 2",
        "traces",
        "grpo",
    } <= set(stages)


@pytest.mark.slow
def test_a_run_can_continue_from_a_finished_pair(tmp_path):
    pair = path("small").parent
    settings = Settings(scale=0.002, seed=5, start=str(pair))
    train_pair(tmp_path, settings, device="cpu", on_progress=quiet, run_jobs=one_by_one)
    before, after = weights_of(pair), weights_of(tmp_path)
    for name, start in (("base", "base"), ("small", "base"), ("large", "large")):
        ours, theirs = (m["model.embed_tokens.weight"] for m in (after[name], before[start]))
        assert torch.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.9
        assert not torch.equal(ours, theirs)


def test_a_start_has_our_models(tmp_path, encoder):
    with pytest.raises(FileNotFoundError, match="not a finished pair"):
        check_start(tmp_path)
    model = build_model("small", encoder.tokenizer, seed=0)
    with pytest.raises(ValueError, match="does not have the shape of our large model"):
        start_model(model, "large", path("small").parent)


def test_the_command_refuses_a_folder_without_a_pair(tmp_path):
    arguments = ["pair", "--out", str(tmp_path / "p"), "--from", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "is not a finished pair" in " ".join(result.output.split())
    assert not (tmp_path / "p").exists()


def test_the_command_refuses_a_bad_scale(tmp_path):
    result = CliRunner().invoke(app, ["pair", "--out", str(tmp_path / "p"), "--scale", "0"])
    assert result.exit_code == 2
    assert "scale must be above 0" in result.output
