"""What each group may do, as a table; the real hub is held to the same table in test_hub_access."""

import pytest

from hub_config import roles
from hub_config.registry import GROUPS
from unica_sdk.schemas.identity import Scope

# rows: groups; columns in the order of Scope.ALL:
#                cat  count freeze submit permit dash  audit
TABLE = {
    "researchers": "yes  yes   yes    yes    yes    no    no ",
    "trainees": "   no   no    no     no     no     no    no ",
    "managers": "   no   no    no     no     no     yes   no ",
    "stewards": "   yes  no    no     no     yes    no    no ",
    "auditors": "   no   no    no     no     no     no    yes",
    "operators": "  yes  no    no     no     no     yes   no ",
}


@pytest.mark.parametrize("group", GROUPS)
def test_powers_are_those_of_the_table(group: str) -> None:
    wanted = {scope for scope, cell in zip(Scope.ALL, TABLE[group].split(), strict=True) if cell == "yes"}
    assert set(roles.powers_of((group,))) == wanted


def test_every_group_has_one_role_and_every_power_a_description() -> None:
    by_group = [role["groups"] for role in roles.hub_roles() if "groups" in role]
    assert sorted(by_group) == sorted([group] for group in GROUPS)
    assert set(roles.custom_scopes()) == set(Scope.ALL)


def test_nobody_may_make_tokens_share_or_administer() -> None:
    for role in roles.hub_roles():
        if role.get("services") == [roles.OPERATOR_SERVICE]:
            assert role["scopes"] == ["tokens!group=researchers"]
            continue
        for scope in role["scopes"]:
            assert not scope.startswith(("tokens", "shares", "admin", "self", "inherit", "proxy")), role
            # What is not a UNICA power is bound to one's own name, own server or a named service.
            assert scope.startswith("custom:unica:") or "!" in scope, role


def test_a_workspace_holds_no_power_its_owner_lacks() -> None:
    (server,) = (role for role in roles.hub_roles() if role["name"] == "server")
    powers = {scope for scope in server["scopes"] if scope.startswith("custom:")}
    assert powers == set(roles.powers_of(("researchers",)))


def test_the_gateways_pages_only_read() -> None:
    assert all(scope.endswith((":read", ":view")) for scope in roles.SERVICE_PAGES)
