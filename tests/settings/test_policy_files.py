"""Policies as files: every error names its line; what is written reads the same."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitreason_integrations import (
    Agrees,
    AskRule,
    Disagreement,
    LatencyModel,
    ModelTerms,
    Policy,
    Prices,
    Rule,
    StepEnd,
    parse_close,
    parse_trigger,
)
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.privacy.finders import KINDS
from splitreason_integrations.settings.policy_files import from_data, named, template_names

FULL = """\
# All there is.
summary = "all of it"
trigger = "tag>0.4"
close = "agrees | step"
max_offload_share = 0.2
max_spans = "none"
max_span_tokens = "none"
deadline_s = 3
redact = [
    "email",
    "key",
]

[ask_before]
min_usd = 0.01
metadata = { tenant = "acme" }

[ask_after]

[[rules]]
when = { tenant = "acme" }
set = { max_spans = 2, max_offload_share = "none" }

[[rules]]
[rules.when]
tier = "gold"
[rules.set]
ask_before = "none"
ask_after = { sample_rate = 0.5 }

[models."*"]
latency = { round_trip_s = 0.1, tokens_per_s = 40 }

[models.big.prices]
input_usd = 1
output_usd = 5
"""
READ = Policy(
    summary="all of it",
    trigger="tag>0.4",
    close="agrees | step",
    max_offload_share=0.2,
    max_span_tokens=None,
    deadline_s=3,
    redact=("email", "key"),
    ask_before=AskRule(min_usd=0.01, metadata={"tenant": "acme"}),
    ask_after=AskRule(),
    rules=(
        Rule(when={"tenant": "acme"}, set={"max_spans": 2, "max_offload_share": None}),
        Rule(
            when={"tier": "gold"}, set={"ask_before": None, "ask_after": AskRule(sample_rate=0.5)}
        ),
    ),
    models={
        "*": ModelTerms(latency=LatencyModel(0.1, 40)),
        "big": ModelTerms(prices=Prices(1, 5)),
    },
)


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "mine.toml"
        path.write_text(text, "utf-8")
        return Policy.load(path)

    return load


def test_a_file_says_all_that_a_policy_can(load):
    assert load(FULL) == READ
    assert load("") == Policy()
    assert load("\ufeffmax_spans = 3") == Policy(max_spans=3)


def test_a_policy_survives_as_file_and_as_plain_data(load):
    assert load(READ.to_toml()) == READ
    assert from_data(asdict(READ)) == READ
    assert from_data(json.loads(json.dumps(asdict(READ)))) == READ
    assert Policy().to_toml() == ""


WRONG = [
    ("max_span = 3", 1, "unknown policy setting 'max_span'; did you mean 'max_spans'?"),
    ("# a\n\nmax_spans = -3", 3, "max_spans must be 0 or more"),
    ('max_spans = 3\nmax_usd = "dear"', 2, "max_usd must be a number such as 0, without quotes"),
    ("max_spans = 3\nmax_usd = 1\nmax_spans = 2", 3, "overwrite"),
    ("max_spans = 3\nmax_usd 1", 2, "write setting = value"),
    ("trigger = 'tag", 1, "text in quotes"),
    ("trigger = 'often'", 1, "unknown trigger 'often'"),
    ("max_spans = 3\nclose = 'often'", 2, "unknown close rule 'often'"),
    ("close = 0.5", 1, "close must be text in quotes"),
    ("max_spans = 3\nclose_threshold = 0.3", 2, 'write close = "tag>0.3"'),
    ("[[rules]]\nwhen = {}\n[rules.set]\nclose = 'step'", 4, "unknown setting of a rule 'close'"),
    ("redact = [\n 'email',\n 'mail',\n]\n", 1, "did you mean 'email'"),
    ("ask_before = true", 1, "a table belongs here, each condition for asking with its value"),
    ("max_spans = 1\n[ask_before]\nmin_usd = 1\nsample = 1", 4, "did you mean 'sample_rate'"),
    ("[ask_before]\npattern = '('", 2, "not a valid regular expression"),
    ("max_spans = 1\n[ask_after]\npattern = 'a(?=b)'", 3, "write 'a(?:b)', which is found"),
    ("trigger = 'keyword:(a)\\1'", 1, "pattern '(a)\\\\1' cannot be searched in linear time"),
    ("[ask_before.metadata]\n\ntenant = 3", 3, "tenant must be text"),
    ("[[rules]]\nwhen = {}\nset = {}\n\n[[rules]]\nwhen = {}", 5, "set is missing; add set ="),
    (
        "[[rules]]\nwhen = {}\nset = {}\n\n[[rules]]\nset = { max_spans = -1 }\nwhen = {}",
        6,
        "max_spans must be 0 or more",
    ),
    (
        "[[rules]]\nwhen = {}\n[rules.set]\nmax_usd = 1\n# more\nmax_span = -1",
        6,
        "unknown setting of a rule 'max_span'; did you mean 'max_spans'",
    ),
    ("[[rules]]\nwhen = {}\n[rules.set.ask_before]\nmin_usd = 'x'", 4, "min_usd must be a number"),
    ("[rules]\nwhen = {}", 1, "rules must be a list"),
    ("[models.big]\nprice = 1", 2, "did you mean 'prices'"),
    ("[models.big.latency]\nround_trip_s = 1", 1, "tokens_per_s is missing"),
    ("[models.'*'.prices]\ninput_usd = 1\noutput_usd = -1", 3, "output_usd must be 0 or more"),
    ("models = 3", 1, "models must name"),
    ('summary = """\nmax_span = 1\n"""\nmax_spam = 1', 4, "unknown policy setting 'max_spam'"),
    ("ask_before.min_usd = 1\nask_after.min_use = 1", 2, "did you mean 'min_usd'"),
]


@pytest.mark.parametrize(("text", "line", "said"), WRONG)
def test_errors_name_the_line_and_the_remedy(load, text, line, said):
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    assert f"mine.toml, line {line}: " in str(caught.value)
    assert said in str(caught.value)


def test_errors_of_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigurationError, match=r"cannot read the policy .*none\.toml: No such"):
        Policy.load(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="save it as UTF-8"):
        Policy.load(tmp_path / "binary.toml")


def test_errors_in_plain_data_name_the_place():
    with pytest.raises(ConfigurationError, match=r"^rules\.0\.set: max_spans must be 0 or more"):
        from_data({"rules": [{"when": {}, "set": {"max_spans": -1}}]})


def test_the_templates():
    assert template_names() == [
        "balanced",
        "cost-first",
        "quality-first",
        "regulated",
        "untaught",
    ]
    cost, balanced, quality, regulated = map(
        Policy.template, ("cost-first", "balanced", "quality-first", "regulated")
    )
    shares = [policy.max_offload_share for policy in (cost, balanced, quality)]
    assert shares == sorted(shares)
    assert all(policy.summary for policy in (cost, balanced, quality, regulated))
    assert regulated.ask_before == AskRule()
    assert regulated.redact == tuple(KINDS)
    assert regulated.only_in_reasoning
    assert named("balanced") == balanced
    untaught = Policy.template("untaught")
    assert parse_trigger(untaught.trigger) == Disagreement(below=0.1)
    assert parse_close(untaught.close) == Agrees() | StepEnd()
    assert (untaught.max_span_tokens, untaught.max_offload_share) == (64, 0.3)
    assert untaught.summary
    with pytest.raises(ConfigurationError, match=r"did you mean 'balanced'.*\.toml"):
        Policy.template("balance")


NUMBERS = st.floats(0, 1e6) | st.integers(0, 10**12)
COUNTS = st.integers(0, 10**12)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
METADATA = st.dictionaries(TEXTS, TEXTS, max_size=3)
SHARES = st.floats(0, 1)
ASKING = st.none() | st.builds(
    AskRule,
    min_offload_share=st.none() | SHARES,
    min_usd=st.none() | NUMBERS,
    pattern=st.none() | st.sampled_from(["none", "a|b", r"\d+\s", '"']),
    metadata=METADATA,
    sample_rate=SHARES,
)
PRICES = st.builds(Prices, NUMBERS, NUMBERS)
LATENCIES = st.builds(LatencyModel, NUMBERS, st.floats(0.1, 1e4))
CAPS = {
    "max_offload_share": st.none() | SHARES,
    "max_spans": st.none() | COUNTS,
    "max_span_tokens": st.none() | COUNTS,
    "max_span_s": st.none() | NUMBERS,
    "max_usd": st.none() | NUMBERS,
    "min_gap_tokens": COUNTS,
    "only_in_reasoning": st.booleans(),
    "ask_before": ASKING,
    "redact": st.lists(st.sampled_from([*KINDS, "phone:DE"])).map(tuple),
}
POLICIES = st.builds(
    Policy,
    summary=TEXTS,
    expect=TEXTS,
    trigger=st.none() | st.sampled_from(["tag", "tag | entropy>1", 'keyword:a"\\b']),
    close=st.none() | st.sampled_from(["tag>0.4", "agrees:2 | step"]),
    rules=st.lists(
        st.builds(Rule, when=METADATA, set=st.fixed_dictionaries({}, optional=CAPS)), max_size=3
    ).map(tuple),
    models=st.dictionaries(
        TEXTS,
        st.builds(ModelTerms, prices=st.none() | PRICES, latency=st.none() | LATENCIES),
        max_size=3,
    ),
    **CAPS,
)


@settings(deadline=None)
@given(policy=POLICIES)
def test_any_policy_survives_being_written(tmp_path_factory, policy):
    path = tmp_path_factory.mktemp("policies") / "any.toml"
    path.write_text(policy.to_toml(), "utf-8", newline="\n")
    assert Policy.load(path) == policy
    assert from_data(json.loads(json.dumps(asdict(policy)))) == policy
