"""Write what snippets print into the pages that show it: `python -m build_tools.snippets`."""

import sys

from build_tools.notebooks import notebooks
from build_tools.snippets.documents import STALE, Snippets, pages
from build_tools.snippets.notebooks import executed


def main() -> int:
    """Renew the output in all pages and notebooks; return 1 if any other check fails."""
    failed = False
    for path in pages():
        snippets = Snippets(path)
        snippets.run()
        if snippets.text != path.read_text("utf-8"):
            path.write_text(snippets.text, "utf-8")
            print(f"renewed {path}")
        for fault in snippets.faults:
            if STALE not in fault:
                failed = True
                print(fault, file=sys.stderr)
    for path in notebooks():
        path.write_text(executed(path), "utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
