"""What `splitreason doctor` says of each real server, on the page that shows it.

`python -m tests.real_servers.pages` starts the servers that are built here, one after the other,
and renews their blocks; with names, those alone.
"""

import asyncio
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from splitreason_integrations.backends.trials import Finding
from splitreason_integrations.doctor import examine_model
from tests.real_servers.servers import LARGE, ROOT, SERVERS, Served

PAGE = ROOT / "docs" / "how-to" / "servers.md"
_BLOCK = "<!-- doctor: {name} -->\n\n```text\n{text}\n```"
_ADDRESS, _FOLDER = "http://127.0.0.1:8000/v1", "/models/large"
_TIMED = re.compile(r"\d+ ms")


def shown(findings: Sequence[Finding], served: Served) -> str:
    """Return findings in the command's form, with addresses and folders of nobody's machine."""
    named = [
        (one, one.what.replace(served.spec.url, _ADDRESS).replace(LARGE, _FOLDER))
        for one in findings
    ]
    most = max(len(what) for _, what in named)
    return "\n".join(
        f"{'ok' if one.ok else 'wrong':<6}{what:<{most}}  {one.said}" for one, what in named
    )


def untimed(text: str) -> str:
    """Return a text without what differs from run to run."""
    return re.sub(r" +", " ", _TIMED.sub("… ms", text))


def block_of(name: str, page: str) -> str | None:
    """Return what the page shows for a server."""
    pattern = re.escape(_BLOCK.format(name=name, text="@@")).replace("@@", "(.*?)")
    found = re.search(pattern, page, re.DOTALL)
    return None if found is None else found[1]


async def examined(served: Served) -> str:
    """Return what doctor finds of a server's model."""
    findings = [one async for one in examine_model(served.spec, role="large")]
    return shown(findings, served)


def main(names: Sequence[str]) -> int:
    """Renew the blocks of the servers that are built here; return 1 if there is none."""
    renewed = 0
    for server in SERVERS:
        if names and server.name not in names:
            continue
        if server.lacks():
            print(server.reason, file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as folder, server.start(Path(folder)) as served:
            text = asyncio.run(examined(served))
        page = PAGE.read_text("utf-8")
        before = block_of(server.name, page)
        if before is None:
            print(f"{PAGE} has no block for {server.name}", file=sys.stderr)
            return 1
        old, new = (_BLOCK.format(name=server.name, text=one) for one in (before, text))
        if untimed(before) != untimed(text):
            PAGE.write_text(page.replace(old, new), "utf-8")
            print(f"renewed {server.name} on {PAGE}")
        renewed += 1
    return int(not renewed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
