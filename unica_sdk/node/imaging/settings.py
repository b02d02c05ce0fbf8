"""What a node says in its `node.toml` about prepared images."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from unica_sdk.schemas.contract import Contract

Resolution = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,3}(x[1-9][0-9]{0,3}){1,2}$")]
"""Of prepared images: ROWSxCOLUMNS, or of volumes: SLICESxROWSxCOLUMNS."""


class ImageSettings(Contract):
    """The table `[images]`; what it does not say is as below.

    Units: `cache_gib` is 2³⁰ bytes of the node's disk.
    """

    prepare: tuple[Resolution, ...] = Field(
        default=("512x512",),
        description="An ingest prepares compressed images: ROWSxCOLUMNS, for volumes SLICESxROWSxCOLUMNS.",
    )
    cache_gib: int = Field(
        default=200,
        ge=0,
        description="GiB that prepared images may take; what was used longest ago goes first.",
    )
