"""Accuracy, offload share and speed, measured through the engine that users run."""
