"""Lists that tools read agree with the Makefile, and have the form that their readers expect."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.limits import HANGS_S
from tests.release.__main__ import ROOT
from tests.release.locked import locked

FORMS = {
    ".github/ISSUE_TEMPLATE/bug.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/feature.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/question.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    ".github/workflows/ci.yml": "vendor.github-workflows",
    ".github/workflows/packages.yml": "vendor.github-workflows",
}


def recipe(target):
    """Return the commands of a target of the Makefile, as the shell gets them."""
    text = (ROOT / "Makefile").read_text("utf-8")
    (found,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", text, re.M)
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in found.splitlines()]


def test_pre_commit_runs_what_make_lint_runs():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    (repository,) = config["repos"]
    hooks = repository["hooks"]
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in hooks] == recipe("lint")
    for hook in hooks:
        assert (hook["language"], hook["pass_filenames"], hook["always_run"]) == (
            "system",
            False,
            True,
        )


def test_the_workflow_runs_what_must_hold():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    runs = [step["run"] for step in workflow["jobs"]["all"]["steps"] if "run" in step]
    assert runs == [".ci/run"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def requirements():
    """Return what the package, its extras within `all` and the group `dev` ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"]
    (every,) = map(Requirement, extras["all"])
    groups = project["dependency-groups"]
    named = [line for line in groups["dev"] if isinstance(line, str)]
    listed = [*project["project"]["dependencies"], *named, *groups["docs"]]
    return map(Requirement, listed + [line for extra in every.extras for line in extras[extra]])


def test_the_lock_has_what_is_asked_for_and_the_pinned_versions():
    versions = locked()
    for one in requirements():
        assert one.specifier.contains(versions[canonicalize_name(one.name)], prereleases=True), one
    pins = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    for name, _, pin in (line.partition("==") for line in pins if "==" in line):
        assert versions.get(canonicalize_name(name), pin) == pin


def test_the_tests_run_with_the_locked_versions():
    """A platform's own packages, such as those of CUDA, need not be there."""
    other = {}
    for name, wanted in locked().items():
        try:
            found = version(name)
        except PackageNotFoundError:
            continue
        if found.partition("+")[0] != wanted:
            other[name] = (found, wanted)
    assert not other, "make setup again"


def test_the_packages_are_asked_about_every_week():
    workflow = yaml.safe_load((ROOT / ".github/workflows/packages.yml").read_text("utf-8"))
    runs = [step["run"] for step in workflow["jobs"]["audit"]["steps"] if "run" in step]
    assert runs == ["make audit-packages"]
    assert "--strict" in " ".join(recipe("audit-packages"))


def test_every_issue_form_asks_for_the_output_of_doctor():
    forms = [file for file, schema in FORMS.items() if schema.endswith("issue-forms")]
    assert {f"{ROOT}/{file}" for file in FORMS if "ISSUE" in file} == set(
        map(str, (ROOT / ".github/ISSUE_TEMPLATE").iterdir())
    )
    for file in forms:
        fields = yaml.safe_load((ROOT / file).read_text("utf-8"))["body"]
        labels = [field["attributes"].get("label", "") for field in fields]
        assert "Output of `splitreason doctor --json`" in labels


@pytest.mark.parametrize("file", FORMS)
def test_the_form_of_a_file_is_what_its_reader_expects(file):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", FORMS[file]]
    subprocess.run([*command, ROOT / file], check=True, capture_output=True, timeout=HANGS_S)
