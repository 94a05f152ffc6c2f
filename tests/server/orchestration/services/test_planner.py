from __future__ import annotations

from drover.server.orchestration.services.digest import Digest, Status
from drover.server.orchestration.services.planner import LARGEST_STEP, converged, plan
from drover.server.orchestration.services.spec import ServiceSpec
from drover.server.store import Record
from tests.server.orchestration.services.builders import add_member, add_unit, service_spec

SIDEKICK = {"name": "side", "imageUuid": "docker:side", "networkLaunchConfig": "web"}


def digest_of(spec: ServiceSpec) -> Digest:
    return Digest(spec)


def test_missing_units_take_the_lowest_free_indexes() -> None:
    digest = digest_of(service_spec(scale=4))
    add_unit(digest, 2, primary="running")
    steps = plan(digest.spec, digest, hosts=())
    assert [new.index for new in steps.new_units] == [1, 3, 4]


def test_surplus_units_go_youngest_first() -> None:
    digest = digest_of(service_spec(scale=1))
    units = [add_unit(digest, index, primary="running") for index in (1, 2, 3)]
    steps = plan(digest.spec, digest, hosts=())
    assert [unit.uuid for unit in steps.remove_units] == [units[2], units[1]]


def test_a_stopped_member_is_started() -> None:
    digest = digest_of(service_spec(scale=1))
    add_unit(digest, 1, primary="stopped")
    steps = plan(digest.spec, digest, hosts=())
    assert [member.state for member in steps.start] == ["stopped"]


def test_start_once_members_stay_stopped_after_they_ran() -> None:
    spec = service_spec(scale=1, launchConfig={"labels": {"io.rancher.container.start_once": "true"}})
    digest = digest_of(spec)
    add_unit(digest, 1, primary={"state": "stopped", "startCount": 1})
    steps = plan(spec, digest, hosts=())
    assert converged(spec, digest, steps)


def test_start_once_members_that_never_ran_are_started() -> None:
    spec = service_spec(scale=1, launchConfig={"labels": {"io.rancher.container.start_once": "true"}})
    digest = digest_of(spec)
    add_unit(digest, 1, primary={"state": "stopped", "startCount": 0})
    assert len(plan(spec, digest, hosts=()).start) == 1


def test_a_missing_sidekick_is_made_again_in_its_unit() -> None:
    spec = service_spec(scale=1, secondaryLaunchConfigs=[SIDEKICK])
    digest = digest_of(spec)
    unit = add_unit(digest, 1, primary="running")
    steps = plan(spec, digest, hosts=())
    assert [(each.uuid, config.name) for each, config in steps.new_members] == [(unit, "side")]
    assert not steps.remove_members


def test_members_that_depend_on_a_missing_one_are_remade_with_it() -> None:
    spec = service_spec(scale=1, secondaryLaunchConfigs=[SIDEKICK])
    digest = digest_of(spec)
    add_unit(digest, 1, side="running")
    steps = plan(spec, digest, hosts=())
    assert [member.config for member in steps.remove_members] == ["side"]
    assert not steps.new_members


def test_a_broken_member_is_removed_and_the_unit_kept() -> None:
    spec = service_spec(scale=1, secondaryLaunchConfigs=[{"name": "side", "imageUuid": "docker:side"}])
    digest = digest_of(spec)
    add_unit(digest, 1, primary="running", side="error")
    steps = plan(spec, digest, hosts=())
    assert [member.config for member in steps.remove_members] == ["side"]
    assert not steps.new_units
    assert not steps.remove_units


def test_unhealthy_units_are_recreated_by_default() -> None:
    digest = digest_of(service_spec(scale=1, launchConfig={"healthCheck": {"port": 80}}))
    add_unit(digest, 1, primary={"state": "running", "healthState": "unhealthy"})
    assert len(plan(digest.spec, digest, hosts=()).remove_members) == 1


def test_the_strategy_none_keeps_unhealthy_units() -> None:
    digest = digest_of(service_spec(scale=1, launchConfig={"healthCheck": {"port": 80, "strategy": "none"}}))
    add_unit(digest, 1, primary={"state": "running", "healthState": "unhealthy"})
    assert not plan(digest.spec, digest, hosts=()).any


def test_recreation_waits_for_the_quorum() -> None:
    check = {
        "port": 80,
        "strategy": "recreateOnQuorum",
        "recreateOnQuorumStrategyConfig": {"quorum": 2},
    }
    digest = digest_of(service_spec(scale=3, launchConfig={"healthCheck": check}))
    add_unit(digest, 1, primary={"state": "running", "healthState": "unhealthy"})
    add_unit(digest, 2, primary={"state": "running", "healthState": "unhealthy"})
    add_unit(digest, 3, primary={"state": "running", "healthState": "healthy"})
    assert not plan(digest.spec, digest, hosts=()).remove_members
    other = next(iter(digest.units["unit-2"].members.values()))
    digest.see_instance(other.record.merged({"healthState": "healthy"}))
    assert len(plan(digest.spec, digest, hosts=()).remove_members) == 1


def test_a_global_service_covers_each_host_once() -> None:
    spec = service_spec(launchConfig={"labels": {"io.rancher.scheduler.global": "true"}})
    digest = digest_of(spec)
    add_unit(digest, 1, host=7, requested=7, primary="running")
    double = add_unit(digest, 2, host=7, requested=7, primary="running")
    steps = plan(spec, digest, hosts={7, 8, 9})
    assert [(new.index, new.requested_host_id) for new in steps.new_units] == [(3, 8), (4, 9)]
    assert [unit.uuid for unit in steps.remove_units] == [double]


def test_units_on_hosts_that_no_longer_match_are_left_alone() -> None:
    spec = service_spec(launchConfig={"labels": {"io.rancher.scheduler.global": "true"}})
    digest = digest_of(spec)
    add_unit(digest, 1, host=7, requested=7, primary="running")
    assert not plan(spec, digest, hosts=set()).any
    assert not plan(spec, digest, hosts=set(), existing={7}).any


def test_what_a_leaving_host_lost_is_not_made_there_again() -> None:
    """Its containers are removed one by one; each pass meanwhile would see units that miss a member."""
    sidekick = {"name": "side", "imageUuid": "docker:side"}
    spec = service_spec(
        launchConfig={"labels": {"io.rancher.scheduler.global": "true"}}, secondaryLaunchConfigs=[sidekick]
    )
    digest = digest_of(spec)
    half = add_unit(digest, 1, host=7, requested=7, primary="running")
    assert [unit.uuid for unit, _ in plan(spec, digest, hosts={8}, existing={7, 8}).new_members] == [half]
    steps = plan(spec, digest, hosts={8}, existing={8})
    assert [unit.uuid for unit in steps.remove_units] == [half]
    assert not steps.new_members


def test_one_pass_makes_a_bounded_number_of_containers() -> None:
    digest = digest_of(service_spec(scale=5 * LARGEST_STEP))
    steps = plan(digest.spec, digest, hosts=())
    assert len(steps.new_units) == LARGEST_STEP
    assert steps.more


def test_held_units_are_not_repaired_yet() -> None:
    digest = digest_of(service_spec(scale=1))
    unit = add_unit(digest, 1, primary="stopped")
    steps = plan(digest.spec, digest, hosts=(), held={unit})
    assert not steps.any
    assert not converged(digest.spec, digest, steps)


def test_members_on_their_way_are_waited_for() -> None:
    digest = digest_of(service_spec(scale=1))
    add_unit(digest, 1, primary="starting")
    steps = plan(digest.spec, digest, hosts=())
    assert not steps.any
    assert not converged(digest.spec, digest, steps)


def test_an_upgrade_that_stops_first_waits_until_the_old_container_rests() -> None:
    digest = digest_of(service_spec(scale=1))
    unit = add_unit(digest, 1)
    old = add_member(digest, unit, "", given={"state": "running", "upgrade": True})
    assert not plan(digest.spec, digest, hosts=()).new_members
    member = digest.units[unit].members[old]
    digest.see_instance(member.record.merged({"state": "stopped"}))
    assert len(plan(digest.spec, digest, hosts=()).new_members) == 1


def test_an_upgrade_that_starts_first_does_not_wait() -> None:
    spec = service_spec(scale=1, upgrade={"inServiceStrategy": {"startFirst": True}})
    digest = digest_of(spec)
    unit = add_unit(digest, 1)
    add_member(digest, unit, "", given={"state": "running", "upgrade": True})
    assert len(plan(spec, digest, hosts=()).new_members) == 1


def test_a_service_without_an_image_deploys_nothing() -> None:
    spec = service_spec(launchConfig={"imageUuid": "docker:rancher/none"}, scale=3)
    digest = digest_of(spec)
    assert converged(spec, digest, plan(spec, digest, hosts=()))


def test_members_caught_in_between_on_a_lost_host_are_replaced() -> None:
    digest = digest_of(service_spec(scale=1))
    add_unit(digest, 1, host=3, primary="starting")
    digest.host_lost(3, lost=True)
    assert digest.count(Status.UNHEALTHY) == 1
    digest.host_lost(3, lost=False)
    assert digest.count(Status.PENDING) == 1


def test_a_removed_container_leaves_its_unit_incomplete() -> None:
    digest = digest_of(service_spec(scale=1))
    unit = add_unit(digest, 1, primary="running")
    member = next(iter(digest.units[unit].members.values()))
    digest.see_instance(Record("instance", member.id, {**member.record.values, "state": "removed", "removed": 1}))
    assert digest.count(Status.INCOMPLETE) == 1
    assert len(plan(digest.spec, digest, hosts=()).new_members) == 1


def test_one_pass_removes_a_bounded_number_of_units() -> None:
    digest = digest_of(service_spec(scale=0))
    for index in range(1, LARGEST_STEP + 10):
        add_unit(digest, index, primary="running")
    steps = plan(digest.spec, digest, hosts=())
    assert len(steps.remove_units) == LARGEST_STEP
    assert steps.more


def test_units_without_a_container_go_before_those_that_run() -> None:
    digest = digest_of(service_spec(scale=1))
    add_unit(digest, 1, primary="running")
    empty = add_unit(digest, 2)
    assert [unit.uuid for unit in plan(digest.spec, digest, hosts=()).remove_units] == [empty]
