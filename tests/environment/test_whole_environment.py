"""The whole path on the real engines: `unica up`, `unica demo`, a notebook through the hub, `unica down`."""

import json
import os
import re
import signal
from pathlib import Path

import httpx
import nbformat
import pytest
from browser import Browser, wait_until
from whole_environment import PATIENTS, WholeEnvironment

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOK = REPOSITORY / "notebooks" / "research" / "01_first_study.ipynb"
SITES = ["gr", "lt", "pt"]


def part(environment: WholeEnvironment, name: str) -> dict[str, object]:
    return next(one for one in environment.status()["parts"] if one["name"] == name)


def test_every_part_runs_and_the_sign_in_page_answers(environment: WholeEnvironment) -> None:
    status = environment.status()
    assert status["state"] == "running"
    assert {one["state"] for one in status["parts"]} == {"running"}
    page = httpx.get(f"{environment.address}/hub/login", trust_env=False)
    assert page.status_code == 200
    assert "not isolated" in page.text.lower()


def test_starting_again_finds_it_running_and_tells_the_sign_ins(environment: WholeEnvironment) -> None:
    told = environment.up()
    assert "already" in told
    for name, password in environment.sign_ins().items():
        assert name in told
        assert password in told


def test_no_secret_is_in_a_process_list_or_a_log(environment: WholeEnvironment) -> None:
    secrets = [*environment.sign_ins().values(), environment.token()]
    for process in environment.processes():
        command = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
        assert not any(secret in command for secret in secrets)
    for log in (environment.state / "logs").iterdir():
        text = log.read_text(errors="replace")
        assert not any(secret in text for secret in secrets), log.name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands over to a service user")
def test_nothing_runs_as_root(environment: WholeEnvironment) -> None:
    processes = environment.processes()
    assert processes
    assert all(Path(f"/proc/{process}").stat().st_uid != 0 for process in processes)


def test_the_demo_does_the_whole_job(environment: WholeEnvironment) -> None:
    outcome = json.loads(environment.unica("demo", "--json", "--rounds", "2").stdout)
    assert outcome["state"] == "completed"
    assert sorted(one["site"] for one in outcome["participants"]) == SITES
    assert {one["state"] for one in outcome["participants"]} == {"completed"}
    assert outcome["rounds"] == 2
    assert sorted(outcome["metrics"]["sites"]) == SITES
    auc = outcome["metrics"]["pooled"]["auc"]
    assert 0 <= auc["low"] <= auc["value"] <= auc["high"] <= 1
    assert 0 < auc["n"] < 3 * PATIENTS
    assert re.fullmatch(r"hmac:[0-9a-f]{64}", outcome["cohort"])
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", outcome["app"])


def test_the_notebook_runs_in_a_real_server_of_the_hub(environment: WholeEnvironment) -> None:
    cells = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    with Browser(environment.address) as browser:
        browser.sign_in("researcher", environment.sign_ins()["researcher"])
        browser.start_workspace()
        try:
            with browser.kernel() as execute:
                printed = "".join(execute(cell) for cell in cells)
                assert "Round 3 of 3" in printed
                assert execute("print(result.job.state.value)").strip() == "completed"
                assert "not isolated" in execute("print(repr(net))")
        finally:
            browser.stop_workspace()


def test_a_killed_node_comes_back(environment: WholeEnvironment) -> None:
    before = part(environment, "node-lt")
    os.kill(int(str(before["pid"])), signal.SIGKILL)

    def back() -> bool:
        now = part(environment, "node-lt")
        return now["state"] == "running" and now["pid"] != before["pid"]

    wait_until(back, what="the node comes back", seconds=90)


def test_the_audits_hold_and_agree_about_each_other(environment: WholeEnvironment) -> None:
    told = environment.unica("audit", "verify").stdout
    for place in ("gateway", *SITES):
        assert place in told


def test_down_leaves_no_process_and_up_finds_everything_again(environment: WholeEnvironment) -> None:
    sign_ins = environment.sign_ins()
    os.kill(environment.supervisor(), signal.SIGKILL)
    environment.unica("down")
    assert environment.processes() == []
    assert environment.status()["state"] == "stopped"
    environment.up()
    assert environment.sign_ins() == sign_ins
    assert environment.status()["state"] == "running"
