"""The hub's configuration, run by `jupyterhub -f`; what it says comes from the modules beside it."""

import sys
from pathlib import Path
from typing import Any

from hub_config import lab, roles, secrets
from hub_config.authenticator import RegistryAuthenticator
from hub_config.registry import Registry
from hub_config.settings import CAUTION, ISOLATION, HubSettings, project_folder
from hub_config.spawner import WorkspaceSpawner

settings = HubSettings.from_environment()
tokens = secrets.ensure(settings.state)
here = Path(__file__).resolve().parent
c: Any = get_config()  # type: ignore[name-defined]  # noqa: F821 - given by traitlets

# Addresses. The proxy's is the only public one; the hub and the services listen on loopback.
c.JupyterHub.bind_url = f"http://127.0.0.1:{settings.hub_port}"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{settings.hub_api_port}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{settings.proxy_api_port}"
c.ConfigurableHTTPProxy.auth_token = tokens.proxy
c.ConfigurableHTTPProxy.command = list(settings.proxy_command)
c.ConfigurableHTTPProxy.pid_file = str(settings.hub_folder / "proxy.pid")

# State.
c.JupyterHub.db_url = f"sqlite:///{settings.hub_folder / 'jupyterhub.sqlite'}"
c.JupyterHub.upgrade_db = True
c.JupyterHub.cookie_secret_file = str(settings.hub_folder / "cookie_secret")
c.JupyterHub.cookie_max_age_days = 1

# People. `allowed_users` makes the registry's people known before they first sign in; who may sign in is
# decided by the registry at that moment. No admins: one may enter anybody's server.
c.JupyterHub.authenticator_class = RegistryAuthenticator
c.RegistryAuthenticator.registry_file = str(settings.registry)
c.RegistryAuthenticator.audit_file = str(settings.hub_folder / "audit.jsonl")
c.RegistryAuthenticator.allowed_users = {person.name for person in Registry(settings.registry).people()}
c.RegistryAuthenticator.manage_groups = True
c.RegistryAuthenticator.auth_refresh_age = 5
c.RegistryAuthenticator.auth_refresh_strict = True
c.RegistryAuthenticator.refresh_pre_spawn = True
c.JupyterHub.custom_scopes = roles.custom_scopes()
c.JupyterHub.load_roles = roles.hub_roles()

# Workspaces.
c.JupyterHub.spawner_class = WorkspaceSpawner
c.WorkspaceSpawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
c.WorkspaceSpawner.args = [f"--LabApp.templates_dir={settings.lab_templates}"]
c.WorkspaceSpawner.ip = "127.0.0.1"
c.WorkspaceSpawner.default_url = "/lab"
c.WorkspaceSpawner.disable_user_config = True
c.WorkspaceSpawner.home_dir_template = str(settings.homes / "{username}")
c.WorkspaceSpawner.notebooks = str(project_folder("notebooks/research"))
c.WorkspaceSpawner.ledgers = str(settings.hub_folder / "handed-out")
c.WorkspaceSpawner.environment = {
    "UNICA_GATEWAY": f"unix://{settings.gateway_socket}",
    "JUPYTER_CONFIG_PATH": str(here / "singleuser"),
    **settings.inherited(),
}
lab.write_page(settings.lab_templates)

# Services.
c.JupyterHub.services = [
    {
        "name": roles.GATEWAY_SERVICE,
        "url": f"http://127.0.0.1:{settings.service_port}",
        "api_token": tokens.gateway,
        "oauth_no_confirm": True,
        "oauth_client_allowed_scopes": list(roles.SERVICE_PAGES),
        # The gateway runs under the supervisor, not under the hub: do not hold up the start for it.
        "timeout": 1,
        "info": {"title": "Records", "text": "Catalogue, permits and audit."},
    },
    {
        "name": roles.DASHBOARDS_SERVICE,
        "url": f"http://127.0.0.1:{settings.dashboards_port}",
        "command": [sys.executable, "-m", "hub_config.voila_service"],
        "cwd": str(project_folder("dashboards")),
        "environment": {"UNICA_STATE": str(settings.state), **settings.inherited_by_services()},
        "oauth_no_confirm": True,
        "oauth_client_allowed_scopes": list(roles.POWERS["managers"]),
        "timeout": 120,
        "info": {"title": "Dashboards", "text": "The federation in released figures."},
    },
    {"name": roles.OPERATOR_SERVICE, "api_token": tokens.operator, "display": False},
]

# Pages.
c.JupyterHub.template_paths = [str(here / "templates")]
c.JupyterHub.template_vars = {"isolation": ISOLATION, "caution": CAUTION}
c.JupyterHub.default_url = "/hub/home"
