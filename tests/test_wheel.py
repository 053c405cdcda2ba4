"""The built wheel and sdist hold everything they need: code, adapters, weights, policies, pages."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser

import pytest

from splitreason_integrations.settings.policy_files import template_names
from tests.limits import HANGS_S
from tests.test_house import AT_THE_TOP, ROOT

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


def built(kind, out):
    """Build the wheel or the sdist into an empty folder; return its path."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True, timeout=HANGS_S)
    (path,) = out.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return built("wheel", tmp_path_factory.mktemp("wheel"))


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


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    return built("sdist", tmp_path_factory.mktemp("sdist"))


def test_what_the_sdist_holds(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")}
    assert len(pages) > 30
    assert names >= pages | {"mkdocs.yml", "Makefile", "SECURITY.md", "CONTRIBUTING.md"}
    assert names >= {"tests/test_wheel.py", "cookbook/first_answer.py", "PKG-INFO"}
    tops = {name.partition("/")[0] for name in names}
    assert tops <= set(AT_THE_TOP), tops - set(AT_THE_TOP)


RAW = "https://raw.githubusercontent.com/splitreason/splitreason-integrations/main/"
BLOB = "https://github.com/splitreason/splitreason-integrations/blob/main/"
ON_AN_INDEX = {
    "![A picture](docs/a.svg)": f"![A picture]({RAW}docs/a.svg)",
    "[![A picture](docs/a.svg)](docs/a.md)": f"[![A picture]({RAW}docs/a.svg)]({BLOB}docs/a.md)",
    '<img alt="x" src="docs/a.svg">': f'<img alt="x" src="{RAW}docs/a.svg">',
    '<source srcset="docs/a.svg">': f'<source srcset="{RAW}docs/a.svg">',
    '<a href="LICENSE">': f'<a href="{BLOB}LICENSE">',
    "[a](docs/a.md#part), [b](LICENSE)": f"[a]({BLOB}docs/a.md#part), [b]({BLOB}LICENSE)",
    "[here](#part), ![b](https://h/b.png)": "[here](#part), ![b](https://h/b.png)",
}


@pytest.mark.parametrize("line", ON_AN_INDEX)
def test_links_and_images_become_addresses(line):
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]
    page = line
    for one in settings["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        page = re.sub(one["pattern"], one["replacement"], page)
    assert page == ON_AN_INDEX[line]


def test_the_readme_of_a_package_index_leads_to_addresses(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(archive.read(name).decode("utf-8"))
    page = metadata.get_payload()
    assert metadata["Description-Content-Type"] == "text/markdown"
    targets = re.findall(r"\]\(([^)]*)\)|(?:href|src|srcset)=\"([^\"]*)\"", page)
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL"))
    assert urls.keys() >= {"Homepage", "Documentation", "Changelog", "Issues"}
    links = {inline or tag for inline, tag in targets} | set(urls.values())
    assert len(links) > 10
    assert not {link for link in links if not link.startswith(("https://", "#"))}
    assert f"{urls['Homepage']}/blob/main/" == BLOB
    for link in links:
        file = link.partition("#")[0].removeprefix(BLOB).removeprefix(RAW)
        assert not link.startswith((BLOB, RAW)) or (ROOT / file).exists(), link


def test_images_of_a_package_index_are_files_of_the_repository(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    page = archive.read(name).decode("utf-8")
    images = re.findall(r"!\[[^\]]*\]\(([^)]*)\)|(?:src|srcset)=\"([^\"]*)\"", page)
    assert images
    assert all((inline or tag).startswith(RAW) for inline, tag in images), images
