"""Small talk: every message gets a short polite answer that is never empty.

Includes message orders that chat clients really send, such as repeated roles and earlier turns.
"""

from __future__ import annotations

import random

from splitreason_integrations.problems.records import Message, Problem, Turn
from splitreason_integrations.problems.words import NAMES, OBJECTS, SYSTEM_PROMPTS

GREETINGS = (
    "Hello", "Hi", "hi", "hello", "Hello!", "Hey", "Good morning", "Hello, how are you?",
    "How are you?", "how are you", "Hello there", "Hi there!", "Hey, what's up?", "Good evening",
    "Hello, how are you doing", "Hi {name}", "Hello, I am {name}.", "foo", "Hey you",
)  # fmt: skip
THANKS = ("Thanks", "Thank you!", "Thank you very much.", "Great, thanks!", "Bye", "Goodbye", "Ok")
QUESTIONS = (
    "Who are you?", "What can you do?", "What is your name?", "Tell me a joke.", "Tell me a story.",
    "What is the capital of France?", "Write me 5 poems? Be extremely verbose",
    "Who was the first man on the moon?", "What is the weather like today?", "Sing a song",
    "Write a long story about a {thing}.", "Do you like {things}?", "Can you help me?",
    "What is the meaning of life?", "Why is the sky blue?", "Translate this: I love {things}.",
    "Which {thing} is best?", "Say hi to {name}.", "What do you know about {things}?",
    "Explain {things} to me.", "Please write a poem about {name}.", "Repeat after me: {word}",
    "Count to ten.", "I love programming.", "Are you a robot?", "Where does {name} live?",
)  # fmt: skip
REPLIES = {
    "greeting": (
        "The user greets me. I answer with a greeting and say what I can do.",
        "Hello! I solve word problems with numbers. Tell me yours.",
    ),
    "thanks": (
        "The user is polite and asks for nothing more. I answer politely.",
        "You are welcome! I am glad to help with the next word problem.",
    ),
    "question": (
        "This is not a word problem with numbers. I say politely what I can do.",
        "I am sorry, I only solve word problems with numbers. Please ask me one.",
    ),
    "unknown": (
        "I do not understand these words. I say politely what I can do.",
        "I am sorry, I did not understand that. I solve word problems with numbers.",
    ),
}
ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "äöüßéèñçåø", "αβγδεζηθ",
    "абвгдежзик", "你好世界我是中文",
    "こんにちは", "مرحبا", "😀🚀🎉🔥", "!?.,;:-_#*+~<>|(){}[]/\\\"'",
)  # fmt: skip


def chat_problem(rng: random.Random) -> Problem:
    """Draw a conversation that needs no calculation."""
    kind = rng.choices(("greeting", "thanks", "question", "unknown"), (4, 2, 4, 4))[0]
    thought, reply = REPLIES[kind]
    messages = [*_history(rng), {"role": "user", "content": _utterance(rng, kind)}]
    if rng.random() < 0.1:
        messages.insert(len(messages) - 1, {"role": "user", "content": _utterance(rng, kind)})
    return Problem("chat", tuple(messages), (Turn((thought,), reply),), None)


def greeting(rng: random.Random) -> tuple[str, str]:
    """Return a greeting and the reply to it."""
    return _utterance(rng, "greeting"), REPLIES["greeting"][1]


def _utterance(rng: random.Random, kind: str) -> str:
    if kind == "unknown":
        return _noise(rng)
    text = rng.choice({"greeting": GREETINGS, "thanks": THANKS, "question": QUESTIONS}[kind])
    one, many = rng.choice(OBJECTS)
    word = _word(rng, ALPHABETS[0])
    return text.format(name=rng.choice(NAMES), thing=one, things=many, word=word)


def _word(rng: random.Random, alphabet: str) -> str:
    return "".join(rng.choices(alphabet, k=rng.randint(1, 9)))


def _noise(rng: random.Random) -> str:
    """Return random words in one of several scripts, sometimes an empty text."""
    if rng.random() < 0.05:
        return ""
    words = [
        _word(rng, ALPHABETS[0] if rng.random() < 0.6 else rng.choice(ALPHABETS))
        for _ in range(rng.randint(1, 6))
    ]
    return " ".join(words)


def _history(rng: random.Random) -> list[Message]:
    """Return earlier messages: system messages, sometimes earlier turns."""
    messages: list[Message] = []
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        text = rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.7 else _utterance(rng, "greeting")
        messages.append({"role": "system", "content": text})
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        kind = rng.choice(tuple(REPLIES))
        messages.append({"role": "user", "content": _utterance(rng, kind)})
        said = REPLIES[kind][1] if rng.random() < 0.6 else _utterance(rng, "greeting")
        messages.append({"role": "assistant", "content": said})
    return messages
