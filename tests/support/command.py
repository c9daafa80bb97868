"""What tests of the command share."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Medloupe = Callable[..., subprocess.CompletedProcess[str]]
"""The command: arguments, `stdin=`, and environment variables by keyword."""

CANARY = "sk-canary-0123456789"
"""The API key in its environment, to be found nowhere."""
