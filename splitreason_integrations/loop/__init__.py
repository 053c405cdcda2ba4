"""One request from its first token to its completion: who writes, hand-overs, recovery, pauses."""
