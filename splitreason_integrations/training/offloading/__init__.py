"""Train a small model to offload with TRL: on tagged traces, then on its own rollouts."""
