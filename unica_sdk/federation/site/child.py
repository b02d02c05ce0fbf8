"""The process an app's code runs in: it holds one pipe, one piece of work, and nothing else.

What it prints goes to the site's own log. Its walls (no network, read-only files, memory) are issue D; they
go into `_alone`, which runs before any line of the app.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from multiprocessing import connection
from typing import TYPE_CHECKING

from unica_sdk.federation.site import wire
from unica_sdk.federation.site.work import AppFault, Outcome, call, load
from unica_sdk.schemas.job import FailureCode

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def main(conn: Connection) -> None:
    """Take one piece of work from the pipe, do it, answer, and end the process."""
    _alone()
    work, folder = wire.unpack_work(conn.recv_bytes())
    threading.Thread(target=_end_with, args=(conn,), daemon=True).start()
    outcome: Outcome | FailureCode
    try:
        outcome = call(load(folder, work.bundle.entry), work)
    except AppFault as fault:
        logging.getLogger("unica.app").error("The app failed: %s %s", fault.code.value, fault.detail)
        outcome = fault.code
    except BaseException as error:
        # The words of the app stay here, in the site's log; a SystemExit of its own is a failure too.
        logging.getLogger("unica.app").error("The app raised an error.", exc_info=error)
        outcome = FailureCode.APP_FAILED
    conn.send_bytes(wire.pack_outcome(outcome))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _alone() -> None:
    # A process group of its own, so that the parent ends all that the app starts.
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s app %(message)s")


def _end_with(conn: Connection) -> None:
    """End with the node: nothing more comes over the pipe, so readable means closed."""
    connection.wait([conn])
    os.killpg(0, signal.SIGKILL)
