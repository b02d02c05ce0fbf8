"""A process that reads DICOM for the node and may die doing it: `python -m unica_sdk.node.worker`.

Codecs are native code fed with foreign bytes: a broken file can panic, crash or hang one. The parent (`pool`)
then loses a worker, never itself. Requests are JSON lines on standard input; replies are framed on standard
output: two lengths, a JSON header, and raw bytes that the parent takes as numbers, nothing else.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import resource
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

FRAME = struct.Struct("<II")
"""Length of the JSON header and of the bytes after it."""

READY: dict[str, Any] = {"kind": "ready"}
"""What a worker says once before its first request."""

GOOD: dict[str, Any] = {"kind": "good"}
"""What a worker says of a file that can be decoded."""

MEMORY = 8 * 2**30
"""Address space of a worker in bytes: a header that promises petabytes ends here."""


def main() -> None:
    """Answer requests until standard input ends, which it does when the parent is gone."""
    serve(answer, loading="unica_sdk.node.decoding")


def serve(answer: Callable[[dict[str, Any]], tuple[dict[str, Any], bytes]], *, loading: str) -> None:
    """Answer the requests on standard input, one JSON object to a line, within bounds of memory.

    Args:
        answer: a request to a header and the bytes after it.
        loading: a module to import first, since that must not count against the first file.
    """
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Some codecs print; their words must not land between the frames.
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(
        resource.RLIMIT_AS, (MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard), hard)
    )
    # A core file would hold a patient's image, or the site key.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    importlib.import_module(loading)
    send(replies, READY, b"")
    for line in sys.stdin.buffer:
        header, payload = answer(json.loads(line))
        send(replies, header, payload)


def answer(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Do one request: `check` whether a file decodes, `decode` its values, or `prepare` its image.

    A `check` that names shapes gets the image at each of them too: nobody then has to decode it again.
    """
    from unica_sdk.node import decoding, pixels
    from unica_sdk.node.imaging.preparation import Preparation
    from unica_sdk.node.scan import Skipped

    path = Path(request["path"])
    try:
        if request["do"] == "check":
            shapes = [Preparation(rows=rows, columns=columns) for rows, columns in request["shapes"]]
            found = decoding.check_pixels(path, shapes)
            if isinstance(found, Skipped):
                return {"kind": "skipped", "fields": dataclasses.asdict(found)}, b""
            return {**GOOD, "images": len(found)}, b"".join(image.tobytes() for image in found)
        if request["do"] == "decode":
            values = pixels.modality_values(path)
            return {"kind": "values", "dtype": values.dtype.str, "shape": values.shape}, values.tobytes()
        image = pixels.prepare(
            path, rows=request["rows"], columns=request["columns"], window=request.get("window")
        )
        return {"kind": "image"}, image.tobytes()
    except Exception as err:
        # Whatever the file provoked is an answer about the file, not a fault of the worker.
        return {"kind": "failed", "detail": f"{type(err).__name__}: {' '.join(str(err).split())[:120]}"}, b""


def send(stream: BinaryIO, header: dict[str, Any], payload: bytes) -> None:
    """Write one framed reply."""
    text = json.dumps(header).encode()
    stream.write(FRAME.pack(len(text), len(payload)) + text + payload)
    stream.flush()


if __name__ == "__main__":
    main()
