"""The peers that do not fit our environment, each as a task: run by their own interpreter, without ours.

    python3.11 -m venv PEERS && PEERS/bin/pip install fastdicom==0.1.0
    python benchmarks/node.py --peers-python PEERS/bin/python

Reads one JSON object a line, does its task once, and answers with {"work", "seconds"} or {"absent"}; the
seconds are of this process's CPU. A new peer is one more function in `TASKS`, importing what it needs within.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def fastdicom_headers(*, listing: str, keywords: list[str]) -> int:
    """Read the listed files' headers and the values of some keywords; return how many files."""
    import fastdicom

    paths = Path(listing).read_text().splitlines()
    for path in paths:
        get = fastdicom.dcmread(path, stop_before_pixels=True).get
        for keyword in keywords:
            get(keyword)
    return len(paths)


TASKS = {"fastdicom_headers": fastdicom_headers}


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Do one task and return what it cost."""
    task = TASKS[question.pop("task")]
    begin = time.process_time()
    try:
        work = task(**question)
    except ImportError as err:
        return {"absent": f"{err.name} is not installed in the peers' environment"}
    except Exception as err:  # a peer that fails on our files has no figure, and says why
        return {"absent": f"the peer failed: {type(err).__name__}: {err}"}
    return {"work": work, "seconds": time.process_time() - begin}


def main() -> None:
    """Answer until the questions end."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
