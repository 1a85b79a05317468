"""From the command line to the decision what to run, and the one failure that must never arm."""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from ops import exits, instance, panels, paper
from ops import run as running
from ops.cli import app
from ops.config import Config, ConfigError
from ops.figures import snapshot
from ops.instance import Paths
from ops.run import Options, Screen, warm, with_options
from ops.supervisor import StartError, Supervisor

FRAME = '1723161254087891268 {"stream":"b","data":{"u":9,"s":"BTCUSDT","b":"1.10","B":"1.5","a":"1.12","A":"0.1"}}\n'


def test_command_line_changes_only_what_it_names() -> None:
    changed = with_options(Config(), Options(name="other", signal="rules", speed=10.0))
    assert (changed.name, changed.signal.source, changed.paper.speed) == ("other", "rules", 10.0)
    assert changed.limits == Config().limits
    assert changed.instruments == Config().instruments


def test_recording_replaces_the_instruments(tmp_path: pathlib.Path) -> None:
    (tmp_path / "recording").write_text(FRAME)
    changed = with_options(Config(), Options(data=str(tmp_path / "recording")))
    assert [one.symbol for one in changed.instruments] == ["BTCUSDT"]
    assert changed.strategies[0].symbols == ()


def test_unknown_name_of_an_instance_is_refused() -> None:
    with pytest.raises(ConfigError, match="command line: name"):
        with_options(Config(), Options(name="../elsewhere"))


def test_wrong_configuration_ends_with_one_line_and_code_2(tmp_path: pathlib.Path, where: Paths) -> None:
    file = tmp_path / "pulex.toml"
    file.write_text("[lease]\nttl_ms = 200\n")
    result = CliRunner().invoke(app, ["run", "--config", str(file)])
    assert result.exit_code == exits.CONFIG
    assert result.stderr == "pulex: pulex.toml: lease.ttl_ms: unknown key; write ttl_ns: the unit here is ns, not ms\n"


@pytest.mark.parametrize("command", [["stats", "--once"], ["status"], ["kill", "--reason", "test"]])
def test_command_without_a_running_instance_ends_with_code_8(command: list[str], where: Paths) -> None:
    result = CliRunner().invoke(app, [*command, "--name", "absent"])
    assert result.exit_code == exits.ABSENT
    assert "pulex run" in result.stderr


def test_stats_print_one_json_object(where: Paths, config: dict[str, Any]) -> None:
    result = CliRunner().invoke(app, ["stats", "--once", "--json", "--name", "test"])
    assert json.loads(result.stdout)["schema"] == "pulex.stats/1"


def test_failing_revocation_fails_the_kill_test_at_the_real_exchange(where: Paths, config: dict[str, Any]) -> None:
    config["paper"]["faults"] = {"revoke": "fail"}
    config["config_hash"] = instance.config_hash(config)
    instance.write(where, config)
    supervisor = Supervisor(config, where, lambda text: None, waves=())
    try:
        with pytest.raises(StartError, match="kill test failed") as caught:
            supervisor.start(lambda: None)
        ledger = paper.ledger(config)
    finally:
        supervisor.stop_house()
        supervisor.stop_all()
    assert caught.value.code == exits.KILL_TEST
    assert ledger is not None
    assert paper.kill_test(ledger, supervisor.kill_test)["result"] == "fail"
    assert not supervisor.armed


@pytest.fixture
def house(where: Paths, config: dict[str, Any], request: pytest.FixtureRequest) -> Iterator[tuple[Supervisor, list[str]]]:
    """The real exchange, with the faults of the parameter, and the real watchdog; nobody trades."""
    config["paper"]["faults"] = getattr(request, "param", {})
    config["config_hash"] = instance.config_hash(config)
    instance.write(where, config)
    said: list[str] = []
    supervisor = Supervisor(config, where, said.append, waves=())
    supervisor.try_arm = lambda: True  # type: ignore[method-assign]
    supervisor.start(lambda: None)
    yield supervisor, said
    supervisor.stop_house()
    supervisor.stop_all()


@pytest.mark.parametrize("house", [{"revoke": "absent"}], indirect=True)
def test_an_exchange_that_cannot_revoke_is_not_proven_on_every_screen(house: tuple[Supervisor, list[str]]) -> None:
    supervisor, said = house
    assert any(line.startswith("kill test NOT PROVEN: the venue cannot revoke keys") for line in said)
    figures = snapshot(supervisor.pages, supervisor.config)
    assert figures["lease"]["kill_test"] == "not_proven"
    assert "NOT PROVEN" in panels.head(figures).plain


def test_the_start_test_and_a_drill_are_seen_in_the_ledger_of_the_real_exchange(house: tuple[Supervisor, list[str]]) -> None:
    supervisor, _ = house
    result = CliRunner().invoke(app, ["kill", "--drill", "--name", "test"])
    assert result.exit_code == exits.OK, result.output
    assert [line.split()[0] for line in result.output.splitlines()] == ["create", "use", "revoke", "probe", "kill"]
    ledger = paper.ledger(supervisor.config)
    assert ledger is not None
    tried = [key for key in ledger["keys"] if key["label"].endswith("-killtest")]
    assert len(tried) == 2  # the start test, then the drill
    for key in tried:
        refused = [use["ts"] for use in key["refused"] if use["detail"] == "401 POST /v1/orders"]
        assert key["created_ts"] < key["revoked_ts"] <= refused[0]
    figures = snapshot(supervisor.pages, supervisor.config)
    assert figures["lease"]["drill"]["result"] == "pass"
    assert abs(figures["lease"]["drill"]["wall_s"] - time.time()) < 60
    assert "PASS" in panels.drill(figures["lease"]["drill"], time.time()).plain


def test_compile_that_fails_is_one_line_that_names_the_log(
    where: Paths, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "WARM", ["-c", "print('warm 1/2 feed loop 0.1'); raise SystemExit('no compiler here')"])
    supervisor = Supervisor(config, where, lambda text: None, waves=())
    prepared = running.Prepared(config, where, -1, frozenset(config["placement"]["house"]))
    with pytest.raises(StartError, match=r"did not compile: no compiler here \(log: .*warm\.log\)") as caught:
        warm(prepared, supervisor, Screen())
    assert caught.value.code == exits.WARM
