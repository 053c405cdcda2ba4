"""The vocabulary of the problems; nouns are (singular, plural)."""

from __future__ import annotations

Noun = tuple[str, str]

NAMES = (
    "Mia", "Tom", "Ana", "Ben", "Lena", "Omar", "Ravi", "Yuki", "Sara", "Paul", "Nina", "Ivan",
    "Rosa", "Karl", "Emma", "Luca", "Zoe", "Adam", "Clara", "Hugo", "Ines", "Jack", "Kim", "Leo",
)  # fmt: skip
OBJECTS: tuple[Noun, ...] = tuple(
    (word, word + "s")
    for word in (
        "apple", "book", "card", "coin", "cookie", "cup", "egg", "flower", "lamp", "lemon",
        "marble", "pencil", "plate", "poster", "ribbon", "shell", "stamp", "sticker", "ticket",
        "toy", "candle", "button", "bottle", "brick",
    )
)  # fmt: skip
CONTAINERS: tuple[Noun, ...] = (
    ("box", "boxes"), ("bag", "bags"), ("basket", "baskets"), ("crate", "crates"),
    ("drawer", "drawers"), ("jar", "jars"), ("shelf", "shelves"), ("tray", "trays"),
    ("pack", "packs"), ("case", "cases"),
)  # fmt: skip
PLACES = ("shop", "farm", "school", "store", "market", "museum", "library", "factory")
TEAMS = ("red", "blue", "green", "yellow", "north", "south", "east", "west")
SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a careful assistant. Work through the numbers step by step.",
    "You solve word problems.",
    "Answer the question of the user.",
    "You are an assistant for a small company. Be exact and polite.",
)
