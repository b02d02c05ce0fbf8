"""The sites of the network, and what each insists on."""

from __future__ import annotations

from unica_sdk.client.display import Shown, Table, joined
from unica_sdk.client.listings import Listing
from unica_sdk.schemas.catalogue import NodeStatus
from unica_sdk.schemas.policy import SitePolicy


class Policy(Shown, SitePolicy):
    """A site's settings: how it protects its numbers, how many questions it takes, what it runs."""

    def _table(self) -> Table:
        return Table(
            title="A site's policy",
            columns=("setting", "value", "meaning"),
            rows=tuple(
                (name.replace("_", " "), _said(getattr(self, name)), field.description or "")
                for name, field in SitePolicy.model_fields.items()
            ),
            empty="It has no settings.",
            note="The site decides; a question that does not fit is refused with a code.",
        )


class Node(Shown, NodeStatus):
    """A site as the network sees it; `policy` is None where it has not said it yet."""

    policy: Policy | None = None

    def _table(self) -> Table:
        seen = f"{self.last_seen:%Y-%m-%d %H:%M} UTC" if self.last_seen else "never"
        rows = [
            ("name", self.name),
            ("country", self.country),
            ("state", "online" if self.online else "offline"),
            ("last seen", seen),
            ("datasets", joined(self.datasets)),
        ]
        if self.policy is not None:
            rows.append(("people", f"none released below {self.policy.threshold}; see .policy"))
        return Table(title=f"Node {self.site}", columns=("of the node", "value"), rows=tuple(rows), empty="")


class Nodes(Listing[NodeStatus]):
    """The sites of the network."""

    noun = "node"

    def _name(self, item: NodeStatus) -> str:
        return item.site

    def _table(self) -> Table:
        return Table(
            title="Nodes",
            columns=("site", "name", "country", "state", "datasets"),
            rows=tuple(
                (n.site, n.name, n.country, "online" if n.online else "offline", len(n.datasets))
                for n in self
            ),
            empty="No node has joined yet.",
        )


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return joined([str(one)[:19] + "…" if len(str(one)) > 20 else str(one) for one in value])
    return f"{value:g}" if isinstance(value, float) else str(value)
