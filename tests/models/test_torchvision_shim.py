"""Each case runs in an interpreter of its own: what was imported before is the point."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "torchvision", "transformers")),
    reason="torch, torchvision or transformers is not installed",
)


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_torchvision_that_cannot_be_imported_can_be_after_it_and_transformers_does_not_see_it():
    out = run(
        "from medloupe.models.torchvision_shim import prepare_torch\n"
        "state = prepare_torch()\n"
        "assert prepare_torch() == state\n"
        "import torchvision, transformers\n"
        "from torchvision.transforms.functional import resize\n"
        "from transformers.utils import is_torchvision_available\n"
        "print(state, is_torchvision_available(), transformers.CLIPImageProcessor.__name__)\n"
    )
    state, seen, processor = out.split()
    assert state in ("compiled", "shimmed")
    if state == "shimmed":
        assert (seen, processor) == ("False", "CLIPImageProcessorPil")
    else:
        assert seen == "True"


def test_it_says_shimmed_exactly_where_torchvision_alone_does_not_import():
    out = run(
        "import subprocess, sys\n"
        "alone = subprocess.run([sys.executable, '-c', 'import torchvision'], capture_output=True).returncode == 0\n"
        "from medloupe.models.torchvision_shim import prepare_torch\n"
        "print(alone, prepare_torch())\n"
    )
    assert out in ("True compiled", "False shimmed")


def test_called_after_transformers_was_imported_it_still_hides_torchvision():
    out = run(
        "import transformers\n"
        "from transformers.utils import is_torchvision_available\n"
        "assert is_torchvision_available()\n"
        "from medloupe.models.torchvision_shim import prepare_torch\n"
        "print(prepare_torch(), is_torchvision_available())\n"
    )
    assert out in ("compiled True", "shimmed False")


def test_without_torch_there_is_nothing_to_do():
    out = run(
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from medloupe.models.torchvision_shim import prepare_torch\n"
        "print(prepare_torch())\n"
    )
    assert out == "absent"
