"""Builds llama.cpp's server from the sources in llama-cpp-python's sdist.

`python -m tests.real_servers.build_llama_cpp FOLDER` puts `bin/llama-server` into an environment
that has cmake and ninja of the package index. What is there already is kept. Without a compiler
nothing is built, and the tests say so.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PINS = Path(__file__).parents[2] / "constraints-servers.txt"
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "CMAKE_C_FLAGS_RELEASE": "-O2",
    "CMAKE_CXX_FLAGS_RELEASE": "-O1",
    "BUILD_SHARED_LIBS": "OFF",
    "GGML_NATIVE": "OFF",
    "GGML_OPENMP": "OFF",
    "LLAMA_BUILD_COMMON": "ON",
    "LLAMA_BUILD_TOOLS": "ON",
    "LLAMA_BUILD_SERVER": "ON",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_OPENSSL": "OFF",
}
"""A small model needs no fast code: a build takes half the time so."""


def sources(folder: Path) -> Path:
    """Download the sdist and unpack llama.cpp out of it."""
    download = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--constraint", PINS]
    command = [sys.executable, "-m", "pip", *download, "--dest", folder, "llama-cpp-python"]
    subprocess.run(command, check=True)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as files:
        wanted = [one for one in files if "/vendor/llama.cpp/" in one.name]
        files.extractall(folder, wanted, filter="data")
    return folder / sdist.name.removesuffix(".tar.gz") / "vendor" / "llama.cpp"


def build(environment: Path, folder: Path) -> None:
    """Compile the server alone, and put it beside the environment's commands."""
    tools = environment / "bin"
    settings = [f"-D{name}={value}" for name, value in OPTIONS.items()]
    made = folder / "build"
    path = {"PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}"}
    cmake = [tools / "cmake", "-S", sources(folder), "-B", made, "-G", "Ninja", *settings]
    subprocess.run(cmake, check=True, env={**os.environ, **path}, stdout=subprocess.DEVNULL)
    jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 1))
    command = [tools / "cmake", "--build", made, "--target", "llama-server", "--parallel", jobs]
    subprocess.run(command, check=True, env={**os.environ, **path})
    shutil.copy2(made / "bin" / "llama-server", tools / "llama-server")


def main(environment: Path) -> None:
    """Build the server unless it is there, or there is no compiler."""
    if (environment / "bin" / "llama-server").is_file():
        return
    if not shutil.which(os.environ.get("CXX", "c++")):
        print("llama.cpp is not built, and its tests are not run: there is no C++ compiler")
        return
    with tempfile.TemporaryDirectory() as folder:
        build(environment, Path(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
