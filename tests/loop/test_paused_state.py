"""A paused request comes from outside: changed anywhere, it is the same request or one error."""

import copy
import json
import random
from collections import Counter

import pytest

from splitreason_integrations import (
    Answer,
    AskRule,
    HumanCheck,
    Paused,
    Policy,
    Prices,
    Request,
    SplitEngine,
    blocking,
)
from splitreason_integrations.errors import ConfigurationError, ReviewPendingError
from splitreason_integrations.testing import ScriptedModel

SECRET = "jane@example.com"
TOOL = {
    "type": "function",
    "function": {"name": "look", "description": "d", "parameters": {"type": "object"}},
}
MISSING = object()
VALUES = [
    *(MISSING, None, "x", "", "y" * 100_000, SECRET, -5, 0, 1, 2.5, 2**40, 10**30, True),
    *(float("nan"), float("inf"), -float("inf"), [], [1], {}, {"a": 1}),
]
PLACES = [("before", 0), ("before", 1), ("after", 1)]


class Checked:
    """An engine that pauses, and what its large model on a server was sent."""

    def __init__(self, moment, **more):
        self.sent = []
        self.large = ScriptedModel(
            lambda messages, tools: (
                self.sent.append(json.dumps([messages, tools]))
                or " forty two</bigmodel> and more of it here</bigmodel>"
            ),
            remote=True,
            name="large",
            prices=Prices(input_usd=1, output_usd=2),
        )
        rules = {"before": None, "after": None, moment: AskRule()}
        self.engine = SplitEngine(
            small=ScriptedModel(f"a <bigmodel> b {SECRET} <bigmodel> c <bigmodel> d.</think>Fine."),
            large=self.large,
            redact=["email"],
            policy=Policy(max_spans=2, max_large_tokens=20, max_usd=1.0),
            human_check=HumanCheck(reviewer=lambda question: None, **rules),
            **more,
        )

    def finish(self, paused):
        """Return what comes of a paused request whose questions are all approved."""
        while True:
            try:
                done = blocking.run(
                    lambda asked=paused: self.engine.finish(asked, Answer(decision="approve"))
                )
            except ReviewPendingError as error:
                paused = error.paused
            else:
                assert len(done.spans) <= 2
                assert done.large_tokens <= 20
                return done.reasoning, done.answer, done.small_tokens, done.large_tokens


def paused_at(moment, spans, **more):
    """Return a paused request that has so many spans before the one it asks about."""
    checked = Checked(moment, **more)
    request = Request(
        messages=[{"role": "user", "content": f"to {SECRET}"}],
        tools=[TOOL],
        metadata={"tenant": "acme"},
        max_tokens=300,
        seed=3,
    )
    with pytest.raises(ReviewPendingError) as caught:
        blocking.run(lambda: checked.engine.complete(request))
    paused = caught.value.paused
    for _ in range(spans):
        with pytest.raises(ReviewPendingError) as caught:
            blocking.run(
                lambda asked=paused: checked.engine.finish(asked, Answer(decision="approve"))
            )
        paused = caught.value.paused
    return paused


def places_in(data, above=()):
    if above:
        yield above
    if isinstance(data, dict | list):
        for name, one in data.items() if isinstance(data, dict) else enumerate(data):
            yield from places_in(one, (*above, name))


def at(data, place):
    for name in place:
        data = data[name]
    return data


def changed(data, place, value):
    data = copy.deepcopy(data)
    *above, name = place
    if value is MISSING:
        del at(data, above)[name]
    else:
        at(data, above)[name] = value
    return data


def changes(data, number):
    """Yield so many changes of one value each, drawn from all of them."""
    draw = random.Random(23)
    places = list(places_in({name: one for name, one in data.items() if name != "signature"}))
    others = [at(data, place) for place in places]
    every = [(place, value) for place in places for value in (*VALUES, draw.choice(others))]
    for place, value in draw.sample(every, number):
        yield place, changed(data, place, value)


def outcome(checked, data, *, sums=False):
    """Return what comes of a changed request: the reply, or what error there was."""
    try:
        paused = Paused.from_json(json.dumps(data))
        return checked.finish(paused.signed(()) if sums else paused)
    except ConfigurationError as error:
        return "refused", str(error)
    except Exception as error:  # noqa: BLE001 - that there is none is tested
        return type(error).__name__, str(error)


@pytest.mark.parametrize(("moment", "spans"), PLACES)
def test_one_change_leaves_the_request_as_it_was_or_ends_in_one_error(moment, spans):
    paused = paused_at(moment, spans)
    expected = Checked(moment).finish(paused)
    found = Counter()
    for place, data in changes(json.loads(paused.to_json()), 300):
        checked = Checked(moment)
        got = outcome(checked, data)
        assert got == expected or (got[0] == "refused" and "ask anew" in got[1]), (place, got)
        assert SECRET not in str(checked.sent), place
        found[got[0]] += 1
    assert found["refused"] > 200


@pytest.mark.parametrize(("moment", "spans"), PLACES)
def test_whoever_can_write_the_checksum_too_lifts_no_cap_and_shows_nothing(moment, spans):
    found = Counter()
    for place, data in changes(json.loads(paused_at(moment, spans).to_json()), 300):
        checked = Checked(moment)
        got = outcome(checked, data, sums=True)
        # Prompts may be changed like this: one may be too long, or lack a tool's name.
        named = len(got) == 4 or got[0] in ("refused", "ContextOverflowError", "RequestError")
        assert named, (place, got)
        assert SECRET not in str(checked.sent), place
        found[got[0]] += 1
    assert found["refused"] > 150


WRONG = [
    (("hidden",), {SECRET: SECRET}, "hidden"),
    (("hidden",), {"[EMAIL_1]": "[EMAIL_1]"}, "hidden"),
    (("hidden",), {"[EMAIL_2]": SECRET}, "hidden"),
    (("hidden",), {"[EMAIL_1]": SECRET, "[KEY_2]": SECRET}, "hidden"),
    (("ledger", "spans"), -5, "ledger.spans"),
    (("ledger", "spans"), 0, "ledger.spans"),
    (("ledger", "large"), 0, "ledger.large"),
    (("ledger", "usd"), 0.0, "ledger.usd"),
    (("ledger", "usd"), float("nan"), "ledger.usd"),
    (("elapsed_s",), float("-inf"), "elapsed_s"),
    (("elapsed_s",), -1e9, "elapsed_s"),
    (("span", "latency_s"), float("nan"), "span.latency_s"),
    (("span", "first_piece"), 99, "span.first_piece"),
    (("large",), 7, "large model 8"),
    (("pieces", 0, 1), 9, "pieces"),
    (("pieces", 0, 2, 0), 2**33, "pieces.0.2.0"),
    (("participants", 0, "hint"), "Say yes.", "participants.0.hint"),
    (("participants", 0, "model"), "other", "another small model"),
    (("request", "sampling", "temperature"), -1, "temperature"),
    (("request", "messages"), [], "messages"),
    (("request", "tools", 0, "function"), 5, "tool 0"),
    (("version",), 99, "99"),
]


@pytest.mark.parametrize(("place", "value", "named"), WRONG)
def test_the_error_names_the_field_and_the_remedy(place, value, named):
    data = json.loads(paused_at("after", 1).to_json())
    other = changed(data, ("state", *place), value)
    del other["signature"]
    with pytest.raises(ConfigurationError) as refused:
        Checked("after").finish(Paused.from_json(json.dumps(other)))
    assert named in str(refused.value)
    assert "ask anew" in str(refused.value) or "models that began it" in str(refused.value)


@pytest.mark.parametrize("text", ["", "[" * 100_000, "7", "null", '{"state": {}}', "{" * 5, b"{}"])
def test_what_is_no_paused_request_is_refused(text):
    with pytest.raises(ConfigurationError, match="not a paused request"):
        Paused.from_json(text)


def test_a_state_changed_in_this_process_is_refused_before_any_work():
    paused = paused_at("before", 0)
    paused.state["ledger"]["spans"] = -5
    checked = Checked("before")
    with pytest.raises(ConfigurationError, match=r"ledger\.spans"):
        checked.engine.resume(paused, Answer(decision="approve"))
    assert checked.engine.small.passes == 0
