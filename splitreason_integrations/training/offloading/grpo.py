"""Reinforcement fine-tuning with TRL's GRPOTrainer on rollouts that call the large model.

The large model's tokens are part of the rollouts but never of the loss; their measured cost is in
the reward. TRL's `rollout_func` is experimental: only this module and `writer` use it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from splitreason_integrations import blocking
from splitreason_integrations.backends.registry import describe, load_model, resolve
from splitreason_integrations.decide.closing import parse_close
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
"""Returns whether a reply answers a task."""


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
    on_progress: runs.OnProgress = runs.ignore_progress,
) -> None:
    """Train a small model on its own rollouts and write it to `out`; resume an interrupted run.

    Does nothing if `out` holds the finished run.

    Args:
        recipe: Settings of the run.
        out: A new folder, or the folder of an interrupted run with the same recipe.
        command: Command line to record.
        grade: Returns whether a reply is right.
        on_progress: Called with (steps done, steps in all, logged figures).

    Raises:
        ConfigurationError: The recipe, the tasks or the folder cannot be used.
        MissingExtraError: The trainers are not installed.

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
        callbacks=[runs.progress_callback(on_progress, out)],
    )
    reference.to(trainer.accelerator.device)
    runs.train(trainer, out)
    runs.finish(trainer, tokenizer, out, command, tasks=len(tasks))


def settings_of(recipe: GRPORecipe, out: Path) -> Any:
    """Return TRL's configuration for a recipe.

    Raises:
        ConfigurationError: TRL rejects a setting.

    """
    from trl import GRPOConfig

    ours = {
        "output_dir": str(out),
        "seed": recipe.seed,
        "temperature": recipe.writing.temperature,
        "max_completion_length": recipe.writing.max_tokens,
        "remove_unused_columns": False,
    }
    # If a whole group is right, its rewards differ only by costs. Scaling by that small spread
    # would make costs weigh as much as correctness, so rewards are scaled per batch.
    given = {"scale_rewards": "batch", **recipe.trainer}
    return runs.trainer_settings(GRPOConfig, given, ours)


def training_tasks(tasks: Tasks, *, seed: int) -> list[Task]:
    """Return the tasks of rollouts: rows of a file, or problems of the training split.

    Raises:
        ConfigurationError: The tasks need tools.
        RequestError: A family is unknown, or the file cannot be read.

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
    """Raise ConfigurationError if the tasks are too few for one generation."""
    needed = settings.generation_batch_size // settings.num_generations
    if len(tasks) < needed:
        raise ConfigurationError(
            f"{len(tasks)} tasks are too few: one generation needs {needed} "
            "(per_device_train_batch_size x steps_per_generation / num_generations); give more "
            "tasks, or lower these settings"
        )


def engine_of(recipe: GRPORecipe) -> SplitEngine:
    """Return the engine of the rollouts, with its large model loaded and telemetry off."""
    names = [describe(resolve(one, role="large")) for one in recipe.large]
    terms = {name: ModelTerms(prices=recipe.prices) for name in names}
    engine = SplitEngine(
        small=recipe.model,
        large=recipe.large,
        policy=Policy(models=terms),
        close=parse_close(recipe.writing.close),
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
    """Return TRL's trainer with our rollouts and rewards."""
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
    """Return the recipe's reward function for TRL: one number, or None, per rollout."""
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
