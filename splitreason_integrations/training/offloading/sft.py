"""Supervised fine-tuning on tagged traces with TRL's SFTTrainer.

The tags and the text of the spans are in the loss: without them a small model never learns where
spans end, and hands back at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.text.tags import CLOSE, OPEN
from splitreason_integrations.training.offloading import runs
from splitreason_integrations.training.offloading.examples import ExampleWriter, read_tagged
from splitreason_integrations.training.offloading.recipe import SFTRecipe


@runs.quiet()
def fine_tune(
    recipe: SFTRecipe,
    out: Path,
    *,
    command: str,
    on_progress: runs.OnProgress = runs.ignore_progress,
) -> None:
    """Train a model on a recipe's traces and write it to `out`; resume an interrupted run.

    Does nothing if `out` holds the finished run.

    Args:
        recipe: Settings of the run.
        out: A new folder, or the folder of an interrupted run with the same recipe.
        command: Command line to record.
        on_progress: Called with (steps done, steps in all, logged figures).

    Raises:
        ConfigurationError: The recipe, the traces or the folder cannot be used.
        MissingExtraError: The trainers are not installed.

    """
    runs.check_installed()
    if runs.is_finished(out, recipe):
        return
    from trl import SFTConfig, SFTTrainer

    ours = {
        "output_dir": str(out),
        "seed": recipe.seed,
        "packing": recipe.packing,
        "max_length": recipe.max_tokens,
        "dataset_num_proc": None,
    }
    settings = runs.trainer_settings(SFTConfig, recipe.trainer, ours)
    network, tokenizer = runs.load_network(recipe.model)
    new = _add_tags(network, tokenizer) if recipe.tags == "special" else []
    examples, left_out = _examples(recipe, tokenizer)
    runs.claim(out, recipe)
    # Adapters alone would not train the embedding rows of new tokens.
    more = {"trainable_token_indices": new} if new else {}
    trainer = SFTTrainer(
        model=network,
        args=settings,
        train_dataset=examples,
        processing_class=tokenizer,
        peft_config=runs.adapters(recipe.lora, **more),
        callbacks=[runs.progress_callback(on_progress, out)],
    )
    runs.train(trainer, out)
    runs.finish(trainer, tokenizer, out, command, traces=len(examples), left_out=left_out)


def _add_tags(network: Any, tokenizer: Any) -> list[int]:
    """Add missing tags to the tokenizer and return their ids; new rows start at the mean."""
    import torch

    lacking = [tag for tag in (OPEN, CLOSE) if tag not in tokenizer.get_vocab()]
    tokenizer.add_tokens(lacking, special_tokens=True)
    rows = network.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    new = [int(one) for one in tokenizer.convert_tokens_to_ids(lacking)]
    with torch.no_grad():
        for table in {network.get_input_embeddings(), network.get_output_embeddings()}:
            table.weight[new] = table.weight[: min(rows, min(new, default=rows))].mean(0)
    return new


def _examples(recipe: SFTRecipe, tokenizer: Any) -> tuple[Any, int]:
    """Return the traces as a dataset of ids and labels, and the number of traces left out."""
    from datasets import Dataset, Features, Sequence, Value

    writer = ExampleWriter(
        tokenizer, name=recipe.model, span_weight=recipe.span_weight, seed=recipe.seed
    )
    found, left_out = [], 0
    spans = 0
    for number, trace in enumerate(read_tagged(Path(recipe.traces)), 1):
        example = writer.write(number, trace)
        if len(example.input_ids) > recipe.max_tokens:
            left_out += 1
            continue
        spans += sum(is_span for _, is_span in trace.segments)
        found.append({"input_ids": example.input_ids, "labels": example.labels})
    if not found:
        raise ConfigurationError(
            f"{recipe.traces}: none of its {left_out} traces has {recipe.max_tokens} tokens or "
            "less; raise max_tokens"
            if left_out
            else f"{recipe.traces}: holds no traces; `splitreason annotate` writes them"
        )
    if not spans:
        raise ConfigurationError(
            f"{recipe.traces}: none of its {len(found)} traces has a span to learn from; "
            "`splitreason annotate` finds spans"
        )
    integers = Sequence(Value("int32"))
    return Dataset.from_list(found, Features(input_ids=integers, labels=integers)), left_out
