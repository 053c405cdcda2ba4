"""How many replicas of both models a load needs, and what that costs."""
