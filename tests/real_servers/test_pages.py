"""What can be held of the real servers without starting one."""

import re

import pytest

from tests.real_servers import build_llama_cpp
from tests.real_servers.pages import PAGE, block_of, untimed
from tests.real_servers.servers import ROOT, SERVERS


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_the_page_shows_what_doctor_finds(server):
    shown = block_of(server.name, PAGE.read_text("utf-8"))
    assert shown, "run make docs-doctor"
    lines = shown.splitlines()
    assert all(line.startswith("ok ") for line in lines)
    assert f"large model speaks {server.found.in_words}" in untimed(lines[1])
    assert re.search(r"large model (writes|stops)", shown)
    assert not re.search(r"127\.0\.0\.1:(?!8000)|/(home|root|tmp)/", shown)


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_its_target_is_there(server):
    assert f"\n{server.target}: " in (ROOT / "Makefile").read_text("utf-8")
    assert server.target in server.reason


def test_no_server_is_built_without_a_compiler(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build_llama_cpp.shutil, "which", lambda _: None)
    monkeypatch.setattr(build_llama_cpp, "build", lambda *_: pytest.fail("it was built"))
    build_llama_cpp.main(tmp_path)
    assert "there is no C++ compiler" in capsys.readouterr().out


def test_a_server_that_is_built_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(build_llama_cpp, "build", lambda *_: pytest.fail("it was built again"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "llama-server").touch()
    build_llama_cpp.main(tmp_path)
