"""A small version of `make bench-memory`: what a long run adds for each case is next to nothing."""

from __future__ import annotations

import os
import subprocess
import sys

from medloupe.evals.bench_memory import pss_of_tree


def test_memory_counts_a_process_and_what_it_started() -> None:
    hold = "import subprocess, sys; kept = bytearray(b'x') * 64_000_000; print(len(kept), flush=True); {}"
    wait = "sys.stdin.read()"
    child = hold.format(wait)
    parent = hold.format(f"subprocess.run([sys.executable, '-c', {child!r}])")
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stdin is not None
        for _ in range(2):  # both hold theirs
            assert running.stdout.readline() == b"64000000\n"
        held = pss_of_tree(running.pid)
        running.stdin.close()
    assert 128e6 < held < 200e6
    assert pss_of_tree(os.getpid()) > 20e6
