"""A script of the small model for what frameworks ask of it."""


class Replies:
    """A small model's script: the first answer whose key is in what is asked; one span each."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []

    def __call__(self, messages, tools):
        self.asked.append(messages)
        asked = "\n".join(message["content"] for message in messages)
        answer = next(text for key, text in self.answers.items() if key.replace("_", " ") in asked)
        return f"So:<bigmodel> Done.</think>\n\n{answer}"
