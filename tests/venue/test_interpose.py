"""Calls that compiled code makes into libc go through a library that the environment preloads, as a kernel-bypass stack is.

A process of its own runs the kernels with a shim in front of libc; its counts are read right before and after. Plain
sessions call ``recv`` and ``send``, TLS sessions ``read`` and ``write``.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from tls_kit import Authority

HERE = pathlib.Path(__file__).resolve().parent
CALLS = 50
CHILD = """
import ctypes, json, pathlib, sys
import numpy as np
from tls_kit import Session
from venue import session, transport

shim = ctypes.CDLL(None)
shim.interposed.restype = ctypes.c_long
counts = lambda: [shim.interposed(k) for k in range(4)]
calls, data, told = int(sys.argv[1]), np.zeros(64, np.uint8), {}
certificate, authority = map(pathlib.Path, sys.argv[2:])
for name, file in (("plain", None), ("tls", certificate)):
    one = Session(file, authority, lambda sock: [None for _ in iter(lambda: sock.recv(4096), b"")])
    session.fill(one.row), transport.transmit(one.row, data.ctypes.data, 64)  # compiled, and a session ticket is read
    while session.fill(one.row):
        pass
    before = counts()
    for _ in range(calls):
        session.fill(one.row)
    between = counts()
    for _ in range(calls):
        assert transport.transmit(one.row, data.ctypes.data, 64) == 64
    after = counts()
    told[name] = [[b - a for a, b in zip(x, y)] for x, y in ((before, between), (between, after))]
    one.close()
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[int]]]:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("NOT PROVEN that libc calls stay interposable: no C compiler to build the shim with")
    folder = tmp_path_factory.mktemp("shim")
    library, authority = folder / "interpose.so", Authority(folder)
    source = HERE / "native" / "interpose.c"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    environment = dict(os.environ, LD_PRELOAD=str(library), PYTHONPATH=f"{HERE}{os.pathsep}{HERE.parent.parent}")
    command = [sys.executable, "-c", CHILD, str(CALLS), str(authority.issue("localhost")), str(authority.file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[list[int]]] = json.loads(done.stdout)
    return found


RECV, SEND, READ, WRITE = range(4)


def test_plain_sessions_receive_and_send_through_the_preloaded_library(told: dict[str, list[list[int]]]) -> None:
    received, sent = told["plain"]
    assert received[RECV] >= CALLS
    assert sent[SEND] >= CALLS


def test_tls_sessions_read_and_write_through_the_preloaded_library(told: dict[str, list[list[int]]]) -> None:
    received, sent = told["tls"]
    assert received[READ] >= CALLS
    assert sent[WRITE] >= CALLS
