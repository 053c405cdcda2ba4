"""Published figures: tables and plots made from what benchmarks printed as JSON."""

from splitreason_integrations.evals.figures.pages import FIGURES, update_pages

__all__ = ["FIGURES", "update_pages"]
