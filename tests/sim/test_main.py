"""`python -m sim RUN_DIR` as a process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import orjson
import pytest
from websockets.sync.client import connect

ROOT = Path(__file__).parents[2]
KEY = "sk_live_of_the_process_test"


def run_dir(tmp_path, **paper):
    key = tmp_path / "key"
    key.write_text(KEY)
    key.chmod(0o600)
    instrument = {"symbol": "BTC-USDC", "base": "BTC", "quote": "USDC", "kind": "spot", "tick_size": "0.01"}
    instrument |= {"lot_size": "0.00001", "min_quantity": "0.00001", "max_quantity": "10", "min_notional": "10"}
    instrument |= {"maker_fee_ppm": 200, "taker_fee_ppm": 500, "baseline": "0"}
    config = {
        "venue": {"management_key_file": str(key)},
        "paper": {"ws_port": 0, "rest_port": 0, "seed": 7, "speed": 1.0, "balance": "100000", "faults": {}} | paper,
        "instruments": [instrument],
    }
    (tmp_path / "config.json").write_bytes(orjson.dumps(config))
    return tmp_path


def start(directory):
    return subprocess.Popen(
        [sys.executable, "-m", "sim", str(directory)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def ended(process):
    out, err = process.communicate(timeout=20)
    return process.returncode, out, err


def test_process_serves_market_data_and_orders_till_sigterm(tmp_path):
    process = start(run_dir(tmp_path))
    try:
        line = process.stdout.readline()
        assert line.startswith("venue ready ws=ws://127.0.0.1:"), process.stderr.read()
        ws_url, rest_url = (part.split("=", 1)[1] for part in line.split()[2:])
        with connect(ws_url, additional_headers={"X-API-Key": KEY}, compression=None, proxy=None) as ws:
            ws.send('{"action":"subscribe","channels":["ticker","orderbook"],"symbols":["BTC-USDC"]}')
            indices = []
            while len(indices) < 20:
                message = orjson.loads(ws.recv(timeout=10))
                if "index" in message:
                    indices.append(message["index"])
            assert indices == list(range(20))
        ledger = httpx.get(rest_url + "/sim/ledger", headers={"X-API-Key": KEY}, trust_env=False).json()
        assert ledger["market"]["frames"] >= 20
        process.send_signal(signal.SIGTERM)
        code, out, err = ended(process)
        assert (code, out, err) == (0, "", "")
    finally:
        process.kill()
        process.communicate()


def test_port_in_use_is_one_line_and_exit_code_3(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = ended(start(run_dir(tmp_path, rest_port=port)))
    assert (code, out) == (3, "")
    assert err == f"venue: port {port} is in use: stop what listens there, or choose another paper port\n"


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda directory: (directory / "key").chmod(0o644), "chmod 600"),
        (lambda directory: (directory / "config.json").write_text("{"), "venue: "),
        (lambda directory: (directory / "config.json").write_text("{}"), "config.json lacks 'paper'"),
    ],
)
def test_unusable_configuration_is_one_line_and_exit_code_2(tmp_path, spoil, text, capsys):
    from sim.__main__ import main

    spoil(run_dir(tmp_path))
    assert main([str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert text in message
    assert message.count("\n") == 1
    assert KEY not in message
