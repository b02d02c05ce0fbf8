"""The gateway's way to the engine: start a job's run, stop it."""

from __future__ import annotations

from pathlib import Path

from unica_sdk.errors import JobFailed, Unavailable
from unica_sdk.federation import adapter
from unica_sdk.schemas.job import JobOrder


class FlowerEngine:
    """An `Engine` over a SuperLink.

    The run carries the job's number and nothing else: what the job is, the coordinator asks the gateway.

    Args:
        superlink: host and port, e.g. `127.0.0.1:8620`.
        certificate: the engine's certificate, a PEM file.
    """

    def __init__(self, superlink: str, *, certificate: Path) -> None:
        self._superlink, self._certificate = superlink, certificate

    def start(self, order: JobOrder, bundle: bytes) -> None:
        """Hand a job over.

        Raises:
            Unavailable: the engine does not answer.
            JobFailed: the engine does not take the bundle.
        """
        try:
            with self._control() as control:
                control.start(bundle, order.job)
        except adapter.EngineRefused as err:
            raise JobFailed("The engine does not take this bundle.", where=order.job) from err

    def stop(self, job: str) -> None:
        """Stop every unfinished run of a job; a job without one is ignored.

        Raises:
            Unavailable: the engine does not answer.
        """
        with self._control() as control:
            for run in control.runs():
                if run.job == job and not run.finished:
                    control.stop(run.id)

    def _control(self) -> adapter.Control:
        try:
            return adapter.Control(self._superlink, self._certificate.read_bytes())
        except OSError as err:
            raise Unavailable(
                "The engine has no certificate yet.", where=str(self._certificate), hint="Start the engine."
            ) from err
