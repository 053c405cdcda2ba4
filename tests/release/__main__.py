"""Say what a release of this tree still lacks.

`python -m tests.release [CHECK ...]` runs the checks of these names, or all of them in their order,
and ends with a list of what is missing. It changes nothing but `build/`.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = "splitreason_integrations"
FILES = Path("build", "release")
"""Where the wheel and the sdist of the release, and the list of its parts, are left."""

_HEADING = re.compile(
    r"^## \[?([^\]\s]+)\]?(?:[ \t]+[-–]?[ \t]*\(?([^)\n]*?)\)?)?[ \t]*$", re.MULTILINE
)
_ASSIGNED = re.compile(r'^__version__ = "([^"]*)"$', re.MULTILINE)
_FINAL = re.compile(r"\d+\.\d+\.\d+")


class MissingError(Exception):
    """What a release lacks, in one line."""


def version_of(root: Path) -> str:
    """Return the version that `pyproject.toml` gives."""
    return str(tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def check_version(root: Path) -> None:
    """Raise MissingError unless the version is final, the same everywhere, and not tagged yet."""
    version = version_of(root)
    assigned = _ASSIGNED.findall((root / PACKAGE / "__init__.py").read_text("utf-8"))
    if assigned != [version]:
        raise MissingError(f"pyproject.toml has {version}, the package has {', '.join(assigned)}")
    if _FINAL.fullmatch(version) is None:
        raise MissingError(f"{version} is no final version: it must be three numbers")
    if _output(root, "git", "tag", "--list", f"v{version}"):
        raise MissingError(f"the tag v{version} is there already: raise the version")


def check_changelog(root: Path) -> None:
    """Raise MissingError unless the changelog gives the version a date, and nothing is newer."""
    version, text = version_of(root), (root / "CHANGELOG.md").read_text("utf-8")
    headings = list(_HEADING.finditer(text))
    at = next((at for at, one in enumerate(headings) if one[1] == version), None)
    if at is None:
        raise MissingError(
            f"CHANGELOG.md has no heading for {version}; the newest is "
            f"{headings[0][1] if headings else 'none'}"
        )
    ends = [*(one.start() for one in headings[1:]), len(text)]
    newer = [
        one[1]
        for one, end in zip(headings[:at], ends, strict=False)
        if text[one.end() : end].strip()
    ]
    if newer:
        raise MissingError(f"CHANGELOG.md has changes above {version}, under {newer[0]}")
    if not text[headings[at].end() : ends[at]].strip():
        raise MissingError(f"CHANGELOG.md says nothing about {version}")
    given = headings[at][2] or "no date"
    try:
        day = date.fromisoformat(given)
    except ValueError:
        raise MissingError(
            f"CHANGELOG.md has {given!r} for {version}: give the date of the release"
        ) from None
    if day > date.today():
        raise MissingError(f"CHANGELOG.md dates {version} to {day}, which is to come")


def check_tree(root: Path) -> None:
    """Raise MissingError if something is not committed."""
    changed = _output(root, "git", "status", "--porcelain").splitlines()
    if changed:
        raise MissingError(f"not committed: {', '.join(line[3:] for line in changed[:5])}")


def check_files(root: Path) -> None:
    """Build the wheel and the sdist; raise MissingError unless an index would take both."""
    out = root / FILES
    shutil.rmtree(out, ignore_errors=True)
    _run(root, sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out))
    version = version_of(root)
    built = sorted(path.name for path in out.iterdir())
    expected = [f"{PACKAGE}-{version}-py3-none-any.whl", f"{PACKAGE}-{version}.tar.gz"]
    if built != expected:
        raise MissingError(f"{FILES} holds {', '.join(built)}, not {', '.join(expected)}")
    files = [str(out / name) for name in built]
    _run(root, sys.executable, "-m", "twine", "--no-color", "check", "--strict", *files)


def check_parts(root: Path) -> None:
    """List the packages that the release needs, in CycloneDX's form; raise MissingError if none.

    The list has the versions that the tests use, of the extras that `all` names.
    """
    out = root / FILES
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        needed = Path(folder, "requirements.txt")
        compiled = f"--quiet --universal --python-version 3.11 --extra all --output-file {needed}"
        locked = ("--no-emit-index-url", "--constraint", "requirements.lock", "pyproject.toml")
        uv = str(Path(sys.executable).with_name("uv"))
        _run(root, uv, "pip", "compile", *compiled.split(), *locked)
        listed = out / f"{PACKAGE}-{version_of(root)}.cdx.json"
        form = ("--pyproject", "pyproject.toml", "--output-reproducible", "--output-file", listed)
        _run(root, sys.executable, "-m", "cyclonedx_py", "requirements", *form, str(needed))
    parts = json.loads(listed.read_text("utf-8")).get("components", [])
    if "transformers" not in {part["name"] for part in parts}:
        raise MissingError(f"{listed.relative_to(root)} lists {len(parts)} packages")


def check_docs(root: Path) -> None:
    """Build the site; raise MissingError if it has a warning."""
    _run(root, "make", "docs")


def check_installs(root: Path) -> None:
    """Use the wheel in fresh environments; raise MissingError if one fails."""
    _run(root, "make", "test-installs", shown=True)


CHECKS: dict[str, Callable[[Path], None]] = {
    "version": check_version,
    "changelog": check_changelog,
    "tree": check_tree,
    "files": check_files,
    "parts": check_parts,
    "docs": check_docs,
    "installs": check_installs,
}


def main(names: Sequence[str], root: Path = ROOT) -> int:
    """Run the checks of these names, or all; return the exit status."""
    unknown = set(names) - set(CHECKS)
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(CHECKS)}")
        return 2
    missing: dict[str, str] = {}
    for name in names or CHECKS:
        try:
            CHECKS[name](root)
        except MissingError as error:
            missing[name] = str(error)
        print(f"{name:10} {'missing' if name in missing else 'ok'}", flush=True)
    version = version_of(root)
    if missing:
        print(f"{version} is not ready:")
        print("\n".join(f"- {name}: {what}" for name, what in missing.items()))
        return 1
    skipped = [name for name in CHECKS if names and name not in names]
    print(
        f"{version} is ready" + (f", but for {', '.join(skipped)}, not checked" if skipped else "")
    )
    return 0


def _run(root: Path, *command: str, shown: bool = False) -> None:
    """Run a command; raise MissingError with its last line if it fails."""
    done = subprocess.run(
        command,
        cwd=root,
        stdout=None if shown else subprocess.PIPE,
        stderr=None if shown else subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        said = (done.stdout or "").strip().splitlines() or [f"status {done.returncode}"]
        raise MissingError(f"{' '.join(command[:4])} failed: {said[-1]}")


def _output(root: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise MissingError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
