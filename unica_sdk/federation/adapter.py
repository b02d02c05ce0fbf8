"""The one module that touches the engine's internals: Flower 1.41.0, pinned exactly.

Others in this package import Flower's public names (`flwr.app`, `flwr.clientapp`, `flwr.serverapp`) and
find the rest here under names of ours, with errors of ours. `tests/federation/test_adapter.py` holds what
is relied on.

Sources: supernode/fleet_http_connection.py (the site's side), superlink/runtime/run_serverapp.py (the hub's
side), supercore/superexec/run_superexec.py (taking tasks), cli/build.py (bundles), of that version.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import tomli_w
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.cli.build import build_fab_from_files
from flwr.common.constant import HEARTBEAT_MIN_INTERVAL, ErrorCode, Status, SubStatus
from flwr.common.serde import message_to_proto, run_from_proto, user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
)
from flwr.proto.fab_pb2 import Fab, GetFabRequest
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PullTaskInputRequest, PushTaskOutputRequest
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.heartbeat import HeartbeatSender, make_task_heartbeat_fn_http
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    inflate_object_from_contents,
    pull_objects,
    push_objects,
)
from flwr.supercore.interceptors import (
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.run import RunNotRunningException
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid, http_grid
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from unica_sdk.errors import Unavailable, UnicaError

T = TypeVar("T")

VERSION = "1.41.0"
LEASE_SECONDS = 2.0 * HEARTBEAT_MIN_INTERVAL
"""How long after its last heartbeat a site counts as connected: twice the interval it promises."""

HEARTBEAT_SECONDS = 4.0
"""How often a site's heartbeat goes out: several times within its lease, so that one lost does not matter."""

Stopped = RunNotRunningException
"""What the engine's grid raises once a run was stopped; a BaseException, so that no app can swallow it."""


SOON_SECONDS = 0.05
"""When to ask again for content that is still being uploaded; a message shows before its content is there."""

PULL = "pull_objects"
"""The function of the engine's grid that fetches a message's content."""

LISTED_RUNS = 1000
"""How many of the latest runs are looked at to find a job's."""

PATIENCE_SECONDS = 60.0
"""How long a site keeps a message or a reply in hand while the engine is away."""


class EngineGone(Unavailable):
    """The engine does not answer; try again."""


class EngineRefused(UnicaError):  # noqa: N818 - an answer, not a fault
    """The engine answered and said no."""


class RunOver(UnicaError):  # noqa: N818 - a state, not a fault
    """The run is finished, stopped or unknown."""


# ---------------------------------------------------------------------------------------------- everywhere


def environment(home: Path) -> dict[str, str]:
    """Return the variables of a quiet engine process: its own folder, no telemetry, no update check."""
    return {"FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}


def hush() -> None:
    """Keep the engine's progress log out of a notebook or terminal; warnings stay."""
    logging.getLogger("flwr").setLevel(logging.WARNING)


def toml(document: Mapping[str, Any]) -> bytes:
    """Return a document as TOML, written by the library the engine uses for bundles."""
    return tomli_w.dumps(dict(document)).encode()


def build_fab(files: Mapping[str, bytes]) -> bytes:
    """Return the engine's archive of these files, byte for byte the same for the same files.

    Raises:
        ValueError: the project file is not what the engine takes.
    """
    content, _ = build_fab_from_files(dict(files))
    return content


def identify(*, run: int = 1, node: int = 1, task: int = 1) -> None:
    """Tell the engine who makes messages in this process: it keeps that in one global."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run, node, task


def stamp(message: Message, identity: str) -> Message:
    """Give a message made in this process its number, as the engine's transport would."""
    message.metadata.__dict__["_message_id"] = identity
    return message


def error_code(message: Message) -> str:
    """Return the reason a message failed: ours as it was given, the engine's own as one of our codes."""
    engine = {
        ErrorCode.NODE_UNAVAILABLE: "site_offline",
        ErrorCode.MESSAGE_UNAVAILABLE: "site_timeout",
        ErrorCode.REPLY_MESSAGE_UNAVAILABLE: "site_timeout",
    }
    return engine.get(message.error.code, str(message.error.reason))


SITE_ERROR = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
"""The engine's number under which our own failure codes travel."""


def engine_key(text: str) -> bytes:
    """Return an enrolled engine key, OpenSSH text, in the form the engine keeps (PEM)."""
    key = load_ssh_public_key(text.encode())
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("an engine key is an elliptic-curve key")
    return public_key_to_bytes(key)


def _asked(call: Callable[[], T]) -> T:
    try:
        return call()
    except httpx.TransportError as err:
        raise EngineGone("The engine did not answer.", where=type(err).__name__) from err
    except httpx.HTTPStatusError as err:
        status = err.response.status_code
        if status in (502, 503, 504):
            raise EngineGone("The engine is not ready.", where=str(status)) from err
        if status == httpx.codes.FORBIDDEN:
            raise RunOver("The run is over.", where=str(status)) from err
        raise EngineRefused("The engine refused.", where=f"{status} {err.response.text[:200]}") from err
    except (ObjectPullError, ObjectPushError) as err:
        raise EngineRefused("The engine does not have the message's content.") from err


# ---------------------------------------------------------------------------------------- hub: control side


@dataclass(frozen=True, kw_only=True)
class RunState:
    """A run as the engine lists it."""

    id: int
    job: str
    app: str
    begun: bool
    finished: bool
    pending_at: str


class Control:
    """Start, stop and list runs; register sites. Open it for one piece of work, then close it."""

    def __init__(self, address: str, certificate: bytes | None) -> None:
        self._client = ControlHttpClient.from_server_address(
            address, certificate is None, certificate, interceptors=()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    def start(self, content: bytes, job: str) -> int:
        """Start a run of this bundle for this job and return the run's number."""
        request = StartRunRequest(
            fab=Fab(hash_str=hashlib.sha256(content).hexdigest(), content=content),
            override_config=user_config_to_proto({"job": job}),
        )
        run = _asked(lambda: self._client.StartRun(request)).run_id
        if not run:
            raise EngineRefused("The engine did not take the bundle.")
        return int(run)

    def stop(self, run: int) -> None:
        """Stop a run; one that is finished already is left alone."""
        with suppress(EngineRefused):
            _asked(lambda: self._client.StopRun(StopRunRequest(run_id=run)))

    def runs(self) -> list[RunState]:
        """Return the latest runs, the oldest of them first."""
        listed = _asked(lambda: self._client.ListRuns(ListRunsRequest(limit=LISTED_RUNS))).run_dict
        runs = [run_from_proto(run) for run in listed.values()]
        return sorted(
            (
                RunState(
                    id=run.run_id,
                    job=str(run.override_config.get("job", "")),
                    app=f"sha256:{run.fab_hash}",
                    begun=run.status.status != Status.PENDING,
                    finished=run.status.status == Status.FINISHED,
                    pending_at=run.pending_at,
                )
                for run in runs
            ),
            key=lambda run: run.pending_at,
        )

    def connected(self) -> set[bytes]:
        """Return the public keys of the sites that are connected now."""
        listed = _asked(lambda: self._client.ListNodes(ListNodesRequest())).nodes_info
        return {bytes(node.public_key) for node in listed if node.online_until > time.time()}

    def register(self, key: bytes, name: str) -> None:
        """Register a site's key; a key that is known already is left alone."""
        with suppress(EngineRefused):
            _asked(lambda: self._client.RegisterNode(RegisterNodeRequest(public_key=key, name=name)))


# ------------------------------------------------------------------------------------------- hub: task side


@dataclass(frozen=True)
class Claim:
    """A server task that was taken: its run and the token that speaks for it."""

    run: int
    token: str


class TaskQueue:
    """Takes server tasks and no others; needs the engine's secret."""

    def __init__(self, address: str, certificate: bytes | None, secret: bytes) -> None:
        self._client = RuntimeHttpClient.from_server_address(
            server_address=address,
            insecure=certificate is None,
            root_certificates=certificate,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperExec"),
                SuperExecAuthHttpInterceptor(
                    master_secret=secret, protected_methods=frozenset({"/flwr.proto.Runtime/AcquireTask"})
                ),
            ],
        )

    def take(self) -> Claim | None:
        """Return the next server task, or None where none waits."""
        request = AcquireTaskRequest(supported_task_types=["flwr-serverapp"])
        found = _asked(lambda: self._client.AcquireTask(request))
        if found.HasField("task") and found.token:
            return Claim(run=int(found.task.run_id), token=found.token)
        return None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A connected site as the engine sees it; `since` changes when it reconnects."""

    node: int
    key: bytes
    since: str


class ServerTask:
    """One claimed server task: its run, its grid, its heartbeat. The bundle is read for its digest only."""

    def __init__(self, address: str, certificate: bytes | None, token: str) -> None:
        # The engine's grid would look again for a reply's content after a whole second.
        setattr(http_grid, PULL, partial(pull_objects, initial_backoff=SOON_SECONDS))
        self.grid = HttpGrid(address, certificate is None, certificate, token=token)
        self._client = self.grid._runtime_client
        self._heartbeat = HeartbeatSender(make_task_heartbeat_fn_http(self._client))
        self._heartbeat.start()
        given = self._client.PullTaskInput(PullTaskInputRequest())
        identify(run=given.run.run_id, node=given.context.node_id, task=given.task_id)
        run = run_from_proto(given.run)
        self.grid.set_run(run)
        self.run = run.run_id
        self.job = str(run.override_config.get("job", ""))
        self.app = "sha256:" + hashlib.sha256(given.fab.content).hexdigest()

    def peers(self) -> list[Peer]:
        """Return the sites that are connected now."""
        now = time.time()
        return [
            Peer(node=n.node_id, key=bytes(n.public_key), since=n.last_activated_at)
            for n in self.grid.get_nodes()
            if n.online_until > now
        ]

    def finish(self, failure: str = "") -> None:
        """End the run: completed, or failed for the reason given."""
        status = SubStatus.FAILED if failure else SubStatus.COMPLETED
        self._client.PushTaskOutput(PushTaskOutputRequest(sub_status=status, details=failure))
        if self._heartbeat.is_running:
            self._heartbeat.stop()
        self.grid.close()


# --------------------------------------------------------------------------------------------------- site


class Fleet:
    """A site's connection to the engine, signed with the site's own key.

    Its methods raise EngineGone, EngineRefused or RunOver.
    """

    def __init__(self, address: str, *, certificate: bytes | None, key: bytes, stop: threading.Event) -> None:
        self._stop = stop
        private = load_ssh_private_key(key, password=None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise ValueError("an engine key is an elliptic-curve key")
        self._key = public_key_to_bytes(private.public_key())
        self._client = FleetHttpClient.from_server_address(
            address,
            certificate is None,
            certificate,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                NodeAuthHttpInterceptor(private, private.public_key()),
            ],
        )
        self.node = Node()

    def activate(self, previous: int | None) -> int:
        """Connect and return the site's node number; `previous` ends a lease that a killed process left."""
        if previous is not None:
            with suppress(EngineRefused, RunOver):
                _asked(lambda: self._client.DeactivateNode(DeactivateNodeRequest(node_id=previous)))
        request = ActivateNodeRequest(public_key=self._key, heartbeat_interval=HEARTBEAT_MIN_INTERVAL)
        self.node = Node(node_id=_asked(lambda: self._client.ActivateNode(request)).node_id)
        return int(self.node.node_id)

    def heartbeat(self) -> bool:
        """Renew the lease; False where the engine does not know this site any more."""
        request = SendNodeHeartbeatRequest(node=self.node, heartbeat_interval=HEARTBEAT_MIN_INTERVAL)
        return bool(_asked(lambda: self._client.SendNodeHeartbeat(request)).success)

    def _ask(self, call: Callable[[], T]) -> T:
        """Ask until there is an answer, as long as that may be worth while."""
        end, wait = time.monotonic() + PATIENCE_SECONDS, 0.1
        while True:
            try:
                return _asked(call)
            except EngineGone:
                if time.monotonic() > end or self._stop.wait(wait):
                    raise
                wait = min(2.0, wait * 2)

    def receive(self) -> Message | None:
        """Return the next message with all of its content, or None where none waits."""
        got = self._ask(lambda: self._client.PullMessages(PullMessagesRequest(node=self.node)))
        if not got.messages_list:
            return None
        run = got.messages_list[0].metadata.run_id
        tree = got.message_object_trees[0]
        pull = make_pull_object_fn_protobuf(self._client.PullObject, self.node, run)
        ids = list(dict.fromkeys(part.object_id for part in iterate_object_tree(tree)))
        objects = self._ask(lambda: pull_objects(ids, pull, initial_backoff=SOON_SECONDS))
        confirm = make_confirm_message_received_fn_protobuf(
            self._client.ConfirmMessageReceived, self.node, run
        )
        self._ask(lambda: confirm(tree.object_id))
        message = inflate_object_from_contents(tree.object_id, objects)
        if not isinstance(message, Message):
            raise EngineRefused("The engine sent something that is not a message.")
        return stamp(message, tree.object_id)

    def running(self, run: int) -> bool:
        """Whether a run is still going on."""
        try:
            _asked(lambda: self._client.GetRun(GetRunRequest(node=self.node, run_id=run)))
        except RunOver:
            return False
        return True

    def bundle(self, run: int) -> bytes:
        """Return the bytes of the bundle that a run names; what they are is for the caller to check."""
        found = self._ask(lambda: self._client.GetRun(GetRunRequest(node=self.node, run_id=run))).run
        request = GetFabRequest(node=self.node, hash_str=found.fab_hash, run_id=run)
        return bytes(self._ask(lambda: self._client.GetFab(request)).fab.content)

    def reply(self, message: Message, seconds: float) -> None:
        """Send a reply that was made here, and its content."""
        stamp(message, message.object_id)
        with no_object_id_recompute():
            tree, objects = get_object_tree(message), get_all_nested_objects(message)
            bare = remove_content_from_message(message) if message.has_content() else message
            request = PushMessagesRequest(
                node=self.node,
                messages_list=[message_to_proto(bare)],
                message_object_trees=[tree],
                clientapp_runtime_list=[seconds],
            )
            answer = self._ask(lambda: self._client.PushMessages(request))
            push = make_push_object_fn_protobuf(
                self._client.PushObject, self.node, message.metadata.run_id, answer.session_id
            )
            self._ask(partial(push_objects, objects, push, object_ids_to_push=set(answer.objects_to_push)))

    def close(self) -> None:
        """End the lease and close the connection; an engine that is gone is not waited for."""
        with suppress(EngineGone, EngineRefused, RunOver):
            if self.node.node_id:
                _asked(lambda: self._client.DeactivateNode(DeactivateNodeRequest(node_id=self.node.node_id)))
        self._client.close()
