from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from voxtra import SIPTrunk as top_level
from voxtra.errors import ConfigurationError
from voxtra.provisioning import SIPTrunk, TenantConfig, render

DID = "+442071838750"


def parsed(text: str) -> list[tuple[str, str, str]]:
    """(section, name, value) as Asterisk reads them: main/config.c, process_text_line()."""
    found, section = [], ""
    for line in text.split("\n"):
        kept, at = "", 0
        while at < len(line):
            if line[at] == ";" and not (at and line[at - 1] == "\\"):
                break
            kept = kept[:-1] + ";" if line[at] == ";" else kept + line[at]
            at += 1
        kept = kept.strip()
        assert not kept.startswith("#"), kept
        if kept.startswith("["):
            section = kept[1 : kept.index("]")]
        elif kept:
            name, _, value = kept.partition("=")
            found.append((section, name.strip(), value.removeprefix(">").strip()))
    return found


def acme(**trunk: object) -> TenantConfig:
    return TenantConfig("acme", trunk=SIPTrunk("sip.example.com", did=DID, **trunk))  # type: ignore[arg-type]


@pytest.mark.proves(
    "SIPTrunk(host, port, username, password, realm, did, transport, codecs)",
    "voxtra.SIPTrunk",
)
def test_the_documented_form() -> None:
    assert top_level is SIPTrunk
    trunk = SIPTrunk(
        "sip.example.com", 5062, "user", "secret", "realm", DID, transport="tcp", codecs=["alaw"]
    )
    assert trunk == SIPTrunk(
        host="SIP.example.com", port=5062, username="user", password="secret", realm="realm", did=DID,
        transport="tcp", codecs=["alaw"],
    )  # fmt: skip
    assert trunk == SIPTrunk("sip.example.com", 5062, "user", "secret", "realm", DID, "tcp", ["alaw"])
    plain = SIPTrunk(host="10.0.0.1")
    assert (plain.port, plain.transport, plain.codecs) == (5060, "udp", ["ulaw", "alaw"])
    assert plain.endpoint("+33123456789") == "PJSIP/+33123456789@trunk-10-0-0-1"
    assert SIPTrunk(host="10.0.0.1", name="carrier").endpoint("+33123456789") == "PJSIP/+33123456789@carrier"
    assert trunk.uri("user") == "sip:user@sip.example.com:5062;transport=tcp"
    assert SIPTrunk(host="[2001:db8::1]").uri() == "sip:[2001:db8::1]:5060"


@pytest.mark.proves("TenantConfig", "failure 27")
def test_numbers_keep_their_plus_and_codecs_their_commas() -> None:
    tenant = TenantConfig("acme", trunk=SIPTrunk("sip.example.com", did=DID), dids=["0207", "+4930123456"])
    assert tenant.numbers == [DID, "0207", "+4930123456"]
    dialplan = render.extensions(tenant)
    assert f"exten => {DID},1,NoOp()" in dialplan
    assert f"exten => {DID[1:]},1,Goto({DID},1)" in dialplan
    assert ("acme_trunk", "allow", "ulaw,alaw") in parsed(render.pjsip(tenant))


def test_a_tenants_names_are_its_own() -> None:
    tenant = acme(name="carrier")
    assert tenant.trunk is not None
    assert tenant.trunk.endpoint(DID) == f"PJSIP/{DID}@acme_carrier"
    assert acme().trunk == acme().trunk
    assert tenant.endpoint(DID) == f"Local/{DID}@acme_out/n"
    assert {tenant.ari_user, tenant.inbound, tenant.outbound} == {"acme_ari", "acme_in", "acme_out"}
    with pytest.raises(ConfigurationError, match="has no trunk"):
        TenantConfig("acme").endpoint(DID)
    with pytest.raises(ConfigurationError, match=r"no E\.164"):
        acme().endpoint("100&PJSIP/1")


def test_limits_are_in_the_dialplan_both_ways() -> None:
    tenant = TenantConfig("acme", trunk=SIPTrunk("h", did=DID), max_channels=3, max_call_s=60)
    dialplan = render.extensions(tenant)
    assert dialplan.count("GROUP_COUNT(acme@voxtra_tenant)} > 3]?full,1)") == 2
    assert dialplan.count("TIMEOUT(absolute)=60") == 2
    assert ("acme_trunk", "set_var", "GROUP(voxtra_tenant)=acme") in parsed(render.pjsip(tenant))
    without = render.extensions(acme())
    assert "GROUP_COUNT" not in without
    assert "TIMEOUT" not in without


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"id": "Acme"}, "tenant.id = 'Acme': must be 1 to 32 small letters"),
        ({"id": "a_b"}, "tenant.id"),
        ({"id": "../x"}, "tenant.id"),
        ({"id": "x\n[y]"}, "tenant.id"),
        ({"app": "a,b)"}, "tenant.app"),
        ({"dids": [442071838750]}, "tenant.dids.0 = 442071838750: must be text: put it in quotes"),
        ({"dids": ["+44 207"]}, "tenant.dids.0"),
        ({"dids": ["_X."]}, "tenant.dids.0"),
        ({"dids": ["٤٤٢٠"]}, "tenant.dids.0"),
        ({"dids": [DID[1:]]}, "is given twice"),
        ({"max_channels": 0}, "tenant.max_channels = 0"),
        ({"max_chanels": 1}, "did you mean 'max_channels'?"),
        ({"ari_password": "short"}, "tenant.ari_password: must have at least 12"),
        ({"ari_password": "hunter2hunter2\n[evil]"}, "tenant.ari_password: must be at most 128 printable"),
        ({"trunk": {"host": "a b"}}, "tenant.trunk.host"),
        ({"trunk": {"host": "1.2.3"}}, "tenant.trunk.host"),
        ({"trunk": {"host": "sip.example.com;x"}}, "tenant.trunk.host"),
        ({"trunk": {"host": "h", "username": "u"}}, "belong together"),
        ({"trunk": {"host": "h", "username": 'u"', "password": "p"}}, "tenant.trunk.username"),
        ({"trunk": {"host": "h", "username": "u", "password": "p\n"}}, "tenant.trunk.password: must be"),
        ({"trunk": {"host": "h", "realm": 'r"'}}, "tenant.trunk.realm"),
        ({"trunk": {"host": "h", "codecs": ["ulaw|alaw"]}}, "tenant.trunk.codecs.0"),
        ({"trunk": {"host": "h", "codecs": []}}, "tenant.trunk.codecs"),
        ({"trunk": {"host": "h", "name": "a]b"}}, "tenant.trunk.name = 'a]b': must be 1 to 64 letters"),
        ({"trunk": {"host": "h", "did": 4420}}, "tenant.trunk.did = 4420: must be text: put it in quotes"),
        ({"trunk": {"host": "h", "did": "_X."}}, "tenant.trunk.did = '_X.': must be a number"),
        ({"trunk": {"host": "h", "transport": "udp;x"}}, "tenant.trunk.transport"),
        ({"trunk": {"host": "h", "port": 0}}, "tenant.trunk.port"),
        ({"trunk": {"host": "h", "registers": True}}, "registers needs username"),
        ({"trunk": None, "max_channels": 2}, "of no use without a trunk"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TenantConfig(**{"id": "acme", "trunk": {"host": "h", "did": DID}, **fields})  # type: ignore[arg-type]
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_secrets_are_never_shown() -> None:
    tenant = TenantConfig(
        "acme", trunk=SIPTrunk("h", username="u", password="hunter2"), ari_password="hunter2-hunter2"
    )
    assert "hunter2" not in f"{tenant!r} {tenant} {tenant.model_dump()} {tenant.trunk!r} {tenant.trunk}"
    for wrong in (["hunter2"], "hunter2\x00", "x" * 200 + "hunter2"):
        with pytest.raises(ConfigurationError) as caught:
            SIPTrunk("h", username="u", password=wrong)  # type: ignore[arg-type]
        assert "hunter2" not in str(caught.value)


SECTIONS = {"acme_ari", "acme_trunk", "acme_in", "acme_out", "voxtra_host_sip.example.com"}
wild = st.text(alphabet=st.sampled_from(";\\\n\r\t #[]=>\"'${}()&,|abAB01-_.\x00\x85é"), max_size=20)


@pytest.mark.proves("failure 27")
@settings(max_examples=60)
@given(wild, wild, wild, wild)
@example("me", ";--x", "", "\\;x")
@example("me", "\\;\n#include /etc/passwd", "r", "a;b\\\\;c;--d")
@example("me", "x]y[z=>w", "a b", "#exec rm;\\")
def test_no_value_becomes_anything_but_itself(user: str, password: str, realm: str, ari: str) -> None:
    ari = f"{ari}0123456789ab"
    try:
        tenant = TenantConfig(
            "acme",
            trunk=SIPTrunk("sip.example.com", username=user, password=password, realm=realm, did=DID),
            ari_password=ari,
        )
    except ConfigurationError as error:
        refused = str(error)
        assert "\n" not in refused
        return
    files = render.files(tenant)
    everything = [entry for text in files.values() for entry in parsed(text)]
    assert {section for section, _, _ in everything} <= SECTIONS
    assert ("acme_ari", "password", ari) in everything
    if password:
        assert ("acme_trunk", "password", password) in everything
        assert ("acme_trunk", "username", user) in everything
    assert len(parsed(files["ari"])) == 4
    assert all(text.isascii() for text in files.values())
    assert not any(secret in files["extensions"] for secret in (password, ari) if len(secret) > 8)
