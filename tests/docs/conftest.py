"""The site, built once for all tests of a run."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.limits import HANGS_S

ROOT = Path(__file__).parents[2]


def build(site):
    """Build the site into a folder, as `make docs` does; return what mkdocs printed."""
    found = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)],
        cwd=ROOT,
        env={
            **os.environ,
            "NO_MKDOCS_2_WARNING": "1",
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "adapters"))),
        },
        capture_output=True,
        text=True,
        timeout=HANGS_S,
    )
    return f"{found.stdout}{found.stderr}" + (
        f"\nstatus {found.returncode}" * (found.returncode != 0)
    )


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The folder of the built site; workers that run at once share one."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    site, printed = shared / "site", shared / "site.txt"
    with (shared / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            printed.write_text(build(site), "utf-8")
    assert not printed.read_text("utf-8")
    return site
