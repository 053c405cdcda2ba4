"""Models that keep sessions: one sequence and its KV cache each."""
