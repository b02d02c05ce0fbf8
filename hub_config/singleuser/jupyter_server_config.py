"""Settings of every workspace's server; people cannot change them from their home."""

from typing import Any

c: Any = get_config()  # type: ignore[name-defined]  # noqa: F821 - given by traitlets

# Ask the hub again after ten seconds whether a person may still be here.
c.HubOAuth.cache_max_age = 10

# There is no internet here: no news, no update check, no extension shop.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"
c.ServerApp.terminals_enabled = False
