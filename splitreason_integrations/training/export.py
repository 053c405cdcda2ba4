"""Writing a trained model as an ordinary checkpoint folder with its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def export_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write weights in float32, configuration, generation configuration and tokenizer."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    model.to("cpu", dtype=torch.float32).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
