"""The built wheel holds everything it needs: code, adapters, weights, policies."""

import os
import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from splitreason_integrations.settings.policy_files import template_names
from tests.limits import HANGS_S

ROOT = Path(__file__).parent.parent

ASK = """
from pathlib import Path
import langchain_splitreason, llama_index.llms.splitreason, splitreason_integrations
here = Path({target!r})
for package in (
    langchain_splitreason, llama_index.llms.splitreason, splitreason_integrations
):
    assert Path(package.__file__).is_relative_to(here), package.__file__
reply = langchain_splitreason.SplitReasonLLM().invoke("Hello")
assert reply.content, reply
assert llama_index.llms.splitreason.SplitReasonLLM().complete("Hello").text == reply.content
assert splitreason_integrations.Policy.template("balanced").max_spans
print(reply.response_metadata["splitreason"]["tokens"])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True, timeout=HANGS_S)
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_works_by_itself(wheel, tmp_path):
    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True, timeout=HANGS_S)
    environment = {**os.environ, "PYTHONPATH": str(target), "HF_HUB_OFFLINE": "1"}
    code = ASK.format(target=str(target))
    command = [sys.executable, "-c", code]
    run = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=HANGS_S
    )
    assert run.returncode == 0, run.stderr
    assert "small" in run.stdout


def test_what_the_wheel_holds(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for role in ("small", "large", "base"):
        assert f"splitreason_integrations/embedded/{role}/model.safetensors" in names
    for file in ("audit/page.html", "audit/page.css", "py.typed"):
        assert f"splitreason_integrations/{file}" in names
    for template in template_names():
        assert f"splitreason_integrations/policies/{template}.toml" in names
    assert "langchain_splitreason/py.typed" in names
    assert "llama_index/llms/splitreason/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "adapters/"))]
    assert sum(info.file_size for info in zipfile.ZipFile(wheel).infolist()) < 20_000_000


def test_the_readme_of_a_package_index_leads_to_addresses(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(archive.read(name).decode("utf-8"))
    page = metadata.get_payload()
    assert metadata["Description-Content-Type"] == "text/markdown"
    targets = re.findall(r"\]\(([^)]*)\)|(?:href|src)=\"([^\"]*)\"", page)
    links = {inline or tag for inline, tag in targets}
    assert len(links) > 10
    assert not {link for link in links if not link.startswith(("https://", "#"))}
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL"))
    base = f"{urls['Homepage']}/blob/main/"
    for link in links:
        if link.startswith(base):
            assert (ROOT / link.removeprefix(base)).exists(), link
    assert urls.keys() >= {"Homepage", "Changelog", "Issues"}
