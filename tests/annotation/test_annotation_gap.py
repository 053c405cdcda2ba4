"""The gap between two models' losses finds steps that the small model fails."""

import pytest

from splitreason_integrations.annotation.findings_file import findings_path
from splitreason_integrations.annotation.gap import GapAnnotator
from splitreason_integrations.annotation.output import refused_path
from splitreason_integrations.annotation.rows import Row
from splitreason_integrations.annotation.rules import RuleAnnotator
from splitreason_integrations.annotation.run import Settings
from splitreason_integrations.annotation.samples import samples
from splitreason_integrations.annotation.steps import Align
from splitreason_integrations.annotation.tagging import merge
from splitreason_integrations.annotation.tokens import TokenCounter, tokenizer_of
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.testing import ScriptedModel
from splitreason_integrations.training.annotate import Trace, failure_rates
from tests.annotation.annotation_fakes import read_rows, run, write_rows


@pytest.fixture(scope="module")
def rows():
    return list(samples("arithmetic", n=40, seed=3))


def test_the_bundled_pair_finds_the_calculations(tmp_path, embedded, rows):
    out = tmp_path / "gap.jsonl"
    report = run(write_rows(tmp_path / "in", rows), GapAnnotator(*embedded), out,
                 Settings(min_score=0.5))  # fmt: skip
    gold = report.data()["gold"]
    assert gold["precision"] > 0.85
    assert gold["recall"] > 0.95
    assert all(0.5 <= score <= 1 for row in read_rows(out) for score in row["annotation"]["scores"])


def test_gap_and_rule_agree(tmp_path, embedded, rows):
    rule = RuleAnnotator(["arithmetic"])
    known = [
        {name: value for name, value in row.items() if name != "gold_spans"}
        | {"gold_spans": [[s.start, s.end] for s in merge(row["trace"], rule.spans(row["trace"]))]}
        for row in rows
    ]
    for row in known:
        # Steps, as the gap has them.
        tagged = tmp_path / "one.jsonl"
        tagged.unlink(missing_ok=True)
        run(write_rows(tmp_path / "in", [row]), rule, tagged)
        row["gold_spans"] = read_rows(tagged)[0]["spans"]
    source, out = write_rows(tmp_path / "in", known), tmp_path / "gap.jsonl"
    gold = run(source, GapAnnotator(*embedded), out, Settings(min_score=0.5)).data()["gold"]
    assert gold["precision"] > 0.75
    assert gold["recall"] > 0.75


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_a_share_of_the_tokens_is_met(tmp_path, embedded, rows, share):
    tokenizer, control = tokenizer_of("embedded")
    settings = Settings(share=share, tokenizer=tokenizer, control=control)
    out = tmp_path / "gap.jsonl"
    report = run(write_rows(tmp_path / "in", rows), GapAnnotator(*embedded), out, settings)
    assert report.token_share == pytest.approx(share, abs=0.012)
    assert not findings_path(out).exists()


def test_a_run_with_a_share_resumes(tmp_path, embedded, rows):
    source, out = write_rows(tmp_path / "in", rows), tmp_path / "gap.jsonl"
    calls = []

    class Counting(GapAnnotator):
        def _score(self, some):
            calls.append(len(some))
            return super()._score(some)

    class StoppedError(Exception):
        pass

    def stop(stage, done, usd):
        if stage == stages[0]:
            raise StoppedError

    settings = Settings(share=0.1)
    stages = ["score", "annotate"]
    while stages:
        with pytest.raises(StoppedError):
            run(source, Counting(*embedded), out, settings, on_progress=stop)
        assert findings_path(out).exists()
        stages.pop(0)
    report = run(source, Counting(*embedded), out, settings)
    assert sum(calls) == len(rows)
    whole = tmp_path / "whole.jsonl"
    run(source, GapAnnotator(*embedded), whole, settings)
    assert out.read_bytes() == whole.read_bytes()
    again = run(source, Counting(*embedded), out, settings)
    assert sum(calls) == len(rows)
    assert again.traces == report.traces == len(rows)
    more = write_rows(tmp_path / "in", [*rows, {**rows[0], "id": "more"}])
    with pytest.raises(ConfigurationError, match="now there are more traces"):
        run(more, Counting(*embedded), out, settings)


def test_two_tokenizers_are_compared_by_characters(embedded, other_model, rows):
    annotator = GapAnnotator(embedded[0], other_model)
    trace = "Ω 47*23 = 1081 boxes – naïve 👩‍🔬.\nThen 12 more."
    job = annotator._read(Row(0, {}, trace, ({"role": "user", "content": "How many?"},)))
    assert job.cuts[-1] == len(trace)
    assert len(job.cuts) > 10
    for read in job.reads:
        assert set(job.cuts) <= set(read.ends)
        assert len(read.token_ids) == read.start + len(read.ends)
    found = annotator._score([Row(0, {}, trace, ({"role": "user", "content": "How many?"},))])[0]
    assert [trace[s.start : s.end] for s in found.spans] == trace.split("\n")
    assert all(0 <= span.score <= 1 for span in found.spans)
    assert sum(found.tokens) <= found.of_tokens


def test_a_model_against_itself_has_no_gap(embedded, rows):
    annotator = GapAnnotator(embedded[1], embedded[1])
    some = [Row(at, row, row["trace"], tuple(row["messages"])) for at, row in enumerate(rows[:5])]
    for found in annotator._score(some).values():
        assert all(span.score == pytest.approx(0.0, abs=1e-6) for span in found.spans)


def test_too_long_traces_are_refused(tmp_path, embedded):
    rows = [{"question": "?", "trace": "word " * 9000}, {"question": "?", "trace": "Two."}]
    out = tmp_path / "out.jsonl"
    report = run(write_rows(tmp_path / "in", rows), GapAnnotator(*embedded), out)
    assert report.refused.total() == 1
    assert "longer than the" in read_rows(refused_path(out))[0]["reason"]


def test_models_elsewhere_are_refused(embedded):
    with pytest.raises(ConfigurationError, match="give both as hf:"):
        GapAnnotator(embedded[0], ScriptedModel("x"))
    assert GapAnnotator(*embedded, align=Align.NONE).settings["steps"] == "sentence"


def test_windows_change_nothing(embedded):
    model = embedded[0]
    traces = [
        Trace(model.codec.encode(text), [(2, 5), (1, 3)])
        for text in ("47*23 = 940+141 = 1081 cards", "Mia has 3 boxes with 4 pens each.")
    ]
    whole = failure_rates(model.network, traces)
    cut = failure_rates(model.network, traces, window_tokens=3)
    for one, other in zip(whole, cut, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_tokens_are_counted_where_they_lie():
    counter = TokenCounter(tokenizer_of("embedded")[0])
    text = "So 47*23 = 1081 cards."
    inside, of = counter.inside(text, merge(text, RuleAnnotator(patterns=["1081"]).spans(text)))
    assert inside == 4
    assert counter.inside(text, []) == (0, of)
    with pytest.raises(ConfigurationError, match="name the folder of its tokenizer"):
        tokenizer_of("http://127.0.0.1:1/v1#x")
    with pytest.raises(ConfigurationError, match="tokenizer cannot be loaded"):
        tokenizer_of("hf:/nowhere")
