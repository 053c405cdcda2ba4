"""Processes that work for this one end when it does."""

import subprocess
import sys

from tests.process_groups import ends

PARENT = """
import multiprocessing, time
from splitreason_integrations.processes.children import end_with_parent

def work():
    print("started", flush=True)
    time.sleep(1)  # the parent is killed meanwhile
    end_with_parent()
    time.sleep(600)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=work).start()
    time.sleep(600)
"""


def test_a_process_ends_with_a_parent_that_was_killed_before_it_looked(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout.readline() == "started\n"
        process.kill()
        process.wait()
        assert ends(process.pid)
