"""Rollouts are what the engine generates, and know who wrote each token; only own ones are learned.

Real models, the real engine, TRL's own trainer.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from splitreason_integrations import Random, SplitEngine, Tag
from splitreason_integrations.backends.codec import TokenizerCodec
from splitreason_integrations.embedded import path
from splitreason_integrations.errors import ConfigurationError, ModelCallError, RequestError
from splitreason_integrations.records import Author
from splitreason_integrations.request import Request
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.testing import ScriptedModel
from splitreason_integrations.training.offloading import grpo, runs
from splitreason_integrations.training.offloading.recipe import GRPORecipe, Tasks, Writing
from splitreason_integrations.training.offloading.reference import Reference
from splitreason_integrations.training.offloading.rewards import Costs
from splitreason_integrations.training.offloading.rollouts import for_trainer, rollouts
from splitreason_integrations.training.offloading.writer import RolloutWriter, Shared

ENGINE = SplitEngine(small="embedded", large="embedded", telemetry=None)
TASKS = grpo.training_tasks(Tasks(count=6), seed=3)


def requests(temperature=1.3, of_each=2):
    return [
        Request(
            messages=task.messages,
            sampling=Sampling(temperature=temperature),
            seed=100 * number + draw,
            max_tokens=240,
        )
        for number, task in enumerate(TASKS)
        for draw in range(of_each)
    ]


async def fresh_small():
    """Return the small model as training makes it: other objects, the same weights."""
    network = AutoModelForCausalLM.from_pretrained(path("small"))
    tokenizer = AutoTokenizer.from_pretrained(path("small"))
    return await Shared(tokenizer, "in training")(network)


async def test_a_rollout_is_what_the_engine_generates_for_its_seed():
    small = await fresh_small()
    found = await rollouts(ENGINE, small, requests(), at_once=5)
    alone = [await ENGINE.complete(request) for request in requests()]
    assert [one.reply.pieces for one in found] == [reply.pieces for reply in alone]
    assert [one.reply.reasoning for one in found] == [reply.reasoning for reply in alone]
    assert {one.seed for one in alone} == {one.reply.seed for one in found}


async def test_every_token_has_its_author():
    small = await fresh_small()
    opening, closing = (small.codec.control_token(f"<{one}bigmodel>") for one in ("", "/"))
    found = await rollouts(ENGINE, small, requests(), at_once=4)
    assert sum(len(one.reply.spans) for one in found) > 10
    for one in found:
        reply = one.reply
        assert len(one.own) == len(one.token_ids)
        end = one.token_ids[-1] in small.codec.end_tokens
        own = [t for t, mine in zip(one.token_ids, one.own, strict=True) if mine]
        others = [t for t, mine in zip(one.token_ids, one.own, strict=True) if not mine]
        written = [
            token
            for piece in reply.pieces
            if piece.author is Author.SMALL
            for token in piece.token_ids
        ]
        assert [t for t in own if t != opening] == [*written, *own[len(own) - end :]]
        assert own.count(opening) == len(reply.spans)
        by_large = [
            token
            for piece in reply.pieces
            if piece.author is Author.LARGE
            for token in piece.token_ids
        ]
        assert [t for t in others if t != closing][: len(by_large)] == by_large
        assert opening not in others
        assert closing not in own


async def test_a_tag_that_the_model_did_not_choose_is_not_its_own():
    small = await fresh_small()
    opening = small.codec.control_token("<bigmodel>")
    for trigger in (Random(0.05), Tag(0.001)):
        engine = replace(ENGINE, trigger=trigger)
        found = await rollouts(engine, small, requests(of_each=1), at_once=2)
        opened = [
            mine
            for one in found
            for token, mine in zip(one.token_ids, one.own, strict=True)
            if token == opening
        ]
        assert opened
        assert not any(opened)


async def test_a_tag_in_plain_text_is_the_models_own():
    class Plain(TokenizerCodec):
        def control_token(self, text):
            return None if "bigmodel" in text else super().control_token(text)

    tokenizer = AutoTokenizer.from_pretrained(path("small"))
    codec = Plain(tokenizer, name="plain")
    small = ScriptedModel("It is <bigmodel> surely.\n</think>\n\n1081", codec=codec)
    large = ScriptedModel("47*23 = 1081", codec=codec)
    request = Request(messages=TASKS[0].messages, max_tokens=80, seed=1)
    (one,) = await rollouts(replace(ENGINE, large=large), small, [request], at_once=1)
    tag = codec.encode("<bigmodel>")
    assert len(tag) > 1
    at = next(i for i in range(len(one.own)) if one.token_ids[i : i + len(tag)] == tag)
    assert one.own[at : at + len(tag)] == [1] * len(tag)
    assert one.reply.large_tokens
    assert not all(one.own)


async def test_a_degraded_rollout_teaches_nothing():
    small = await fresh_small()
    dead = ScriptedModel(
        "1081", name="dead", fail_after=0, error=ModelCallError("gone", retryable=False)
    )
    found = await rollouts(replace(ENGINE, large=dead), small, requests(of_each=1), at_once=2)
    degraded = [one for one in found if one.reply.degraded]
    assert degraded
    masks = for_trainer(degraded)["env_mask"]
    assert not any(any(mask) for mask in masks)


async def test_noise_is_surprising_and_the_models_own_text_is_not():
    small = await fresh_small()
    reference = Reference(small.network, batch=3)
    found = await rollouts(ENGINE, small, requests(temperature=1.0), at_once=4)
    surprises = reference.surprise(found)
    assert max(surprises) < 0.5
    size = small.network.config.vocab_size
    torch.manual_seed(0)
    noise = [replace(one, token_ids=torch.randint(size, (len(one.own),)).tolist()) for one in found]
    assert min(reference.surprise(noise)) > 4.0
    assert reference.surprise([replace(found[0], own=[0] * len(found[0].own))]) == [0.0]


def test_no_gradient_flows_from_the_large_models_tokens(tmp_path):
    recipe = GRPORecipe(
        writing=Writing(temperature=1.5, max_tokens=160, at_once=4),
        costs=Costs(latency=0.3, full_s=0.2),
        tasks=Tasks(count=8),
        trainer={"per_device_train_batch_size": 8, "num_generations": 4, "max_steps": 1},
    )
    with runs.quiet():
        network, tokenizer = runs.load_network(recipe.model)
        reference = Reference(runs.load_network(recipe.model)[0])
        writer = RolloutWriter(
            recipe, grpo.engine_of(recipe), Shared(tokenizer, "in training"), reference
        )
        settings = grpo.settings_of(recipe, tmp_path)
        trainer = grpo.make_trainer(recipe, settings, network, tokenizer, TASKS, writer, grpo.right)
        seen, batches = [], []
        loss, chances = trainer.compute_loss, trainer._get_per_token_logps_and_entropies

        def with_batch(model, inputs, *args, **more):
            batches.append(inputs)
            return loss(model, inputs, *args, **more)

        def with_gradient(*args, **more):
            found = chances(*args, **more)
            if found[0].requires_grad:
                found[0].retain_grad()
                seen.append(found[0])
            return found

        trainer.compute_loss = with_batch
        trainer._get_per_token_logps_and_entropies = with_gradient
        trainer.train()
    (batch,), (logs,) = batches, seen
    own = (batch["completion_mask"] * batch["tool_mask"]).bool()
    others = (batch["completion_mask"] * (1 - batch["tool_mask"])).bool()
    counts = (batch["advantages"].abs() > 1e-6)[:, None]
    assert others.sum() > 20
    assert counts.any()
    assert logs.grad[others].eq(0.0).all()
    assert logs.grad[own & counts].ne(0.0).all()


@pytest.mark.parametrize(
    ("families", "error"),
    [("tools", ConfigurationError), ("nonsense", RequestError), ("word,tools", ConfigurationError)],
)
def test_tasks_with_tools_are_refused(families, error):
    with pytest.raises(error, match="use some of word"):
        grpo.training_tasks(Tasks(families=families), seed=0)
