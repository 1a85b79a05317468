"""Orders that leave without permission: what is held against an engine, and what is not."""

from __future__ import annotations

from tests.watchdog.test_watchdog_lease import World


def lapsed(world: World) -> World:
    """A lease that lapsed because the feed is silent, of a loop that goes on."""
    world.granted()
    world.standing = "feed_silent"
    assert world.step() == "lapse"
    return world


def test_orders_after_a_lapse_are_a_kill() -> None:
    world = lapsed(World())
    assert [world.step() for _ in range(5)] == ["none"] * 5
    assert world.step(orders=1) == "kill"
    assert world.fault == "unleased"


def test_orders_of_the_pass_that_the_lapse_overtook_are_not_held_against_it() -> None:
    world = lapsed(World())
    stopped = world.beat
    for _ in range(20):  # stopped between its check and its send
        world.step(passes=0)
    world.beat = stopped._replace(passes=stopped.passes + 1, orders_sent=stopped.orders_sent + 3)  # with the clock of then
    assert world.step(passes=0) == "none"
    assert {world.step() for _ in range(10)} == {"none"}


def test_orders_before_the_first_grant_of_an_epoch_are_a_kill() -> None:
    world = World()
    assert {world.step(armed=False) for _ in range(3)} == {"none"}
    assert world.step(armed=False, orders=1) == "kill"
    assert world.fault == "unleased"


def test_orders_under_a_renewed_permission_are_none_of_it() -> None:
    world = World()
    for _ in range(5):
        world.step(armed=False)
    assert world.step() == "grant"
    assert {world.step(orders=1) for _ in range(50)} == {"grant", "none"}
