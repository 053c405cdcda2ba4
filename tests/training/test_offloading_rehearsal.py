"""Rehearsal: traces trained along with rollouts, against forgetting."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from splitreason_integrations.embedded import path
from splitreason_integrations.errors import ConfigurationError, SettingError
from splitreason_integrations.training.offloading import recipe as recipes
from splitreason_integrations.training.offloading import runs
from splitreason_integrations.training.offloading.examples import IGNORED
from splitreason_integrations.training.offloading.grpo import reinforce
from splitreason_integrations.training.offloading.recipe import Rehearsal
from splitreason_integrations.training.offloading.rehearsal import ends_loss, rehearser_of
from tests.training.toy_training import ROW, TOKENIZER, grpo, written


def test_a_rehearsal_is_read_with_the_rollouts(tmp_path, traces):
    recipe = grpo(rehearsal=Rehearsal(str(traces), weight=0.5, batch=3))
    network, tokenizer = runs.load_network(recipe.model)
    rehearser = rehearser_of(recipe, tokenizer)
    losses = [rehearser.loss(network, step=at, device="cpu").item() for at in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]
    reports = []
    reinforce(
        recipe,
        tmp_path / "grpo",
        command="x",
        on_progress=lambda *reported: reports.append(reported),
    )
    figures = [one for _, _, one in reports if "rehearsal" in one]
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
    assert logits.grad[0, 3].eq(0).all()  # predicts text outside the span
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


@pytest.mark.slow
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
def test_an_invalid_rehearsal_is_refused_before_training(tmp_path, row, said):
    recipe = grpo(rehearsal=Rehearsal(str(written(tmp_path, row))))
    with pytest.raises(ConfigurationError, match=said):
        reinforce(recipe, tmp_path / "out", command="x")
    assert not (tmp_path / "out").exists()


def test_an_unknown_kind_of_rehearsal_names_the_known_ones():
    with pytest.raises(SettingError, match="'ends', 'spans' or 'all', got 'starts'"):
        Rehearsal("traces.jsonl", tokens="starts")
