"""The dashboards: Voilà as a service of the hub, with pages that are finished when they arrive.

Run by the hub as `python -m hub_config.voila_service`, in the folder of the dashboards. A page's notebook
runs in a kernel of its own, without any token, on a snapshot of the released indicators; the kernel ends with
the page. Viewers get HTML without scripts: there is no channel through which one could reach a kernel.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import tornado.web
from jupyter_server.utils import url_path_join
from jupyterhub.singleuser.extension import JupyterHubIdentityProvider  # type: ignore[import-untyped]
from tornado.iostream import StreamClosedError
from traitlets.config import Config
from voila.app import Voila  # type: ignore[import-untyped]
from voila.handler import BaseVoilaHandler  # type: ignore[import-untyped]
from voila.tornado.handler import TornadoVoilaHandler  # type: ignore[import-untyped]

from hub_config.page_kernel import PageKernel, kernel_environment
from hub_config.settings import CAUTION, ISOLATION
from hub_config.snapshot import fetch_indicators, kept
from unica_sdk.errors import AccessDenied, ConfigurationError, UnicaError
from unica_sdk.schemas.identity import Scope

FIRST = "federation"
"""The dashboard at the service's own address."""

PAGE_SECONDS = 90
"""The longest that a page may take, kernel and all."""

KERNELS = 4
"""How many pages are made at the same time; further viewers wait."""

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "img-src 'self' data:",
        "style-src 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    )
)


class HubIdentity(JupyterHubIdentityProvider):  # type: ignore[misc]
    """The hub's sign-in, with its routes under the service's prefix (Voilà does not put them there)."""

    def __init__(self, **kwargs: Any) -> None:
        # Voilà offers its own token and password page: neither may open these pages.
        kwargs.pop("token", None)
        kwargs.pop("login_handler_class", None)
        super().__init__(**kwargs)

    def get_handlers(self) -> list[Any]:
        """Return the routes of sign-in and sign-out."""
        prefix = self.parent.server_url
        return [(url_path_join(prefix, path), *rest) for path, *rest in super().get_handlers()]


class Dashboard(TornadoVoilaHandler):  # type: ignore[misc]
    """One dashboard's page, made anew for each viewer who holds the power to see it."""

    def initialize(self, *, gateway: Path, folder: Path, turns: asyncio.Semaphore, **kwargs: Any) -> None:
        """Take what every page needs; tornado calls this once for each request."""
        super().initialize(**kwargs)
        self.gateway, self.folder, self.turns = gateway, folder, turns
        self.page_kernel: PageKernel | None = None

    @property
    def kernel_manager(self) -> Any:
        """The kernels as Voilà's own code sees them while it makes this page: one, this page's."""
        return self.page_kernel or self.settings["kernel_manager"]

    @tornado.web.authenticated
    async def get(self, name: str = FIRST) -> None:
        """Answer with the page; 403 without the power, 404 for another name, 503 without figures."""
        if Scope.DASHBOARD_VIEW not in self.current_user.hub_user["scopes"]:
            raise tornado.web.HTTPError(403, "Dashboards are for the project's managers.")
        if name not in names(self.folder):
            raise tornado.web.HTTPError(404, "There is no such dashboard.")
        indicators = await self._indicators()
        async with self.turns:
            with kept(indicators, folder=self.folder_for_snapshots) as file:
                self.page_kernel = PageKernel(
                    self.settings["kernel_manager"], environment=kernel_environment(os.environ, snapshot=file)
                )
                await self._write_page(f"{name}.ipynb")

    @property
    def folder_for_snapshots(self) -> Path:
        """Where a page's figures lie while its kernel runs."""
        return Path(os.environ["UNICA_STATE"]) / "hub" / "dashboards" / "snapshots"

    async def _indicators(self) -> bytes:
        token = self.identity_provider.hub_auth.get_token(self)
        try:
            return await fetch_indicators(self.gateway, token=token)
        except AccessDenied as err:
            raise tornado.web.HTTPError(403, "The gateway does not show you the figures.") from err
        except UnicaError as err:
            self.log.error("No indicators: %s", err)
            raise tornado.web.HTTPError(503, "The federation's figures cannot be read just now.") from err

    async def _write_page(self, notebook: str) -> None:
        assert self.page_kernel is not None  # noqa: S101 - for the type checker
        try:
            async with asyncio.timeout(PAGE_SECONDS):
                async for part in self.get_generator(path=notebook):
                    self.write(part)
                    await self.flush()
        except StreamClosedError:
            self.log.info("The viewer left before the page was finished.")
        except TimeoutError as err:
            self.log.error("The page took more than %s s.", PAGE_SECONDS)
            if not self._headers_written:
                raise tornado.web.HTTPError(503, "The page took too long to make.") from err
            self.write('<p role="alert">The rest of this page took too long to make.</p>')
        finally:
            await self.page_kernel.end()


class Nowhere(BaseVoilaHandler):  # type: ignore[misc]
    """Every other address: 404, whoever asks."""

    async def prepare(self) -> None:
        """Refuse before anything is looked up, the person included."""
        self.current_user = None
        raise tornado.web.HTTPError(404, "There is no such page.")


class Dashboards(Voila):  # type: ignore[misc]
    """Voilà with the hub's sign-in and without its kernel, file and script routes."""

    identity_provider_class = HubIdentity

    def init_settings(self) -> dict[str, Any]:
        """Return tornado's settings: strict headers, and 404 for whatever has no route."""
        settings: dict[str, Any] = super().init_settings()
        # Nothing here changes anything on a viewer's word, so there is no form to protect.
        settings["xsrf_cookies"] = False
        settings["headers"] = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "same-origin"}
        settings["jinja_template_vars"] = {"isolation": ISOLATION, "caution": CAUTION}
        settings["default_handler_class"] = Nowhere
        settings["default_handler_args"] = {"voila_configuration": self.voila_configuration}
        return settings

    def init_handlers(self) -> list[Any]:
        """Return the only routes: sign-in, sign-out and the pages."""
        page = {
            "gateway": Path(os.environ["UNICA_STATE"]) / "run" / "gateway.sock",
            "folder": Path(self.root_dir),
            "turns": asyncio.Semaphore(KERNELS),
            "template_paths": self.template_paths,
            "config": self.config,
            "voila_configuration": self.voila_configuration,
        }
        base = re.escape(self.server_url.rstrip("/"))
        return [
            *self.identity_provider.get_handlers(),
            (rf"{base}/?", Dashboard, page),
            (rf"{base}/voila/render/([a-z0-9_-]+)\.ipynb", Dashboard, page),
        ]


def names(folder: Path) -> tuple[str, ...]:
    """Return the dashboards of a folder, the first one first."""
    found = sorted(path.stem for path in folder.glob("*.ipynb") if re.fullmatch(r"[a-z0-9_-]+", path.stem))
    return tuple(sorted(found, key=lambda name: name != FIRST))


def configuration(folder: Path, *, url: str, prefix: str) -> Config:
    """Return Voilà's settings for serving `folder` at `url` under `prefix`."""
    address = urlparse(url)
    pages = [
        {"title": name.replace("_", " ").capitalize(), "url": f"{prefix}voila/render/{name}.ipynb"}
        for name in names(folder)
    ]
    return Config(
        {
            "Voila": {
                "ip": address.hostname,
                "port": address.port,
                "port_retries": 0,
                "base_url": prefix,
                "root_dir": str(folder),
                "open_browser": False,
                # Settings come from here, not from files that happen to lie about.
                "config_file_paths": [],
            },
            "VoilaConfiguration": {
                "template": "unica",
                "allow_template_override": "NO",
                "allow_theme_override": "NO",
                "resources": {"unica": {"isolation": ISOLATION, "caution": CAUTION, "pages": pages}},
            },
            "VoilaExecutor": {"timeout": PAGE_SECONDS},
            # A page ends its kernel; this is for one whose page was itself cut off.
            "MappingKernelManager": {
                "cull_idle_timeout": 30,
                "cull_interval": 10,
                "cull_connected": True,
                "cull_busy": False,
            },
            # Kernels talk over sockets in a private folder, not over ports of this machine.
            "KernelManager": {"transport": "ipc"},
        }
    )


def settle(state: Path) -> None:
    """Point Jupyter's own folders into the state folder, and its templates to this package."""
    scratch = state / "hub" / "dashboards"
    for variable, name in {
        "HOME": "home",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
        "MPLCONFIGDIR": "matplotlib",
    }.items():
        (scratch / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        os.environ[variable] = str(scratch / name)
    os.environ["JUPYTER_PATH"] = str(Path(__file__).resolve().parent / "share")


def main() -> None:
    """Serve the dashboards until told to stop.

    Raises:
        ConfigurationError: the hub did not start this process.
    """
    needed = ("JUPYTERHUB_SERVICE_URL", "JUPYTERHUB_SERVICE_PREFIX", "UNICA_STATE")
    missing = [name for name in needed if not os.environ.get(name)]
    if missing:
        raise ConfigurationError(
            f"The dashboards lack {', '.join(missing)}.", where="environment", hint="The hub starts them."
        )
    url, prefix, state = (os.environ[name] for name in needed)
    settle(Path(state))
    Dashboards.launch_instance(argv=[], config=configuration(Path.cwd(), url=url, prefix=prefix))


if __name__ == "__main__":
    main()
