"""A run's folder: it belongs to one recipe, resumes after any interruption, and records the run."""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitreason_integrations import embedded
from splitreason_integrations.backends.hub import files_of
from splitreason_integrations.backends.swapped import no_progress_bar
from splitreason_integrations.checks import check_names, check_number
from splitreason_integrations.errors import ConfigurationError, MissingExtraError, SettingError
from splitreason_integrations.evals import report
from splitreason_integrations.training.offloading.recipe import GRPORecipe, Lora, SFTRecipe

if TYPE_CHECKING:
    from transformers import TrainerCallback

OnProgress = Callable[[int, int, Mapping[str, float]], None]
"""Called with (steps done, steps in all, logged figures)."""

_OURS = ("output_dir", "seed", "data_seed", "report_to", "disable_tqdm", "resume_from_checkpoint")


@contextmanager
def quiet() -> Generator[None]:
    """Silence the trainers' progress bars, printed figures and deprecation warnings."""
    with no_progress_bar(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", message=".*rollout_func.*experimental")
        yield


def check_installed() -> None:
    """Check that the trainers are installed.

    Raises:
        MissingExtraError: They are not.

    """
    if find_spec("trl") is None:
        raise MissingExtraError(
            'training needs the extra train: pip install "splitreason-integrations[train]"'
        )


def ignore_progress(done: int, of: int, figures: Mapping[str, float]) -> None:
    """Ignore progress."""


def is_finished(out: Path, recipe: SFTRecipe | GRPORecipe) -> bool:
    """Return whether a folder holds the finished run of a recipe on its current data.

    Raises:
        ConfigurationError: It holds another run or other files, or the data cannot be read.

    """
    if out.exists() and not out.is_dir():
        raise ConfigurationError(f"{out} is a file; name a folder with --out")
    path = out / "recipe.json"
    if not path.exists():
        if out.exists() and any(one.stem != path.stem for one in out.iterdir()):
            raise ConfigurationError(
                f"{out} is not empty and does not hold a run; choose another folder"
            )
        return False
    finished = (out / "run.json").exists()
    began = finished or last_checkpoint(out) is not None
    if began and path.read_text("utf-8") != _described(recipe):
        raise ConfigurationError(
            f"{out} holds a run of another recipe, or its data files have changed since; choose "
            "another folder with --out, or remove this one"
        )
    return finished


def claim(out: Path, recipe: SFTRecipe | GRPORecipe) -> None:
    """Reserve a folder for a recipe.

    Raises:
        ConfigurationError: As `is_finished`, or the folder cannot be written.

    """
    is_finished(out, recipe)
    path, wanted = out / "recipe.json", _described(recipe)
    if path.exists() and path.read_text("utf-8") == wanted:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        # With several GPUs each process runs this code.
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(wanted, "utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise ConfigurationError(
            f"{out} cannot be written: {error.strerror}; choose another folder with --out"
        ) from error


def _described(recipe: SFTRecipe | GRPORecipe) -> str:
    """Return a recipe as JSON, with the digest of each file that it reads."""
    named: list[str | None]
    if isinstance(recipe, SFTRecipe):
        named = [recipe.traces]
    else:
        named = [recipe.tasks.data, recipe.rehearsal.traces if recipe.rehearsal else None]
    digests = {name: _digest(Path(name)) for name in named if name is not None}
    return json.dumps({**asdict(recipe), "sha256": digests}, indent=2, sort_keys=True)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error


def last_checkpoint(out: Path, *, before: float = math.inf) -> str | None:
    """Return the newest complete checkpoint before a step."""
    found = [(int(path.name.partition("-")[2]), path) for path in out.glob("checkpoint-*")]
    for step, path in sorted(found, reverse=True):
        if step >= before:
            continue
        # The trainer writes its state last.
        try:
            json.loads((path / "trainer_state.json").read_text("utf-8"))
        except (OSError, ValueError):
            continue
        return str(path)
    return None


def trainer_settings(kind: type, given: Mapping[str, Any], ours: Mapping[str, Any]) -> Any:
    """Return a TRL configuration with a recipe's `[trainer]` applied over our defaults.

    Raises:
        ConfigurationError: A setting is unknown, or reserved for the recipe.

    """
    import torch

    settable = {one.name for one in fields(kind) if one.init} - set(_OURS)
    try:
        check_names(given, settable, what="setting of trainer")
        defaults = {
            "use_cpu": not torch.cuda.is_available(),
            "bf16": torch.cuda.is_available(),
            "save_total_limit": 2,
            "logging_steps": 1,
            "report_to": "none",
            "disable_tqdm": True,
        }
        check_number("learning_rate", given.get("learning_rate", 0))
        return kind(**{**defaults, **given, **ours})
    except SettingError as error:
        raise ConfigurationError(f"[trainer]: {error}") from error
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"[trainer]: {kind.__name__} refuses it: {error}") from error


def model_folder(name: str) -> str:
    """Return the folder or hub name of a recipe's model."""
    member = name.removeprefix("embedded:")
    if member in embedded.MEMBERS and member != name:
        return str(embedded.path(member))
    return name.removeprefix("hf:")


def load_network(name: str) -> tuple[Any, Any]:
    """Return a model in float32 and its tokenizer.

    Raises:
        ConfigurationError: They cannot be loaded.

    """
    folder = files_of(model_folder(name), what=f"model {name!r} cannot be loaded")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from splitreason_integrations.backends.codec import without_length_warning

    try:
        tokenizer = without_length_warning(AutoTokenizer.from_pretrained(folder))
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tokenizer
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigurationError(
            f"model {name!r} cannot be loaded: {reason}; use 'embedded:base', 'embedded:small', a "
            "folder with config.json, model.safetensors and tokenizer files, or a name that is in "
            "the local hub cache"
        ) from error


def adapters(lora: Lora | None, **more: Any) -> Any:
    """Return PEFT's configuration; None if all weights are trained."""
    if lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        **more,
    )


def progress_callback(on_progress: OnProgress, out: Path) -> TrainerCallback:
    """Return a trainer callback that reports progress and writes `log.jsonl`."""
    from transformers import TrainerCallback

    class Callback(TrainerCallback):  # type: ignore[misc]  # transformers' callbacks are untyped
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            on_progress(state.global_step, state.max_steps, logs or {})

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            write_log(out, state.log_history)

    return Callback()


def write_log(out: Path, history: list[dict[str, float]]) -> None:
    """Write the logged figures atomically."""
    temporary = out / "log.tmp"
    temporary.write_text("".join(f"{json.dumps(line)}\n" for line in history), "utf-8")
    os.replace(temporary, out / "log.jsonl")


def train(trainer: Any, out: Path) -> None:
    """Train to the end, from the last checkpoint of an interrupted run."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    # Resumed from its last step, a trainer would make one step more.
    steps = trainer.args.max_steps
    begun = last_checkpoint(out, before=steps if steps > 0 else math.inf)
    trainer.train(resume_from_checkpoint=begun)


def finish(trainer: Any, tokenizer: Any, out: Path, command: str, **facts: Any) -> None:
    """Write the trained model with its tokenizer, and a record of the run."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(model, "merge_and_unload"):
        model, state = model.merge_and_unload(), None
    else:
        # If weights are sharded, all processes must take part in this.
        state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if trainer.is_world_process_zero():
        # Trainers switch the KV cache off; without it, generation would recompute every token.
        model.config.use_cache = True
        model.save_pretrained(out, state_dict=state)
        tokenizer.save_pretrained(out)
        write_log(out, trainer.state.log_history)
        record = {"steps": trainer.state.global_step, **facts, **report.context(command)}
        (out / "run.json").write_text(json.dumps(record, indent=2), "utf-8")
