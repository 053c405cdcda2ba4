"""A round of every kind of faults; `make test-faults` plays them for an hour."""

from collections import Counter

import pytest

from tests.faults import __main__ as command
from tests.faults import suite

SEED = 7


@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize("name", suite.KINDS)
def test_what_is_promised_holds(name):
    tally = suite.run([name], seed=SEED, ends=lambda number: number == 1)[name]
    assert not tally.violations, tally.violations[0]["said"]
    assert tally.rounds == 1
    assert tally.counted.total() > 4


class Broken:
    """Every second draw does not hold."""

    name = "broken"

    def round(self, rng, folder):
        assert rng.random() < 0.5, "a token is lost"
        return Counter(requests=1)

    def close(self):
        self.name = "closed"


def test_what_does_not_hold_is_reported_and_can_be_played_again(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(suite, "KINDS", {"broken": Broken})
    monkeypatch.setattr(command, "KINDS", {"broken": Broken})
    rounds = suite.run(["broken"], seed=1, ends=lambda number: number == 20)["broken"]
    wrong = [one["round"] for one in rounds.violations]
    assert 0 < len(wrong) < 20
    assert rounds.counted["requests"] == 20 - len(wrong)
    for number in range(3):
        status = command.main(["--seed", "1", "--round", str(number)])
        assert status == int(number in wrong)
        assert ("a token is lost" in capsys.readouterr().err) is (number in wrong)


def test_the_report_has_what_each_kind_did(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "KINDS", {"broken": Broken})
    monkeypatch.setattr(suite, "KINDS", {"broken": Broken})
    file = tmp_path / "faults.json"
    assert command.main(["--seconds", "0.2", "--seed", "1", "--report", str(file)]) == 1
    said = capsys.readouterr()
    assert file.read_text("utf-8") in said.out
    assert "again: python -m tests.faults --kind 'broken' --seed 1 --round " in said.err
