"""Nodes: what a site insists on can be asked for and is shown whole."""

from client_world import ClientWorld
from gateway_world import hello

from unica_sdk.schemas.policy import SitePolicy


def test_a_nodes_policy_is_shown_with_what_each_setting_means(hub: ClientWorld) -> None:
    policy = SitePolicy(threshold=20, noise=12.5, approved_apps=(hub.world.app.id,))
    hub.world.gateway.hello("gr", hello("gr", policy=policy))
    found = hub.network.nodes["gr"].policy
    assert found is not None
    assert found.model_dump() == policy.model_dump()
    for shown in (repr(found), str(found), found._repr_html_()):
        for word in ("threshold", "20", "12.5", "minimum cases", "zero included", hub.world.app.id[:19]):
            assert word in shown
    assert list(found.to_frame()["setting"]) == [n.replace("_", " ") for n in SitePolicy.model_fields]


def test_a_node_shows_itself_and_one_that_said_nothing_has_no_policy(hub: ClientWorld) -> None:
    node = hub.network.nodes["lt"]
    assert node.policy is None
    assert "offline" in repr(node)
    assert "never" in node._repr_html_()
