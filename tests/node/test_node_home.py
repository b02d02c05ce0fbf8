import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from unica_sdk.errors import ConfigurationError, InvalidRequest
from unica_sdk.node.home import NodeHome
from unica_sdk.node.imaging.settings import ImageSettings
from unica_sdk.schemas.policy import SitePolicy

DIGEST = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64


def test_secrets_are_readable_by_their_owner_alone(empty_node: NodeHome) -> None:
    assert stat.S_IMODE(empty_node.folder.stat().st_mode) == 0o700
    for name in ("site.key", "signing.key", "engine.key"):
        assert stat.S_IMODE((empty_node.folder / name).stat().st_mode) == 0o600, name


def test_enrolment_holds_the_public_halves_only(empty_node: NodeHome) -> None:
    enrolment = empty_node.enrolment()
    private = load_ssh_private_key(empty_node.engine_key_file.read_bytes(), None)
    public = load_ssh_public_key(enrolment.engine_key.encode())
    assert private.public_key() == public
    assert private.public_key().curve.name == "secp384r1"
    assert enrolment.signing_key == empty_node.signing_key().public_key().public_bytes_raw().hex()
    secrets = [(empty_node.folder / name).read_bytes() for name in ("site.key", "signing.key", "engine.key")]
    shown = enrolment.model_dump_json() + repr(empty_node) + repr(empty_node.site_key())
    assert not any(secret.hex() in shown or secret.decode("latin1") in shown for secret in secrets)


def test_a_node_is_opened_as_it_was_made(empty_node: NodeHome) -> None:
    opened = NodeHome.open(empty_node.folder)
    assert opened.enrolment() == empty_node.enrolment()
    assert opened.policy() == SitePolicy()


def test_a_second_create_is_refused_and_keeps_the_keys(empty_node: NodeHome) -> None:
    before = (empty_node.folder / "site.key").read_bytes()
    with pytest.raises(ConfigurationError, match="already"):
        NodeHome.create(empty_node.folder, site="lt", name="x", country="LT")
    assert (empty_node.folder / "site.key").read_bytes() == before


def test_a_create_that_was_cut_short_is_taken_up_again_with_its_keys(empty_node: NodeHome) -> None:
    before = empty_node.enrolment()
    (empty_node.folder / "node.toml").unlink()
    with pytest.raises(ConfigurationError, match="no node"):
        NodeHome.open(empty_node.folder)
    again = NodeHome.create(empty_node.folder, site="lt", name="Baltic Clinic", country="LT")
    assert again.enrolment() == before


def test_settings_of_images_stand_in_the_nodes_file_and_may_be_left_out(empty_node: NodeHome) -> None:
    file = empty_node.folder / "node.toml"
    made = file.read_text()
    assert 'prepare = ["512x512"]' in made
    assert "cache_gib = 200" in made
    identity = made.split("[images]")[0]
    for text, expected in (
        (made, ImageSettings()),
        (identity, ImageSettings()),
        (identity + "[images]\nprepare = []", ImageSettings(prepare=())),
        (identity + '[images]\nprepare = ["64x128x128"]\ncache_gib = 1',
         ImageSettings(prepare=("64x128x128",), cache_gib=1)),
    ):  # fmt: skip
        file.write_text(text)
        assert NodeHome.open(empty_node.folder).images() == expected
    for wrong in ("images = 3\n" + identity, identity + "[images]\ncache_gb = 1", identity + "[other]"):
        file.write_text(wrong)
        with pytest.raises(ConfigurationError):
            empty_node.images()


@pytest.mark.parametrize(
    ("site", "country"), [("Gr", "GR"), ("../gr", "GR"), ("gr", "Greece"), ("gr", "gr"), ("", "GR")]
)
def test_impossible_names_make_no_node(tmp_path: Path, site: str, country: str) -> None:
    with pytest.raises(ConfigurationError):
        NodeHome.create(tmp_path / "x", site=site, name="x", country=country)
    with pytest.raises(ConfigurationError):
        NodeHome.open(tmp_path / "x")


def test_names_survive_being_written_as_toml(tmp_path: Path) -> None:
    name = 'Κέντρο "A"\\b\tc\x7fd'
    NodeHome.create(tmp_path / "x", site="gr", name=name, country="GR")
    assert NodeHome.open(tmp_path / "x").enrolment().name == name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("threshold = 2", "threshold"),
        ("threshhold = 10", "threshhold"),
        ("threshold = ", "not TOML"),
        ("rounding = 'five'", "rounding"),
    ],
)
def test_a_policy_with_a_mistake_is_named_never_replaced_by_defaults(
    empty_node: NodeHome, text: str, says: str
) -> None:
    (empty_node.folder / "policy.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=says):
        empty_node.policy()


def test_a_missing_policy_is_an_error(empty_node: NodeHome) -> None:
    (empty_node.folder / "policy.toml").unlink()
    with pytest.raises(ConfigurationError):
        empty_node.policy()


def test_approving_keeps_the_rest_of_the_policy_and_is_audited(empty_node: NodeHome) -> None:
    path = empty_node.folder / "policy.toml"
    path.write_text(path.read_text().replace("threshold = 10", "threshold = 20  # our ethics board"))
    for app in (OTHER, DIGEST, OTHER):
        empty_node.approve(app)
    assert empty_node.policy() == SitePolicy(threshold=20, approved_apps=(DIGEST, OTHER))
    assert "# our ethics board" in path.read_text()
    assert [entry.subject for entry in empty_node.audit.entries()] == [OTHER, DIGEST, OTHER]


def test_approving_adds_a_list_that_is_not_there(empty_node: NodeHome) -> None:
    (empty_node.folder / "policy.toml").write_text("threshold = 12\n")
    empty_node.approve(DIGEST)
    assert empty_node.policy() == SitePolicy(threshold=12, approved_apps=(DIGEST,))


def test_only_a_digest_can_be_approved(empty_node: NodeHome) -> None:
    with pytest.raises(InvalidRequest):
        empty_node.approve('sha256:"] \nthreshold = 3')
    assert empty_node.policy() == SitePolicy()


def test_pinned_keys_come_back(empty_node: NodeHome, people) -> None:
    with pytest.raises(ConfigurationError, match="not pinned"):
        empty_node.steward_key()
    steward, gateway = (k.public_key() for k in (people.steward, people.gateway))
    empty_node.pin(steward.public_bytes_raw(), gateway.public_bytes_raw())
    assert empty_node.steward_key() == steward
    assert empty_node.gateway_key() == gateway
    with pytest.raises(InvalidRequest):
        empty_node.pin(b"short", gateway.public_bytes_raw())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("site_budget = 400", "a noise of 10 is too small for 400 questions: at least 20.0"),
        ("site_budget = 40", "one person's budget is larger than the site's"),
        ("noise = -1", "noise"),
    ],
)
def test_a_noise_that_does_not_cover_the_budget_is_refused_with_the_reason(
    empty_node: NodeHome, text: str, says: str
) -> None:
    (empty_node.folder / "policy.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=says):
        empty_node.policy()
