"""Models in this process, through transformers, on CPU or CUDA."""

from splitreason_integrations.backends.hf.model import HFModel
from splitreason_integrations.backends.hf.session import HFSession

__all__ = ["HFModel", "HFSession"]
