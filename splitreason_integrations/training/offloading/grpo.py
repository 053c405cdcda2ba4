"""Reinforcement fine-tuning by TRL's GRPOTrainer, on rollouts that really call the large model.

The large model's tokens are in the rollouts and never in the loss; what they cost, measured, is in
the reward. `rollout_func` is experimental in TRL: this module and `writer` alone know of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from splitreason_integrations import blocking
from splitreason_integrations.backends.registry import describe, load_model, resolve
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.pricing import ModelTerms
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.evals.tasks import Task, known_families, read_jsonl
from splitreason_integrations.problems import FAMILIES, Split, sample
from splitreason_integrations.records import Completion
from splitreason_integrations.training.offloading import runs
from splitreason_integrations.training.offloading.recipe import GRPORecipe, Tasks
from splitreason_integrations.training.offloading.reference import Reference
from splitreason_integrations.training.offloading.rehearsal import (
    Rehearser,
    rehearser_of,
    rehearsing,
)
from splitreason_integrations.training.offloading.rewards import Rewards, facts_of, logged
from splitreason_integrations.training.offloading.writer import Copied, RolloutWriter, Shared

Grade = Callable[[Task, Completion], bool]
"""Says whether a reply answers a task."""


def right(task: Task, reply: Completion) -> bool:
    """Return whether a reply gives a task's answer."""
    return task.right(reply.answer)


@runs.quiet()
def reinforce(
    recipe: GRPORecipe,
    out: Path,
    *,
    command: str,
    grade: Grade = right,
    tell: runs.Tell = runs.silent,
) -> None:
    """Train a small model on its own rollouts and write it to `out`; a stopped run goes on.

    Where `out` holds the finished run, nothing is done.

    Args:
        recipe: what decides the run.
        out: a new folder, or one of an interrupted run with the same recipe.
        command: what the run is recorded to have been started by.
        grade: says whether a reply is right.
        tell: hears about progress.

    Raises:
        ConfigurationError: before training, for a recipe, tasks or a folder that will not do.

    """
    runs.check_installed()
    if runs.is_finished(out, recipe):
        return
    settings = settings_of(recipe, out)
    tasks = training_tasks(recipe.tasks, seed=recipe.seed)
    _check_enough(tasks, settings)
    network, tokenizer = runs.load_network(recipe.model)
    rehearser = rehearser_of(recipe, tokenizer)
    engine = engine_of(recipe)
    reference = Reference(runs.load_network(recipe.model)[0])
    runs.claim(out, recipe)
    small = (
        Copied(tokenizer, out / f"rollout-model-{settings.process_index}")
        if recipe.writing.run_by == "vllm"
        else Shared(tokenizer, recipe.model)
    )
    writer = RolloutWriter(recipe, engine, small, reference)
    trainer = make_trainer(
        recipe,
        settings,
        network,
        tokenizer,
        tasks,
        writer,
        grade,
        rehearser=rehearser,
        callbacks=[runs.teller(tell, out)],
    )
    reference.to(trainer.accelerator.device)
    runs.train(trainer, out)
    runs.finish(trainer, tokenizer, out, command, tasks=len(tasks))


def settings_of(recipe: GRPORecipe, out: Path) -> Any:
    """Return TRL's configuration of a recipe; raise ConfigurationError for what it refuses."""
    from trl import GRPOConfig

    ours = {
        "output_dir": str(out),
        "seed": recipe.seed,
        "temperature": recipe.writing.temperature,
        "max_completion_length": recipe.writing.max_tokens,
        "remove_unused_columns": False,
    }
    # Where a whole group is right its spread is that of the costs alone: scaled by it, a token's
    # price would weigh as much as being right does.
    given = {"scale_rewards": "batch", **recipe.trainer}
    return runs.trainer_settings(GRPOConfig, given, ours)


def training_tasks(tasks: Tasks, *, seed: int) -> list[Task]:
    """Return what is asked: the rows of a file, or problems that no evaluation shows.

    Raises:
        ConfigurationError: for tasks that need tools.
        RequestError: for an unknown family, or a file that cannot be read, naming the line.

    """
    if tasks.data is not None:
        return read_jsonl(Path(tasks.data))
    families = known_families(tasks.families.split(","))
    if "tools" in families:
        raise ConfigurationError(
            "tasks.families: problems with tools cannot be asked in rollouts; use some of "
            f"{', '.join(one for one in FAMILIES if one != 'tools')}"
        )
    each = -(-tasks.count // len(families))
    found = [
        problem for family in families for problem in sample(Split.TRAIN, family, seed=seed, n=each)
    ]
    return [Task(problem.messages, str(problem.answer), problem) for problem in found]


def _check_enough(tasks: Sequence[Task], settings: Any) -> None:
    """Raise ConfigurationError where the tasks do not fill one generation: there is no step."""
    needed = settings.generation_batch_size // settings.num_generations
    if len(tasks) < needed:
        raise ConfigurationError(
            f"{len(tasks)} tasks are too few: one generation asks {needed} of them "
            "(per_device_train_batch_size x steps_per_generation / num_generations); bring more, "
            "or lower these"
        )


def engine_of(recipe: GRPORecipe) -> SplitEngine:
    """Return the engine of the rollouts, its large models loaded; nothing is kept of a request."""
    names = [describe(resolve(one, role="large")) for one in recipe.large]
    terms = {name: ModelTerms(prices=recipe.prices) for name in names}
    engine = SplitEngine(
        small=recipe.model,
        large=recipe.large,
        policy=Policy(models=terms),
        close_threshold=recipe.writing.close_threshold,
        handback_tokens=recipe.writing.handback_tokens,
        telemetry=None,
    )
    blocking.run(lambda: load_model(recipe.large[0], role="large"))
    return engine


def make_trainer(
    recipe: GRPORecipe,
    settings: Any,
    network: Any,
    tokenizer: Any,
    tasks: Sequence[Task],
    writer: RolloutWriter,
    grade: Grade,
    *,
    rehearser: Rehearser | None = None,
    callbacks: Sequence[Any] = (),
) -> Any:
    """Return TRL's trainer over our rollouts and rewards."""
    from datasets import Dataset
    from trl import GRPOTrainer

    kind = GRPOTrainer if rehearser is None else rehearsing(GRPOTrainer, rehearser)

    rows = [{"prompt": list(task.messages), "task": at} for at, task in enumerate(tasks)]
    return kind(
        model=network,
        args=settings,
        reward_funcs=[_reward(recipe, tasks, grade)],
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        rollout_func=writer,
        peft_config=runs.adapters(recipe.lora),
        callbacks=list(callbacks),
    )


def _reward(recipe: GRPORecipe, tasks: Sequence[Task], grade: Grade) -> Callable[..., Any]:
    """Return the recipe's reward as TRL calls it: one number, or None, for each rollout."""
    rewards = Rewards(recipe.costs, recipe.form, recipe.malformed)

    def reward(
        *,
        reply: Sequence[Completion],
        surprise: Sequence[float],
        task: Sequence[int],
        trainer_state: Any,
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float | None]:
        price = recipe.curriculum.price(trainer_state.global_step)
        facts = [
            facts_of(
                one,
                right=grade(tasks[number], one),
                surprise=nats,
                given=" ".join(str(m.get("content", "")) for m in tasks[number].messages),
                round_trip_s=recipe.costs.round_trip_s,
            )
            for one, nats, number in zip(reply, surprise, task, strict=True)
        ]
        parts = [logged(rewards.parts(one, price=price)) for one in facts]
        figures = {
            **{f"reward/{name}": [one[name] for one in parts] for name in parts[0]},
            "right": [float(one.right) for one in facts],
            "malformed": [float(rewards.form.fault(one) is not None) for one in facts],
            "offload_share": [one.share for one in facts],
            "wait_s": [one.wait_s for one in facts],
            "usd": [one.usd for one in facts],
            "surprise": [one.surprise for one in facts],
            "degraded": [float(one.degraded) for one in reply],
            "price": [price],
        }
        for name, values in figures.items():
            log_metric(name, sum(values) / len(values))
        return [
            None if one.degraded else sum(part.values())
            for one, part in zip(reply, parts, strict=True)
        ]

    return reward
