"""Plan the replicas of both models that a load needs, and their cost."""
