"""`splitreason audit` as users run it, on logs that the engine wrote."""

import io
import json
import re
import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest
from rich.console import Console

from splitreason_integrations import Policy, Random, Request, Sampling, SplitEngine, Tag, blocking
from splitreason_integrations.audit import AuditLog, verify
from splitreason_integrations.audit.history import load
from splitreason_integrations.audit.recording import recorded
from splitreason_integrations.audit.replay import engine_of, request_of, run_again
from splitreason_integrations.cli import main
from splitreason_integrations.errors import AuditError, ConfigurationError
from splitreason_integrations.events import Event
from splitreason_integrations.testing import ScriptedModel
from tests.loop.engine_runs import HELLO

SMALL = "47*23 =<bigmodel> cards.\n</think>\n\nMia has 1081 cards."
LARGE = " 940+141 = 1081</bigmodel>"


@dataclass(frozen=True, slots=True)
class Answered(Event):
    """A person's answer."""

    name: ClassVar[str] = "splitreason.human.answered"
    by: str
    decision: str


@pytest.fixture
def run(run):
    """Run `splitreason audit`."""
    return lambda *arguments, status=0: run("audit", *map(str, arguments), status=status)


@pytest.fixture
def log(tmp_path, monkeypatch):
    """A log of three requests: "aaa" finished, "abb" degraded, "ccc" approved and cancelled."""
    log = AuditLog(tmp_path / "audit.jsonl", content=True)
    monkeypatch.setenv("SPLITREASON_AUDIT_LOG", str(log.path))
    for name, fail_after in (("aaa", None), ("abb", 2)):
        large = ScriptedModel(LARGE, fail_after=fail_after)
        engine = SplitEngine(small=ScriptedModel(SMALL), large=large, audit=log)
        request = Request(messages=HELLO, max_tokens=90, request_id=name)
        blocking.run(lambda engine=engine, request=request: engine.complete(request))

    async def answered():
        yield Answered("ccc", "ada", "approve")
        yield "never read"

    async def give_up():
        stream = recorded(log, engine, Request(messages=HELLO, request_id="ccc"), answered())
        await anext(stream)
        await stream.aclose()

    blocking.run(give_up)
    return log


def test_list(run, log):
    out = run("list").out
    lines = out.splitlines()
    assert len(lines) == 4
    assert [line.split()[3] for line in lines[1:]] == ["finished", "degraded", "cancelled"]
    assert lines[3].split()[-1] == "1"


def test_list_json(run, log):
    data = json.loads(run("list", "--json").out)
    one, two, three = data["requests"]
    assert (one["spans"], one["degraded"], one["human_answers"]) == (1, False, 0)
    assert 0 < one["offload_share"] < 1
    assert two["degraded"] is True
    assert (three["status"], three["human_answers"]) == ("cancelled", 1)
    assert data["log"]["records"] == verify(log.path).records


def test_list_filters(run, log):
    def ids(*filters):
        return [
            one["request_id"] for one in json.loads(run("list", "--json", *filters).out)["requests"]
        ]

    assert ids("--degraded") == ["abb"]
    assert ids("--since", "5m") == ids("--since", "2026-01-01") == ["aaa", "abb", "ccc"]
    assert ids("--since", "2999-01-01T00:00") == []
    began = load(log.path).requests[2].time_utc
    assert ids("--since", began) == ["ccc"]
    assert "24h" in run("list", "--since", "yesterday", status=2).err


def test_no_column_of_the_list_is_cut_off(run, log, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    out = run("list").out
    assert "…" not in out
    assert "human" in out.splitlines()[0]
    assert [line.split()[3] for line in out.splitlines()[1:]] == [
        *("finished", "degraded", "cancelled"),
    ]


def test_show(run, log):
    out = run("show", "aa").out
    assert "47*23 =⟦ 940+141 = 1081⟧ cards." in out
    data = json.loads(run("show", "aaa", "--json").out)
    kinds = [record["kind"] for record in data["records"]]
    assert kinds == [
        "request.started",
        "splitreason.handoff.requested",
        "splitreason.handoff.started",
        "splitreason.handoff.finished",
        "request.finished",
    ]
    assert data["records"][1]["data"]["span"] == 0
    events = [line.partition("  ")[2] for line in out.splitlines() if line.startswith("2")]
    said = [kind.removeprefix("splitreason.").replace(".", " ") for kind in kinds]
    assert [event.partition(":")[0] for event in events] == said
    assert "by ada" in run("show", "ccc").out
    assert "2 requests" in run("show", "a", status=2).err
    assert "no request" in run("show", "x", status=2).err


def test_people_read_spans_from_1_rounded_numbers_and_no_records(run, log):
    out = run("show", "aaa").out
    (span,) = [line.split() for line in out.splitlines() if line.split()[:1] == ["1"]]
    assert span[1:3] == ["6", "14"]
    assert "span 1, start token 6" in out
    assert "span 0" not in out
    assert "tokens, 14 by the large model" in out
    assert not re.search(r"\d\.\d{7}", out)
    assert not re.search(r"[{}]|None|null", out)


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_request_is_shown_in_full_at_a_terminals_width(log, columns, monkeypatch):
    from splitreason_integrations.cli.audit_tables import print_request

    monkeypatch.setenv("COLUMNS", str(columns))
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, highlight=False)
    print_request(load(log.path).request("aaa"), console)
    shown = console.file.getvalue()
    assert max(map(len, shown.splitlines())) <= columns
    words = " ".join(shown.split())
    assert "handoff finished: closed by large" in words
    assert "940+141 = 1081" in words
    assert words.count("start token 6") == 3


def test_verify(run, log):
    head = verify(log.path).head
    out = run("verify").out
    assert len(out.splitlines()) == 1
    assert head in out
    assert json.loads(run("verify", "--json", "--head", head).out)["ok"] is True
    assert "missing" in run("verify", "--head", "f" * 64, status=2).err


def test_verify_checks_signatures_with_keys_in_files(run, tmp_path, monkeypatch):
    log = AuditLog(tmp_path / "signed.jsonl", key="our secret of some length")
    log.append("test", {})
    own, other = tmp_path / "own.key", tmp_path / "other.key"
    own.write_text("our secret of some length\n")
    other.write_text("the secret of somebody else")
    where = ("--log", log.path)
    assert "1 signatures" in run("verify", *where, "--key-file", other, "--key-file", own).out
    assert "was not given" in run("verify", *where, "--key-file", other, status=2).err
    assert json.loads(run("verify", *where, "--json").out)["signatures"] is None
    monkeypatch.setenv("SPLITREASON_AUDIT_KEY", own.read_text())
    assert json.loads(run("verify", *where, "--json").out)["signatures"] == 1
    assert "cannot be read" in run("verify", *where, "--key-file", tmp_path, status=2).err
    other.write_text("short")
    said = run("verify", *where, "--key-file", other, status=2).err
    assert "16 characters" in said
    assert "short" not in said


def test_a_log_in_several_files_is_one_log(run, tmp_path):
    log = AuditLog(tmp_path / "rotated.jsonl", rotate_mb=0.01)
    for number in range(20):
        log.append("request.started", {"text": "x" * 3000}, request_id=f"{number % 6}-id")
    where = ("--log", log.path)
    assert "is intact" in run("verify", *where).out
    assert len(json.loads(run("show", "4", *where, "--json").out)["records"]) == 3
    assert len(json.loads(run("list", *where, "--json").out)["requests"]) == 6
    first = log.path.with_name("rotated.jsonl.0001")
    end = json.loads(first.read_bytes().splitlines()[-1])["hash"]
    first.unlink()
    assert (
        "rotated.jsonl.0002, line 1: missing: records 1 to" in run("verify", *where, status=2).err
    )
    assert "is intact" in run("verify", *where, "--after", end).out
    listed = run("list", *where, "--json")
    assert len(json.loads(listed.out)["requests"]) == 6
    assert "in a file that is not here" in listed.err


def test_a_break_is_a_failure_in_the_report(run, log, tmp_path):
    log.path.rename(tmp_path / "elsewhere")
    log.append("test", {}, request_id="later")
    page = tmp_path / "report.html"
    run("report", page)
    assert "broken" in page.read_text("utf-8")
    assert "expected hash" in page.read_text("utf-8")


def test_verify_says_which_line_was_changed(run, log):
    log.path.write_bytes(
        log.path.read_bytes().replace(b'"decision":"approve"', b'"decision":"approvE"')
    )
    line = verify(log.path).bad_line
    done = run("verify", status=2)
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert f"line {line}: changed" in done.err
    assert json.loads(run("verify", "--json", status=2).out)["bad_line"] == line
    listed = run("list", "--json")
    assert [one["request_id"] for one in json.loads(listed.out)["requests"]] == [
        "aaa",
        "abb",
        "ccc",
    ]
    assert "damaged" in listed.err


def test_verify_repairs_a_torn_tail_and_nothing_else(run, log):
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + b'{"data":{')
    assert "--repair" in run("verify", status=2).err
    assert "9 bytes" in run("verify", "--repair").out
    assert log.path.read_bytes() == whole
    changed = whole.replace(b"ada", b"eve")
    log.path.write_bytes(changed)
    assert "changed" in run("verify", "--repair", status=2).err
    assert log.path.read_bytes() == changed


def test_report(run, log, tmp_path):
    page = tmp_path / "report.html"
    assert str(page) in run("report", page).out
    assert "ada" in page.read_text("utf-8")
    assert "cannot be written" in run("report", tmp_path / "no" / "x.html", status=2).err


def test_replay(run, log):
    reply = "47*23 =⟦ 940+141 = 1081⟧ cards.\n\nMia has 1081 cards.\n"
    assert run("replay", "aaa").out == reply
    pieces = json.loads(run("replay", "aaa", "--json").out)["pieces"]
    assert [piece["author"] for piece in pieces] == ["small", "large", "small", "small"]
    assert "cancelled" in run("replay", "ccc", status=2).err
    assert "scripted" in run("replay", "aaa", "--again", status=2).err


def test_replay_needs_the_texts(run, tmp_path):
    log = AuditLog(tmp_path / "short.jsonl")
    engine = SplitEngine(small=ScriptedModel(SMALL), large=ScriptedModel(LARGE), audit=log)
    blocking.run(lambda: engine.complete(Request(messages=HELLO, request_id="aaa")))
    assert "content=True" in run("replay", "aaa", "--log", log.path, status=2).err


def test_a_replay_of_the_embedded_pair_is_identical(run, embedded, tmp_path):
    log = AuditLog(tmp_path / "pair.jsonl", content=True)
    engine = SplitEngine(
        trigger=Tag(0.05) | Random(0.2),
        policy=Policy(max_spans=3, max_span_tokens=9),
        audit=log,
    )
    asked = Request(
        messages=HELLO, max_tokens=90, sampling=Sampling(temperature=0.8), request_id="pair"
    )
    reply = blocking.run(lambda: engine.complete(asked))
    assert reply.spans
    assert run("replay", "pair", "--again", "--log", log.path).out.startswith("identical")
    data = json.loads(run("replay", "pair", "--again", "--json", "--log", log.path).out)
    assert data["again"] == data["recorded"] == reply.reasoning + reply.answer


def test_a_replay_that_differs_says_where(log, monkeypatch, run):
    found = load(log.path).request("aaa")

    def again(small, large):
        models = {"small": ScriptedModel(small), "large": ScriptedModel(large)}
        return blocking.run(lambda: run_again(found, **models))

    assert again(SMALL, LARGE).identical
    other = again(SMALL, LARGE.replace("141", "142"))
    assert (other.identical, other.same_tokens) == (False, False)
    assert other.differs_at == len("47*23 = 940+14")
    alone = again(SMALL.replace("<bigmodel>", LARGE.removesuffix("</bigmodel>")), LARGE)
    assert (alone.recorded == alone.again, alone.identical) == (True, False)


def test_settings_of_another_version_are_named(log):
    started = load(log.path).request("aaa").started
    policy = {**started["engine"]["policy"], "max_dreams": 3}
    with pytest.raises(ConfigurationError, match="max_dreams"):
        engine_of({**started["engine"], "policy": policy})
    with pytest.raises(AuditError, match="close"):
        engine_of({n: value for n, value in started["engine"].items() if n != "close"})
    with pytest.raises(AuditError, match="messages"):
        request_of({"seed": 1, "sampling": {}})


def test_a_request_that_is_taken_up_again_counts_by_its_last_end(log):
    assert load(log.path).request("aaa").status == "finished"
    log.append("request.started", {"engine": {}, "request": {}}, request_id="aaa")
    assert load(log.path).request("aaa").status == "unfinished"
    log.append("request.failed", {"error": "OSError"}, request_id="aaa")
    assert load(log.path).request("aaa").status == "failed"


def test_ask_keeps_a_log(monkeypatch, capsys, tmp_path):
    path = tmp_path / "audit.jsonl"

    def ask(*more):
        monkeypatch.setattr(sys, "argv", ["splitreason", "ask", "Hello", "--json", *more])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr()

    assert ask("--audit", str(path))[0] == 0
    assert ask("--audit", str(path), "--audit-content")[0] == 0
    short, full = load(path).requests
    assert "pieces" not in short.finished
    assert full.started["request"]["messages"] == [{"role": "user", "content": "Hello"}]
    status, done = ask("--audit-content")
    assert (status, len(done.err.splitlines())) == (2, 1)
    assert "--audit FILE" in done.err


def test_no_log_is_one_line(run, tmp_path):
    for command in (["list"], ["verify"], ["verify", "--repair"], ["show", "x"], ["replay", "x"]):
        done = run(*command, "--log", tmp_path / "nowhere.jsonl", status=2)
        assert len(done.err.splitlines()) == 1
        assert "nowhere.jsonl" in done.err
