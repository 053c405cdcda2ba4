"""Reads the versions that the tests use from `requirements.lock`."""

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.release.__main__ import ROOT


def locked():
    """Return the locked version of each package that this Python and machine can have."""
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    wanted = (Requirement(line) for line in lines)
    return {
        canonicalize_name(one.name): str(one.specifier).removeprefix("==")
        for one in wanted
        if one.marker is None or one.marker.evaluate()
    }
