"""Published figures: tables and plots made from what benchmarks printed as JSON."""

from splitreason_integrations.evals.figures.pages import FIGURES, update_pages
from splitreason_integrations.evals.figures.plots import PLOTS, update_plots

__all__ = ["FIGURES", "PLOTS", "update_pages", "update_plots"]
