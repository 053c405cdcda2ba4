"""Measure accuracy, offload share and speed through the same engine that users run."""
