"""What a kind of faults is."""


class Kind:
    """Plays rounds of faults; what does not hold is an error of a round.

    A kind has a `name` and a method `round(rng, folder)`, which plays what `rng` decides in a new
    folder and returns what it counted.
    """

    name: str

    def close(self):
        """End what was started; most kinds start nothing that outlives a round."""
