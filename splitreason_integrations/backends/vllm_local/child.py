"""What an engine's process runs first: it ends with its parent, and alone hears of no Ctrl-C.

vLLM's engine outlives a parent that was killed. Its own workers do end with it.
"""

import os

from splitreason_integrations.processes.children import end_with_parent

if __name__ == "__mp_main__":
    # A terminal's Ctrl-C goes to a whole group; the parent says when the engine is to end.
    os.setpgid(0, 0)
    end_with_parent()
