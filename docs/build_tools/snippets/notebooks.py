"""Notebooks, run from their first cell to the last, with outputs that do not change by chance."""

from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

CELL_TIMEOUT_S = 600
"""Ends what hangs; a cell takes seconds."""


def executed(path: Path) -> str:
    """Return the file of a notebook with the outputs of a new run.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell raises.

    """
    notebook: Any = nbformat.read(path, as_version=4)
    kernel = AsyncKernelManager(kernel_name="python3", transport="ipc")
    client = NotebookClient(notebook, km=kernel, timeout=CELL_TIMEOUT_S, coalesce_streams=True)
    client.execute(cleanup_kc=True)
    return written(notebook)


def written(notebook: Any) -> str:
    """Return a notebook's file without counts, times, and facts of the machine."""
    notebook.metadata = {"language_info": {"name": "python"}}
    for number, cell in enumerate(notebook.cells):
        cell.metadata, cell.id = {}, f"cell-{number}"
        if cell.cell_type != "code":
            continue
        cell.execution_count = None
        # What goes to standard error are progress bars, which show times.
        cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = None
    return f"{nbformat.writes(notebook, indent=1, ensure_ascii=False).rstrip()}\n"
