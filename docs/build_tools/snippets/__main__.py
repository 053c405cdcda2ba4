"""Write what snippets print into the pages that show it: `python -m build_tools.snippets`."""

import sys

from build_tools.snippets.documents import STALE, Snippets, pages


def main() -> int:
    """Run the snippets of all pages and renew their output; return 1 if any other check fails."""
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
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
