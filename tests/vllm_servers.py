"""Starts vLLM's servers on the embedded pair, in the environment that `make test-vllm` builds."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from importlib.util import find_spec

import httpx

from splitreason_integrations.embedded import path

PYTHON = os.environ.get("SPLITREASON_VLLM_PYTHON") or (find_spec("vllm") and sys.executable)
STARTS_IN_S = 300
# Block sizes are multiples of 32 on CPU; the default of 128 caches no short prompt.
ARGUMENTS = ["--dtype", "float32", "--enforce-eager", "--block-size", "32"]
SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@contextmanager
def vllm(member, log, *, key=""):
    """Serve a member of the embedded pair; give the process and the address of its API."""
    port = free_port()
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--model", str(path(member)), "--served-model-name", member]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *ARGUMENTS],
            env={**os.environ, **SETTINGS, **({"VLLM_API_KEY": key} if key else {})},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process, f"http://127.0.0.1:{port}/v1"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def wait_for(process, url, log):
    """Return once a server answers; raise where it ends or takes too long."""
    late_s = time.monotonic() + STARTS_IN_S
    while time.monotonic() < late_s:
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        with suppress(httpx.TransportError):
            if httpx.get(url.replace("/v1", "/health")).status_code == httpx.codes.OK:
                return
        time.sleep(0.5)
    raise AssertionError(f"vLLM did not start in {STARTS_IN_S} s")
