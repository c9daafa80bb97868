"""The pool: what a worker may not do, what happens when it fails, and that nothing of it reaches the caller."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from pydantic import TypeAdapter
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from medloupe.errors import InputRejected
from medloupe.evals.hostile import plain_ct
from medloupe.limits import DEFAULT, Limits
from medloupe.tools.imaging import MemoryStore, load_study
from medloupe.tools.imaging.wire import BrokenWorkerError, Hello, Replies, Reply, split, unpack_read
from medloupe.tools.imaging.workers import close_pool

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that ended meanwhile
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def workers() -> list[int]:
    """Process ids of the pool's workers: grandchildren of this process, below a server of medloupe's."""
    servers = [pid for pid in children(os.getpid()) if b"imaging._server" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return [worker for server in servers for worker in children(server)]


def is_reading(worker: int, name: str) -> bool:
    try:
        return any(link.readlink().name == name for link in Path(f"/proc/{worker}/fd").iterdir())
    except OSError:  # it ended, or closed one of them, meanwhile
        return False


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A file that takes long to read: it ends in two million empty elements."""
    path = tmp_path / "slow.dcm"
    plain_ct().save_as(path, enforce_file_format=True)
    with path.open("ab") as file:
        file.write(bytes(2**24))
    return path


@pytest.fixture
def fresh_pool() -> Iterator[None]:
    close_pool()
    yield
    close_pool()


def test_a_worker_is_off_the_network_limited_and_without_keys(
    real: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, fresh_pool: None
) -> None:
    monkeypatch.setenv("MEDLOUPE_API_KEY", "sk-secret")
    load_study(real("CT_small.dcm"), MemoryStore())
    worker = Path(f"/proc/{workers()[0]}")
    status = (worker / "status").read_text()
    own_namespace = (worker / "ns/net").readlink() != Path("/proc/self/ns/net").readlink()
    assert own_namespace or "Seccomp:\t2" in status
    limits = (worker / "limits").read_text()
    for name in ("Max address space", "Max file size"):
        line = next(line for line in limits.splitlines() if line.startswith(name))
        assert line.removeprefix(name).split()[:2] == [str(DEFAULT.memory_bytes)] * 2
    environment = (worker / "environ").read_bytes()
    assert b"OPENBLAS_NUM_THREADS=1" in environment
    assert b"secret" not in environment
    assert "Threads:\t1" in status


@pytest.mark.parametrize("way", ["shut_network()", "_deny_sockets(ctypes.CDLL(None))"])
def test_no_connection_can_be_made(way: str) -> None:
    code = f"""
import ctypes, socket
listener = socket.create_server(("127.0.0.1", 0))
from medloupe.tools.imaging._sandbox import _deny_sockets, shut_network
assert {way}
left, right = socket.socketpair(); left.send(b"x"); assert right.recv(1) == b"x"
try:
    socket.create_connection(listener.getsockname(), timeout=5)
except OSError as error:
    print(type(error).__name__)
"""
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout
    assert said.strip() in ("PermissionError", "OSError", "ConnectionRefusedError", "TimeoutError")


def test_a_file_that_takes_too_long_is_refused_and_the_others_are_read(
    slow: Path, ct: Callable[..., Dataset], save: Callable[..., Path], store: MemoryStore
) -> None:
    for n in range(3):
        save(ct(InstanceNumber=n), f"{n}.dcm")
        save(ct(InstanceNumber=9 - n), f"z{n}.dcm")
    quick = Limits(seconds=0.15)
    with pytest.raises(InputRejected) as caught:
        load_study(slow, store, limits=quick)
    assert caught.value.code == "time-limit"
    study = load_study(slow.parent, store, limits=quick)
    assert len(study.images) == 6
    assert "1 of 7 files left out: time-limit." in study.warnings


def test_a_file_that_needs_more_memory_than_is_allowed(tmp_path: Path, store: MemoryStore) -> None:
    PIL.Image.new("RGB", (9000, 9000), (1, 2, 3)).save(tmp_path / "large.png")
    with pytest.raises(InputRejected) as caught:
        load_study(tmp_path / "large.png", store, limits=Limits(memory_bytes=2**29))
    assert caught.value.code in ("too-large", "undecodable", "crashed")


def test_a_worker_that_dies_takes_its_file_with_it_and_nothing_else(
    slow: Path, real: Callable[[str], Path], fresh_pool: None
) -> None:
    with ThreadPoolExecutor(1) as threads:
        loading = threads.submit(load_study, slow, MemoryStore())
        while not workers():
            time.sleep(0.01)
        time.sleep(0.1)
        for worker in workers():
            os.kill(worker, signal.SIGKILL)
        error = loading.exception(timeout=60)
    assert isinstance(error, InputRejected)
    assert error.code == "crashed"
    assert load_study(real("CT_small.dcm"), MemoryStore()).images


def test_a_worker_that_dies_at_its_third_file_costs_that_file_only(
    slow: Path, ct: Callable[..., Dataset], save: Callable[..., Path], fresh_pool: None
) -> None:
    for n in range(40):
        save(ct(InstanceNumber=n), f"{n:02d}.dcm")
    slow.rename(slow.with_name("02z.dcm"))
    with ThreadPoolExecutor(1) as threads:
        loading = threads.submit(load_study, slow.parent, MemoryStore(), limits=Limits(workers=1))
        while not loading.done():  # killed over it twice: with its batch, then by itself
            for worker in workers():
                if is_reading(worker, "02z.dcm"):
                    os.kill(worker, signal.SIGKILL)
        study = loading.result(timeout=60)
    assert len(study.images) == 40
    assert "1 of 41 files left out: crashed." in study.warnings


def test_an_idle_worker_that_died_costs_no_file(real: Callable[[str], Path]) -> None:
    load_study(real("CT_small.dcm"), MemoryStore())
    for worker in workers():
        os.kill(worker, signal.SIGKILL)
    assert load_study(real("CT_small.dcm"), MemoryStore()).images


def test_a_server_that_died_is_started_again(real: Callable[[str], Path]) -> None:
    load_study(real("CT_small.dcm"), MemoryStore())
    server = int(Path(f"/proc/{workers()[0]}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(server, signal.SIGKILL)
    while Path(f"/proc/{server}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
        time.sleep(0.01)
    assert load_study(real("CT_small.dcm"), MemoryStore()).images


def test_several_threads_share_the_pool(real: Callable[[str], Path]) -> None:
    names = ["CT_small.dcm", "MR_small_RLE.dcm", "examples_overlay.dcm", "SC_rgb_rle_2frame.dcm"] * 4
    alone = {name: load_study(real(name), MemoryStore()).id for name in set(names)}
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(lambda name: load_study(real(name), MemoryStore()).id, names))
    assert together == [alone[name] for name in names]
    assert len(workers()) <= DEFAULT.workers


def test_what_native_code_prints_stays_in_the_worker(
    ct: Callable[..., Dataset], save: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    runs = bytes.fromhex("cfeb0fa321d7d982f8bd1045")  # pylibjpeg-rle's Rust panics over these, and prints so
    ds = ct(np.zeros((2, 2), np.uint16))
    ds.file_meta.TransferSyntaxUID = RLELossless
    ds.PixelData = encapsulate([struct.pack("<16I", 2, 64, 70, *[0] * 13) + runs])
    ds["PixelData"].is_undefined_length = True
    with pytest.raises(InputRejected):
        load_study(save(ds), MemoryStore())
    assert capfd.readouterr() == ("", "")


def test_pixels_from_a_worker_can_no_longer_change(real: Callable[[str], Path], store: MemoryStore) -> None:
    image = load_study(real("CT_small.dcm"), store).images[0]
    values = store.get(image.digest)
    assert not values.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        values.flags.writeable = True


def test_closing_the_pool_ends_its_processes(real: Callable[[str], Path]) -> None:
    load_study(real("CT_small.dcm"), MemoryStore())
    pids = workers()
    assert pids
    close_pool()
    assert not workers()
    for _ in range(200):
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            break
        time.sleep(0.01)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_name_that_is_no_text(real: Callable[[str], Path], tmp_path: Path, store: MemoryStore) -> None:
    path = tmp_path / os.fsdecode(b"\xff\xfe.dcm")
    path.write_bytes(real("CT_small.dcm").read_bytes())
    assert load_study(path, store).images


# --- what a worker says ---------------------------------------------------------------------------------------------


def message(body: bytes) -> bytearray:
    return bytearray(struct.pack("!I", len(body)) + body)


WRONG_FRAMES: list[dict[str, object]] = [{"dtype": "|O"}, {"offset": -1}, {"digest": "../../x"}, {"more": 1}]
REPLIES: TypeAdapter[Replies | Hello] = TypeAdapter(Replies)
FRAME = {
    "draft": {"modality": "CT", "width": 4, "height": 2, "values": "HU"},
    "dtype": "<i2", "offset": 0, "digest": "0" * 64, "kind": "DICOM", "file": 0, "study_uid": None, "series_uid": None,
    "series_number": 0, "instance_number": 0,
}  # fmt: skip


def batch(reply: object) -> bytes:
    return json.dumps({"replies": [reply]}).encode()


def said(**frame: object) -> Reply:
    read = {"notes": [], "marks": [], "slides": []}
    replies = split(message(batch({"read": read, "frames": [FRAME | frame]})), REPLIES)
    assert isinstance(replies, Replies)
    return replies.replies[0]


def test_a_frame_is_taken_from_where_it_lies() -> None:
    read = unpack_read(said(offset=2), memoryview(np.arange(9, dtype="<i2").tobytes()))
    assert read is not None
    assert read.frames[0].values.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize(
    "frame", [{"offset": 4}, {"offset": 2**62}, {"dtype": "<i4"}, {"dtype": "|u1"}], ids=lambda frame: str(frame)
)
def test_a_frame_that_does_not_lie_in_the_segment(frame: dict[str, object]) -> None:
    with pytest.raises(BrokenWorkerError):
        unpack_read(said(**frame), memoryview(bytes(18)))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"not json", b"[]", b"{}", batch({"notes": 3}), batch({"rejected": ["a"]}), batch({"frames": [{}]}),
        *(batch({"frames": [FRAME | wrong]}) for wrong in WRONG_FRAMES),
    ],
    ids=lambda body: body[:40].decode(),
)  # fmt: skip
def test_a_worker_that_says_what_it_must_not(body: bytes) -> None:
    with pytest.raises(BrokenWorkerError):
        split(message(body), REPLIES)


def test_a_message_that_is_not_whole_yet_is_waited_for() -> None:
    whole = message(b'{"replies": []}')
    assert split(whole[:5], REPLIES) is None
    with pytest.raises(BrokenWorkerError):
        split(bytearray(b"\xff\xff\xff\xff"), REPLIES)


def test_loads_in_threads_leave_no_thread_behind(real: Callable[[str], Path]) -> None:
    before = threading.active_count()
    load_study(real("CT_small.dcm"), MemoryStore())
    assert threading.active_count() == before
