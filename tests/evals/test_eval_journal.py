"""A killed run resumes where it stopped, and never with answers of another run."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from splitreason_integrations import SplitEngine, Tag
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.answering import Asking
from splitreason_integrations.evals.journal import NAME, Journal, configuration_key
from splitreason_integrations.evals.runner import Runner, fingerprint
from splitreason_integrations.evals.tasks import generated
from tests.evals.evaluations import outcome
from tests.limits import HANGS_S

SETTINGS = {"seed": 1, "tasks": "abc"}
TEXTS = ({"author": "small", "channel": "answer", "text": "é\x00<b>"},)


def written(folder, *outcomes):
    with Journal(folder, SETTINGS) as journal:
        for at, one in enumerate(outcomes):
            journal.add("split", (at, 0), one)
    return folder / NAME


def found(folder):
    with Journal(folder, SETTINGS) as journal:
        return dict(journal.found("split"))


def test_written_answers_are_read_back(tmp_path):
    outcomes = outcome(True, large=7, texts=TEXTS), outcome(False)
    written(tmp_path / "new" / "folder", *outcomes)
    there = found(tmp_path / "new" / "folder")
    assert there == {(0, 0): outcomes[0], (1, 0): outcomes[1]}
    with Journal(tmp_path / "new" / "folder", SETTINGS) as journal:
        assert journal.found("random") == {}
        journal.add("random", (4, 2), outcomes[0])
        assert list(journal.found("random")) == [(4, 2)]


def test_a_line_torn_anywhere_is_cut_off(tmp_path):
    path = written(tmp_path, outcome(True, texts=TEXTS), outcome(False))
    whole = path.read_bytes()
    last = whole[:-1].rindex(b"\n") + 1
    for end in range(last, len(whole)):
        path.write_bytes(whole[:end])
        assert list(found(tmp_path)) == [(0, 0)]
        assert path.read_bytes() == whole[:last]
    path.write_bytes(whole[:last] + b"\x00" * 40 + b"\n")
    assert list(found(tmp_path)) == [(0, 0)]


def test_a_torn_first_line_begins_again(tmp_path):
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:9])
    assert found(tmp_path) == {}
    assert json.loads(path.read_text())["settings"] == SETTINGS


@pytest.mark.parametrize("line", [b"{]", b"[]", b'{"way": 3}', b"\xff"])
def test_a_damaged_line_is_named(tmp_path, line):
    path = written(tmp_path, outcome(True), outcome(True))
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], line, *lines[2:]]))
    with pytest.raises(RequestError, match=r"line 2: damaged: name another --out"):
        found(tmp_path)


def test_other_settings_are_named(tmp_path):
    written(tmp_path, outcome(True))
    with pytest.raises(RequestError, match=r"seed 1 there, 2 here.*name another --out"):
        Journal(tmp_path, {**SETTINGS, "seed": 2})
    assert list(found(tmp_path)) == [(0, 0)]


def test_one_run_at_a_time_writes(tmp_path):
    with Journal(tmp_path, SETTINGS), pytest.raises(RequestError, match="another run"):
        Journal(tmp_path, SETTINGS)
    assert found(tmp_path) == {}


def test_a_report_of_others_is_left_alone(tmp_path):
    (tmp_path / "report.md").write_text("mine", "utf-8")
    with pytest.raises(RequestError, match="holds a report"):
        Journal(tmp_path, SETTINGS)
    assert [one.name for one in tmp_path.iterdir()] == ["report.md"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="name a folder of your own"):
        Journal(tmp_path / "file", SETTINGS)


def test_keys_differ_by_mode_trigger_and_weights(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"1")
    engine = SplitEngine(small=f"hf:{tmp_path}", large="embedded")
    ways = {
        configuration_key("split", engine),
        configuration_key("random", engine),
        configuration_key("split", replace(engine, trigger=Tag(0.5))),
        configuration_key("split", replace(engine, large=["embedded", f"hf:{tmp_path}"])),
    }
    weights.write_bytes(b"22")
    ways.add(configuration_key("split", engine))
    assert len(ways) == 5


def test_answers_on_disk_are_not_asked_again(tmp_path):
    tasks = generated("test", ["word"], n=3, seed=1)
    runner = Runner(tasks=tasks, asking=Asking(seed=1))
    with Journal(tmp_path, SETTINGS) as journal:
        first = replace(runner, journal=journal).run("split", SplitEngine())
    said = []
    with Journal(tmp_path, SETTINGS) as journal:
        again = replace(runner, journal=journal, progress=lambda *step: said.append(step))
        assert again.run("split", SplitEngine()) == first
    assert said == [("split", 3, 3)]
    assert [one.texts for one in first.outcomes] != [(), (), ()]


def test_a_fingerprint_tells_tasks_apart():
    tasks = generated("test", ["word"], n=2, seed=1)
    others = [replace(tasks[0], answer="7"), tasks[1]]
    assert fingerprint(tasks) == fingerprint(list(tasks))
    assert len({fingerprint(some) for some in (tasks, others, tasks[:1])}) == 3


COMMAND = (
    "import sys; from splitreason_integrations.cli import main\nif __name__ == '__main__': main()\n"
)


def command(path, out, *, processes=1):
    path.write_text(COMMAND)
    arguments = ["eval", "--mode", "small,split", "--samples", "6", "--out", str(out), "--json"]
    return [sys.executable, str(path), *arguments, "--processes", str(processes)]


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "kills"), [(1, (3, 9)), (2, (9,))])
def test_a_killed_run_resumes(tmp_path, processes, kills):
    """Killed and resumed, the figures are those of a run in one go; no answer is twice."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    out, lines = tmp_path / "out", tmp_path / "out" / NAME
    line = command(tmp_path / "run.py", out, processes=processes)
    for wanted in kills:
        with subprocess.Popen(line, stdout=subprocess.DEVNULL, env=environment) as running:
            while not lines.exists() or lines.read_bytes().count(b"\n") < wanted:
                assert running.poll() is None
                time.sleep(0.01)
            running.send_signal(signal.SIGKILL)
        with lines.open("ab") as file:
            file.write(b'{"way": "torn')
    done = subprocess.run(line, capture_output=True, text=True, env=environment, timeout=HANGS_S)
    assert done.returncode == 0, done.stderr
    whole = subprocess.run(
        command(tmp_path / "run.py", tmp_path / "whole", processes=1),
        capture_output=True,
        text=True,
        env=environment,
        timeout=HANGS_S,
    )
    rows, expected = (json.loads(one.stdout)["modes"] for one in (done, whole))
    for name in ("mode", "n", "accuracy", "interval", "tokens", "spans", "offload_share"):
        assert [row[name] for row in rows] == [row[name] for row in expected]
    journal = [json.loads(one) for one in lines.read_text().splitlines()[1:]]
    places = [(one["way"], one["task"], one["sample"]) for one in journal]
    assert len(places) == len(set(places)) == 12
    refused = subprocess.run(
        [*line, "--seed", "5"], capture_output=True, text=True, env=environment, timeout=HANGS_S
    )
    assert refused.returncode == 2
    assert "name another --out" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
