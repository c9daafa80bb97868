"""What a process that reads untrusted files gives up: the network, and memory beyond a limit. Linux system calls."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
import sys

__all__ = ["cap_memory", "shut_network"]

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_SIGKILL = 9
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SOCKET = {"x86_64": 41, "aarch64": 198}
_IO_URING_SETUP = 425
"""The same number everywhere; a ring can open sockets without the socket call."""
_X32 = 0x40000000
"""x86-64 numbers from here on are the x32 ABI's: a second way to every call."""
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
"""Classic BPF: load a word of the call's data, jump if equal, jump if at least, return."""
_ALLOW, _DENY = 0x7FFF0000, 0x00050000 | errno.EPERM


def shut_network() -> str | None:
    """How the kernel was made to keep this process and its children off the network; None where it cannot be.

    "namespace" (an empty network namespace, own user namespace where that is needed) or else "seccomp" (no sockets
    can be made). A process must have one thread only.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) == 0 or libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        return "namespace"
    return "seccomp" if _deny_sockets(libc) else None


def _deny_sockets(libc: ctypes.CDLL) -> bool:
    machine = platform.machine()
    if machine not in _SOCKET:
        return False
    code = _program(_AUDIT_ARCH[machine], (_SOCKET[machine], _IO_URING_SETUP))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    sealed = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    return bool(sealed and libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(program), 0, 0) == 0)


def _program(arch: int, denied: tuple[int, ...]) -> bytes:
    """Deny these calls, and every call of another architecture or of x32; allow the rest."""
    checks = len(denied) + 1
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 0, checks + 2, arch), (_LOAD, 0, 0, 0)]  # to deny when the architecture differs
    steps += [(_EQUAL, checks - n, 0, call) for n, call in enumerate(denied)]
    steps += [(_AT_LEAST, 1, 0, _X32), (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _DENY)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def cap_memory(limit: int) -> None:
    """At most `limit` bytes of address space, no larger file (shared memory included), no core dump.

    And an end with the parent's end, on Linux.
    """
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE):
        resource.setrlimit(kind, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(0)
