"""transformers' own OpenAI-compatible server, started so that it works beside any torchvision.

    python -m medloupe.models.serve FOLDER --port 8000

The bare `transformers serve` fails on every picture where torchvision's compiled operators do not fit the torch that is
installed (see torchvision_shim). Listens on loopback only, unless told otherwise.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

__all__ = ["image_processor_of", "main", "serve"]


def image_processor_of(folder: str) -> str:
    """Class of the image processor that a model folder gets here, from the server and from LocalVLM alike."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from medloupe.models.torchvision_shim import prepare_torch

    prepare_torch()
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return type(processor.image_processor).__name__


def serve(folder: str, *, host: str = "127.0.0.1", port: int = 8000, device: str = "auto", dtype: str = "auto") -> None:
    """Serve one model folder until interrupted. The model is called by the folder's path, as given.

    dtype: "auto" is what the weights are stored in; LocalVLM computes in float32 on a CPU.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from medloupe.models.torchvision_shim import prepare_torch

    prepare_torch()
    from transformers.cli.serve import Serve

    Serve(force_model=folder, host=host, port=port, device=device, dtype=dtype, trust_remote_code=False)


def main() -> int:
    """The command; 2 when the folder holds no model or transformers' server is not installed."""
    parser = argparse.ArgumentParser(prog="python -m medloupe.models.serve", description=serve.__doc__)
    parser.add_argument("folder", help="a Hugging Face image-text-to-text folder")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    arguments = parser.parse_args()
    if not (Path(arguments.folder) / "config.json").is_file():
        sys.stderr.write(f"{arguments.folder} is not a model folder (it holds no config.json)\n")
        return 2
    where = {"host": arguments.host, "port": arguments.port}
    try:
        serve(arguments.folder, **where, device=arguments.device, dtype=arguments.dtype)
    except ImportError:
        sys.stderr.write(
            'transformers\' server is not available here; install it with: pip install "medloupe[local]"\n'
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
