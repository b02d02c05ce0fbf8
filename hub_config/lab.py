"""JupyterLab's page with the isolation banner above it."""

from __future__ import annotations

import html
import sys
from pathlib import Path

from hub_config.settings import CAUTION, ISOLATION
from unica_sdk.errors import ConfigurationError

_STYLE = """
<style>
  #unica-isolation { position: fixed; inset: 0 0 auto 0; height: 28px; box-sizing: border-box; z-index: 9999;
    padding: 0 12px; font: 600 13px/27px system-ui, sans-serif; color: #3d2600; background: #ffd166;
    border-bottom: 1px solid #b8860b; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
  #unica-isolation span { font-weight: 400; }
  #main.jp-LabShell, #main.lm-Widget { top: 28px !important; }
</style>
"""


def with_banner(page: str) -> str:
    """Return JupyterLab's page template with the banner as the first thing in its body.

    Raises:
        ConfigurationError: this JupyterLab's page has no body or head to put it in.
    """
    start = page.find("<body")
    end = page.find(">", start)
    if start < 0 or end < 0 or "</head>" not in page:
        raise ConfigurationError(
            "This JupyterLab's page is not laid out as expected.", hint="Install the pinned JupyterLab."
        )
    banner = (
        f'<div id="unica-isolation" role="note"><strong>{html.escape(ISOLATION)}.</strong> '
        f"<span>{html.escape(CAUTION)}</span></div>"
    )
    page = page[: end + 1] + banner + page[end + 1 :]
    return page.replace("</head>", _STYLE + "</head>", 1)


def write_page(folder: Path, *, prefix: Path = Path(sys.prefix)) -> None:
    """Write the installed JupyterLab's page, with the banner, to `folder`/index.html.

    Raises:
        ConfigurationError: JupyterLab is not installed here, or the folder cannot be written.
    """
    source = prefix / "share" / "jupyter" / "lab" / "static" / "index.html"
    try:
        page = with_banner(source.read_text(encoding="utf-8"))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "index.html").write_text(page, encoding="utf-8")
    except OSError as err:
        raise ConfigurationError(
            "JupyterLab's page could not be written.", where=str(err.filename), hint="Run `make run` again."
        ) from err
