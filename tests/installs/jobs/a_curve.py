"""The picture of a short calibration over two servers; no torch."""

import subprocess
import sys
from pathlib import Path

from modules import import_all


def main(small: str, large: str) -> None:
    """Calibrate on two prompts, and draw the curve."""
    command = [Path(sys.executable).with_name("splitreason"), "calibrate", "--max-share", "0.3"]
    command += ["--point"]  # two prompts give no interval
    command += ["--small", f"{small}#large", "--large", f"{large}#large"]
    command += ["--samples", "2", "--runs", "1", "--resamples", "1000", "--plot", "curve.png"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert Path("curve.png").read_bytes().startswith(b"\x89PNG")
    import_all(without={"torch", "langchain_core", "llama_index.core", "opentelemetry"})


if __name__ == "__main__":
    main(*sys.argv[1:])
