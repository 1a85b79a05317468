"""Role to core on machines that this one is not."""

from __future__ import annotations

import pytest

from ops.placement import Host, cpu_list, place, waiting

PAIRS = {cpu: (cpu % 4, cpu % 4 + 4) for cpu in range(8)}  # 4 cores, two threads each


def test_last_of_two_cpus_is_hot_and_everybody_else_stays_off_it() -> None:
    placement = place(Host((0, 1)))
    assert (placement.feed, placement.execution, placement.house, placement.idle) == ((1,), (1,), (0,), ("yield", "yield"))


def test_one_cpu_backs_off() -> None:
    placement = place(Host((0,)))
    assert placement.idle == ("backoff", "backoff")
    assert placement.house == (0,)


def test_colo_gives_each_loop_an_isolated_core_without_house_on_its_sibling() -> None:
    placement = place(Host(tuple(range(8)), PAIRS, isolated=(2, 3, 6, 7)), colo=True)
    assert placement.idle == ("spin", "spin")
    assert len({placement.feed[0] % 4, placement.execution[0] % 4}) == 2
    assert set(placement.house) == {0, 1, 4, 5}
    assert placement.lacks == ()


def test_colo_without_isolation_spins_on_the_last_cores_and_says_what_is_lacking() -> None:
    placement = place(Host((0, 1, 2, 3)), colo=True)
    assert (placement.feed, placement.execution, placement.house) == ((2,), (3,), (0, 1))
    assert "isolcpus" in placement.lacks[0]


def test_colo_on_two_cpus_yields_and_says_so() -> None:
    placement = place(Host((0, 1), memlock_bytes=8 << 20), colo=True)
    assert placement.idle == ("yield", "yield")
    assert not placement.lock_memory
    assert [word for word in ("isolcpus", "spinning needs 3", "ulimit") if any(word in line for line in placement.lacks)] == [
        "isolcpus",
        "spinning needs 3",
        "ulimit",
    ]


def test_colo_on_one_cpu_runs_all_the_same() -> None:
    assert place(Host((0,)), colo=True).lacks


def test_a_configuration_chooses_how_each_loop_waits_and_auto_leaves_it() -> None:
    shared = place(Host((0, 1)))
    assert waiting(shared, "auto", "auto") == shared
    assert waiting(shared, "backoff", "auto").as_config()["idle"] == {"feed": "backoff", "execution": "yield"}
    assert waiting(shared, "auto", "sleep").idle == ("yield", "sleep")
    alone = place(Host(tuple(range(8)), PAIRS, isolated=(2, 3, 6, 7)), colo=True)
    assert waiting(alone, "yield", "auto").idle == ("yield", "spin")


@pytest.mark.parametrize(("cpus", "colo"), [((0, 1), False), ((0,), False), ((0, 1), True), ((0, 1, 2, 3), False)])
def test_a_loop_that_shares_its_cpu_may_not_spin(cpus: tuple[int, ...], colo: bool) -> None:
    with pytest.raises(ValueError, match="spin needs a cpu of its own"):
        waiting(place(Host(cpus), colo), "auto", "spin")


def test_cpu_lists_of_the_kernel_are_read() -> None:
    assert cpu_list("0-2,5\n") == (0, 1, 2, 5)
    assert cpu_list("\n") == ()


def test_the_watchdog_has_a_house_cpu_of_its_own_choice_and_never_a_hot_one() -> None:
    many = place(Host(tuple(range(8)), isolated=(6, 7)), colo=True)
    assert many.as_config()["watchdog"] == [5]
    assert not set(many.as_config()["watchdog"]) & {*many.feed, *many.execution}
    assert place(Host((0, 1))).as_config()["watchdog"] == [0]
    assert place(Host((0,))).as_config()["watchdog"] == [0]
