"""A host whose agent was away: what ran goes on, and what happened meanwhile is noticed afterwards."""

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.waiting import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]


async def test_a_restarted_agent_disturbs_nothing(cluster: Cluster) -> None:
    await cluster.up("calm", {"web": cluster.web(), "all": cluster.shell()}, {"web": 6, "all": 3})
    before = await cluster.until_agreed("calm")
    for end in ("stop_agent", "kill_agent"):
        await getattr(cluster.host("host1"), end)()
        await cluster.host("host1").start_agent()
        after = await cluster.until_agreed("calm")
        assert {each.identity for each in after} == {each.identity for each in before}
    rows = [host for host in await cluster.api.list("host", {"removed_null": 1}) if host.text("hostname") == "host1"]
    assert len(rows) == 1, "the agent came back as the same host"


async def test_losses_while_the_agent_was_away_are_repaired(cluster: Cluster) -> None:
    await cluster.up("missed", {"web": cluster.web()}, {"web": 9})
    before = await cluster.until_running("missed/web", 9)
    killed, removed, kept = [each for each in before if each.host == "host1"]
    await cluster.host("host1").stop_agent()
    await cluster.engines.kill(killed)
    await cluster.engines.remove(removed)
    await cluster.host("host1").start_agent()
    after = await eventually(
        lambda: cluster.of_service("missed/web"),
        lambda found: len(found) == 9 and all(each.running for each in found),
        what="all nine run again",
    )
    changed = {each.index for each in after if each.identity not in {old.identity for old in before}}
    assert changed == {killed.index, removed.index}
    assert kept.identity in {each.identity for each in after}
    await cluster.until_agreed("missed")


async def test_a_container_that_a_user_started_himself_is_adopted_and_let_go(cluster: Cluster) -> None:
    image = cluster.lab.image("lab/shell")
    docker_id = await cluster.engines.run_native("host2", name="handmade", image=image, command=["sleep", "100000"])
    try:
        rows = await eventually(
            lambda: cluster.api.list("container", {"externalId": docker_id, "removed_null": 1}),
            lambda found: len(found) == 1 and found[0].state == "running",
            what="the container is shown as running",
        )
        assert rows[0].name == "handmade"
        assert rows[0].text("hostId") == (await cluster.host_row("host2")).id
        await cluster.host("host2").stop_agent()
        await cluster.host("host2").start_agent()
        found = await cluster.api.list("container", {"externalId": docker_id, "removed_null": 1})
        assert [each.id for each in found] == [rows[0].id], "not adopted twice"
    finally:
        await cluster.engines.on("host2").containers.container(docker_id).delete(force=True)
    await eventually(
        lambda: cluster.api.list("container", {"externalId": docker_id, "removed_null": 1}),
        lambda found: not found,
        what="a container that its user removed is not shown",
    )
