"""Teaching a small model to offload, by TRL: from tagged traces, then by its own rollouts."""
