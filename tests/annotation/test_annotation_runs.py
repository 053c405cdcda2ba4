"""Whole annotation runs: input, refused rows, output and resumption."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from splitreason_integrations import blocking
from splitreason_integrations.annotation.annotators import Found, SnippetsAnnotator, found_from
from splitreason_integrations.annotation.output import refused_path
from splitreason_integrations.annotation.placement import Quote
from splitreason_integrations.annotation.rules import RULES, RuleAnnotator
from splitreason_integrations.annotation.run import Settings, annotate
from splitreason_integrations.annotation.samples import DOMAINS, samples
from splitreason_integrations.annotation.shares import rank_for
from splitreason_integrations.annotation.sources import JsonLines, open_source
from splitreason_integrations.annotation.steps import Align
from splitreason_integrations.annotation.synthetic import write_traces
from splitreason_integrations.annotation.tagging import Span, untag
from splitreason_integrations.errors import ConfigurationError, RequestError, SettingError
from tests.annotation.annotation_fakes import numbered, read_rows, run, write_rows
from tests.limits import HANGS_S
from tests.process_groups import ends

HARD = RuleAnnotator(patterns=[r"Hard \d+ here"])


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.jsonl"


def test_rows_keep_their_fields_and_get_three(tmp_path, out):
    row = {"messages": [{"role": "user", "content": "?"}], "reasoning": "Hard 1 here.", "x": [1]}
    run(write_rows(tmp_path / "in", [row]), HARD, out)
    (written,) = read_rows(out)
    assert written["tagged"] == "<bigmodel>Hard 1 here.</bigmodel>"
    assert written["spans"] == [[0, 12]]
    assert written["annotation"]["by"] == "rule"
    assert {name: written[name] for name in row} == row


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("{", "not JSON"),
        ("[]", "must be a JSON object, got list"),
        ('{"question": "?", "trace": NaN}', "NaN is not valid JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"trace": "t"}', 'has neither: give either "question" or "messages"'),
        ('{"question": "?"}', 'has neither: give either "trace" or "reasoning"'),
        ('{"question": "?", "trace": "t", "reasoning": "t"}', "has both"),
        ('{"question": "?", "trace": " "}', "must be text that is not empty"),
        ('{"question": 5, "trace": "t"}', '"question" must be text'),
        ('{"messages": {}, "trace": "t"}', '"messages" must be a list'),
        ('{"messages": [{"role": "x"}], "trace": "t"}', "role 'x' is not one of"),
        ('{"question": "?", "trace": "t", "answer": []}', '"answer" must be text or a number'),
        ('{"question": "?", "trace": "t", "tagged": "t"}', "has 'tagged' already"),
        ('{"question": "?", "trace": "t", "gold_spans": [[0, 2]]}', "inside the trace of 1"),
        ('{"question": "?", "trace": "t", "gold_spans": [[0, true]]}', '"gold_spans" must be'),
    ],
)
def test_invalid_rows_are_named_with_their_line(tmp_path, line, error):
    path = tmp_path / "in.jsonl"
    path.write_text(f'{{"question": "?", "trace": "t"}}\n\n{line}\n', "utf-8")
    with pytest.raises(RequestError) as raised:
        open_source(str(path), {})
    assert f"{path}, line 3: " in str(raised.value)
    assert error in str(raised.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(RequestError, match="cannot be read: No such file"):
        open_source(str(tmp_path / "none"), {})
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(RequestError, match="holds no traces"):
        open_source(str(tmp_path / "empty"), {})
    (tmp_path / "latin").write_bytes(b'{"question": "\xe9"}\n')
    with pytest.raises(RequestError, match="is not UTF-8"):
        open_source(str(tmp_path / "latin"), {})
    with pytest.raises(RequestError, match="unknown field 'thinking'"):
        open_source(str(tmp_path / "none"), {"thinking": "trace"})


def test_columns_may_be_renamed(tmp_path, out):
    path = write_rows(tmp_path / "in", [{"q": "?", "thoughts": "Hard 1 here."}])
    lines = open_source(str(path), {"question": "q", "trace": "thoughts"})
    blocking.run(lambda: annotate(lines, HARD, out))
    (row,) = read_rows(out)
    assert row["trace"] == "Hard 1 here."
    assert "thoughts" not in row
    with pytest.raises(RequestError, match="line 1: has no column 'x' for trace; it has q, tho"):
        open_source(str(path), {"question": "q", "trace": "x"})


@pytest.mark.parametrize(
    "evil",
    [
        "<bigmodel>", "</bigmodel>", "<think>", "</think>", "<|im_end|>", "<｜User｜>",
        "<|start_header_id|>", "<tool_call>", "[INST]", "</s>", "<start_of_turn>",
    ],
)  # fmt: skip
def test_control_tags_are_refused(tmp_path, out, evil):
    rows = [
        {"id": "t", "question": "?", "trace": f"Hard 1 here. {evil} no"},
        {"id": "a", "question": "?", "trace": "Hard 1 here.", "answer": f"5{evil}"},
        {"id": "q", "question": evil, "trace": "Hard 1 here."},
    ]
    report = run(write_rows(tmp_path / "in", rows), HARD, out)
    assert [row["id"] for row in read_rows(out)] == ["q"]
    refused = read_rows(refused_path(out))
    assert [(row["id"], row["row"]) for row in refused] == [("t", 0), ("a", 1)]
    assert refused[0]["reason"] == f"control tag {evil} in the trace"
    assert report.refused.total() == 2


def test_the_models_own_tags_are_refused(tmp_path, out):
    rows = [{"question": "?", "trace": "Hard 1 here. <mine>"}]
    path = write_rows(tmp_path / "in", rows)
    assert run(path, HARD, out, Settings(control=("<mine>",))).refused.total() == 1


def test_half_a_character_is_refused(tmp_path, out):
    path = tmp_path / "in"
    path.write_text('{"question": "?", "trace": "Hard 1 here \\ud83d"}\n')
    assert run(path, HARD, out).refused == {"half a character in the trace": 1}


@pytest.mark.parametrize("workers", [1, 2])
def test_order_is_kept_with_several_workers(tmp_path, out, workers):
    source = tmp_path / "in"
    write_traces(source, n=700, tokens=200, seed=1)
    settings = Settings(align=Align.NONE, workers=workers)
    report = run(source, SnippetsAnnotator(), out, settings)
    rows = read_rows(out)
    assert [row["id"] for row in rows] == list(range(700))
    assert all(untag(row["tagged"]) == row["trace"] for row in rows)
    assert report.data()["gold"]["recall"] > 0.98
    assert not multiprocessing.active_children()


def test_an_ended_run_resumes_from_any_byte(tmp_path, out):
    rows = numbered(9)
    rows[4]["trace"] = rows[6]["trace"] = "Evil <think> here."
    source = write_rows(tmp_path / "in", rows)
    whole = run(source, HARD, out).data()
    tagged, refused = out.read_bytes(), refused_path(out).read_bytes()
    first = tagged.index(b"\n") + 1
    for cut in range(first, len(tagged), 61):
        for kept in (len(refused), refused.index(b"\n") + 1, 0):
            out.write_bytes(tagged[:cut])
            refused_path(out).write_bytes(refused[:kept])
            again = run(source, HARD, out).data()
            assert out.read_bytes() == tagged
            assert refused_path(out).read_bytes() == refused
            assert {**again, "seconds": 0} == {**whole, "seconds": 0}


def test_files_of_others_are_left_alone(tmp_path):
    source = write_rows(tmp_path / "in", numbered(3))
    for content in (b"my notes", b'{"a": 1}\n', b'{"a": 1}', source.read_bytes()):
        (tmp_path / "notes").write_bytes(content)
        with pytest.raises(ConfigurationError, match="not written by an annotation run"):
            run(source, HARD, tmp_path / "notes")
        assert (tmp_path / "notes").read_bytes() == content
    with pytest.raises(ConfigurationError, match="is a folder"):
        run(source, HARD, tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        run(source, HARD, tmp_path / "none" / "out")


def test_other_settings_and_other_traces_are_told_apart(tmp_path, out):
    source = write_rows(tmp_path / "in", numbered(3))
    run(source, HARD, out)
    with pytest.raises(ConfigurationError, match="started by rule with other settings"):
        run(source, HARD, out, Settings(align=Align.LINE))
    with pytest.raises(ConfigurationError, match="annotations of other traces"):
        run(write_rows(tmp_path / "other", numbered(4)[1:]), HARD, out)
    longer = write_rows(tmp_path / "longer", numbered(5))
    assert run(longer, HARD, out).traces == 5
    assert len(read_rows(out)) == 5


def test_two_runs_do_not_share_a_file(tmp_path, out):
    source = write_rows(tmp_path / "in", numbered(3))

    def meanwhile(stage, done, usd):
        with pytest.raises(ConfigurationError, match="another run writes it"):
            run(source, HARD, out)

    # The inner run needs a loop of its own.
    import asyncio

    asyncio.run(annotate(JsonLines(source), HARD, out, on_progress=meanwhile))
    assert len(read_rows(out)) == 3


@pytest.mark.slow
def test_an_interrupted_file_is_resumed(tmp_path, out):
    source = tmp_path / "in"
    write_traces(source, n=3000, tokens=400, seed=2)
    command = str(Path(sys.executable).with_name("python"))
    code = (
        "import signal\n"
        "from splitreason_integrations.cli import main\n"
        "if __name__ == '__main__':\n"
        # Whoever runs the tests in the background has them, and what they start, ignore Ctrl-C.
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    main()\n"
    )
    script = tmp_path / "annotate.py"
    script.write_text(code)
    arguments = [command, str(script), "annotate", "snippets", str(source), "--out", str(out)]
    process = subprocess.Popen(
        [*arguments, "--workers", "2"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None and (not out.exists() or out.stat().st_size == 0):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, printed = process.communicate(timeout=HANGS_S)
    assert process.returncode == 130, printed
    assert "Traceback" not in printed
    before = out.read_bytes()
    begun = before.count(b"\n")
    assert 0 < begun < 3000
    done = subprocess.run([*arguments, "--json"], capture_output=True, text=True, timeout=HANGS_S)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["traces"] == 3000
    assert out.read_bytes().startswith(before)
    assert [row["id"] for row in read_rows(out)] == list(range(3000))


def test_a_share_takes_the_highest_ranks():
    def found(*ranked):
        spans = tuple(Span(at, at + 1, 1.0) for at in range(len(ranked)))
        ranks, tokens = zip(*ranked, strict=True)
        return Found(spans, tokens=tokens, ranks=ranks, of_tokens=100)

    some = [found((40.0, 5), (0.2, 50), (900.0, 5)), found((40.1, 10), (0.0, 60))]
    for share, least in ((0.03, 900.0), (0.075, 40.1), (0.1, 40.0), (0.35, 0.2), (1.0, 0.2)):
        chosen = rank_for(share, some)
        kept = [rank for one in some for rank in one.ranks if rank >= chosen]
        assert min(kept) == least
    assert rank_for(0.0, some) > 900
    with pytest.raises(SettingError, match="share must lie"):
        rank_for(1.5, some)


def test_a_share_needs_scores(tmp_path, out):
    source = write_rows(tmp_path / "in", numbered(3))
    with pytest.raises(ConfigurationError, match="share= needs scores"):
        run(source, HARD, out, Settings(share=0.1))
    assert not out.exists()


def test_findings_survive_a_round_trip():
    found = Found((Span(0, 3, 0.5),), (Quote("a", None),), (2,), (1.5,), 9, failure="x")
    assert found_from(json.loads(json.dumps(found.data()))) == found


@pytest.mark.parametrize("domain", DOMAINS)
def test_samples_are_right_and_rules_find_their_hard_steps(tmp_path, out, domain):
    rows = list(samples(domain, n=60, seed=1))
    assert rows == list(samples(domain, n=60, seed=1))
    assert len({row["trace"] for row in rows}) == 60
    for row in rows:
        for start, end in row["gold_spans"]:
            hard = row["trace"][start:end]
            assert hard == hard.strip()
            assert hard[-1] == "."
    rule = RuleAnnotator(["arithmetic", "dates"])
    gold = run(write_rows(tmp_path / "in", rows), rule, out).data()["gold"]
    assert gold["precision"] > 0.8
    assert gold["recall"] > 0.8


def test_an_unknown_domain_or_rule_is_named():
    with pytest.raises(SettingError, match="did you mean 'support'"):
        next(samples("suport", n=1, seed=0))
    with pytest.raises(SettingError, match="did you mean 'arithmetic'"):
        RuleAnnotator(["arithmetics"])
    with pytest.raises(ConfigurationError, match="is not a valid regular expression"):
        RuleAnnotator(patterns=["("])
    with pytest.raises(ConfigurationError, match="no rule"):
        RuleAnnotator()


@pytest.mark.parametrize(
    ("rule", "text", "found"),
    [
        ("arithmetic", "47*23 = 1081.", ["47*23 = 1081"]),
        ("arithmetic", "Then 5 × 12 = 60", ["5 × 12 = 60"]),
        ("arithmetic", r"$47 \times 23 = 1081$", [r"47 \times 23 = 1081"]),
        ("arithmetic", "1+2+3 = 6, 3*4 = 12, 2+2 = 4", ["1+2+3 = 6"]),
        ("arithmetic", "1,081-12 = 1,069", ["1,081-12 = 1,069"]),
        ("code", "We write\n```py\nx = 1\n```\nand go on", ["```py\nx = 1\n```"]),
        ("code", "def f(x):\nSo it goes.", ["def f(x):"]),
        ("code", "from a import b\nlet x = 1\nrows = get(1)", None),
        ("code", "from the table\nlet us return to it, for now.\nclass is over", []),
        ("dates", "From May 3, 14 days lead to May 17.", ["May 3, 14 days lead to May 17"]),
        ("dates", "It was on 2026-01-05.", []),
        ("doubt", "It is 5. Wait, that is 6. Yes.", ["Wait, that is 6"]),
    ],
)
def test_rules(rule, text, found):
    spans = RuleAnnotator([rule]).spans(text)
    lines = text.splitlines() if found is None else found
    assert [text[span.start : span.end] for span in spans] == lines


def test_a_group_selects_the_hard_part_of_a_match():
    text = "so x = 12, y = 3"
    spans = RuleAnnotator(patterns=[r"= (\d\d)|y = (\d)"]).spans(text)
    assert [text[span.start : span.end] for span in spans] == ["12", "3"]


def test_a_pattern_is_searched_in_linear_time_or_refused():
    trace = "a" * 60 + "!\nx = 12\n" + "a" * 30
    spans = RuleAnnotator(patterns=[r"^(?:a+)+$", r"= (\d\d)"]).spans(trace)
    assert [trace[span.start : span.end] for span in spans] == ["a" * 30, "12"]
    with pytest.raises(ConfigurationError, match=r"looks ahead or behind; write 'x\(\?:= \)'"):
        RuleAnnotator(patterns=["x(?== )"])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "text",
    [piece * 20_000 for piece in ("111", "1+", "1,1.", "{ ", "3 days ", "May 1 ", "wait ")],
)
def test_rules_end_on_text_made_to_slow_them_down(rule, text):
    spans = RuleAnnotator([rule]).spans(text)
    assert all(0 <= span.start < span.end <= len(text) for span in spans)


@pytest.fixture
def saved(tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs the extra eval")
    rows = [{"prompt": f"What is {at}?", "thinking": f"Hard {at} here."} for at in range(5)]
    made = datasets.Dataset.from_list(rows)
    made.save_to_disk(str(tmp_path / "plain"))
    datasets.DatasetDict({"train": made, "dev": made.select([1])}).save_to_disk(
        str(tmp_path / "split")
    )
    (tmp_path / "files").mkdir()
    made.to_json(str(tmp_path / "files" / "train.jsonl"))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "n"), [("plain", 5), ("split", 5), ("split:dev", 1), ("files", 5)]
)
def test_datasets_in_folders(saved, out, name, n):
    columns = {"question": "prompt", "trace": "thinking"}
    source = open_source(f"datasets:{saved / name}", columns)
    assert [row.number for row in source.rows(0)] == list(range(n))
    assert [row.number for row in source.rows(1)] == list(range(1, n))
    blocking.run(lambda: annotate(source, HARD, out))
    assert len(read_rows(out)) == n
    with pytest.raises(RequestError, match="row 1: has neither"):
        open_source(f"datasets:{saved / name}", {})


def test_datasets_that_cannot_be_loaded(saved):
    with pytest.raises(ConfigurationError, match="has no split 'test'; it has train, dev"):
        open_source(f"datasets:{saved / 'split'}:test", {})
    with pytest.raises(ConfigurationError, match=r"cannot be loaded from the hub.*save_to_disk"):
        open_source("datasets:nobody/nothing", {})
    with pytest.raises(RequestError, match="name a dataset"):
        open_source("datasets:", {})


def test_workers_end_with_a_parent_that_is_killed(tmp_path, out):
    source = tmp_path / "in"
    write_traces(source, n=3000, tokens=400, seed=2)
    command = [str(Path(sys.executable).with_name("splitreason")), "annotate", "snippets"]
    with subprocess.Popen(
        [*command, str(source), "--out", str(out), "--workers", "2"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        while process.poll() is None and (not out.exists() or out.stat().st_size == 0):
            time.sleep(0.01)
        process.kill()
    assert ends(process.pid)
