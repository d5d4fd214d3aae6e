"""Tenants on a real Asterisk: written, loaded, called, limited, removed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from voxtra.ari import ARIClient, StasisStart
from voxtra.errors import ARINotFoundError, AuthenticationError, ProvisioningError
from voxtra.provisioning import SIPTrunk, TenantConfig, TenantProvisioner, provisioner
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone, PhoneCall

pytestmark = pytest.mark.live

DID = "+442071838750"
ODD = "p;a\"s's \\;x\\#include ${DID},|"
"""A password that would be a comment, an escape, an include or dialplan."""
ACCOUNT = """
[carrier](phone-common)
auth = carrier
aors = carrier
[carrier]
type = auth
auth_type = userpass
username = carrier
password = p\\;a"s's \\\\;x\\#include ${DID},|
[carrier](aor-common)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tenants") / "voxtra"


@pytest.fixture(scope="module")
def pbx(folder: Path) -> Iterator[PrivateAsterisk]:
    extra = dict(TenantProvisioner(folder).includes)
    extra["pjsip.conf"] = ACCOUNT + extra["pjsip.conf"]
    instance = PrivateAsterisk(extra=extra)
    asyncio.run(instance.start())
    yield instance
    asyncio.run(instance.stop())


class Rig:
    """A provisioner, and the calls that reach the application."""

    def __init__(self, pbx: PrivateAsterisk, ari: ARIClient, folder: Path) -> None:
        self.pbx = pbx
        self.ari = ari
        self.tenants = TenantProvisioner(folder, ari)
        self.calls: asyncio.Queue[StasisStart] = asyncio.Queue()
        ari.on_event(lambda event: self.calls.put_nowait(event) if isinstance(event, StasisStart) else None)

    async def call(self) -> tuple[list[str], str]:
        """Answer the next call; returns the arguments of Stasis() and the number dialled."""
        async with asyncio.timeout(5):
            event = await self.calls.get()
        await self.ari.channels.answer(channel_id=event.channel.id)
        return list(event.args), event.channel.dialplan.exten

    async def calls_of(self, tenant: str, number: int) -> None:
        """Wait until the tenant has so many calls."""
        async with asyncio.timeout(5):
            while await self.tenants.in_use(tenant) != number:
                await asyncio.sleep(0.02)

    @contextlib.asynccontextmanager
    async def phone(self, host: str, user: str = "caller") -> AsyncIterator[Phone]:
        async with Phone((self.pbx.sip_host, self.pbx.sip_port), host=host, user=user) as phone:
            yield phone


@pytest.fixture
async def rig(pbx: PrivateAsterisk, folder: Path) -> AsyncIterator[Rig]:
    async with ARIClient(pbx.ari_url, pbx.ari_user, pbx.ari_password, app="tenants") as ari:
        rig = Rig(pbx, ari, folder)
        yield rig
        for tenant in rig.tenants.tenants():
            await rig.tenants.withdraw(tenant.id)
        for channel in await ari.channels.list():
            with contextlib.suppress(ARINotFoundError):
                await ari.channels.hangup(channel_id=channel.id)


def tenant(id: str, host: str, did: str = DID, **options: object) -> TenantConfig:
    trunk = SIPTrunk(host, did=did, **options.pop("trunk", {}))  # type: ignore[arg-type]
    return TenantConfig(id, app="tenants", trunk=trunk, **options)


async def refused(call: PhoneCall) -> int:
    return (await call.ended(timeout=5)).status


@pytest.mark.proves("TenantProvisioner")
async def test_a_call_in_and_a_call_out(rig: Rig) -> None:
    async with rig.phone("127.0.0.2") as phone:
        acme = tenant("acme", "127.0.0.2", trunk={"port": phone.port})
        assert await rig.tenants.apply(acme)
        assert not await rig.tenants.apply(acme)
        for dialled in (DID, DID[1:]):
            call = await phone.dial(dialled)
            assert await rig.call() == (["acme"], DID)
            await call.answered(timeout=5)
            assert await rig.tenants.in_use("acme") == 1
            await call.hangup()
            await rig.calls_of("acme", 0)
        assert acme.trunk is not None
        for endpoint in (acme.trunk.endpoint("+33123456789"), acme.endpoint("+33123456789")):
            await rig.ari.channels.originate(endpoint=endpoint, app="tenants")
            out = await phone.incoming(timeout=5)
            assert out.invite.uri.startswith("sip:+33123456789@127.0.0.2")
            if endpoint.startswith("Local/"):
                assert f"<sip:{DID}@" in out.invite.headers.get("From")
            out.answer()
            await rig.call()
            assert await rig.tenants.in_use("acme") == 1
            await out.hangup()
            await rig.calls_of("acme", 0)
        assert await refused(await phone.dial("+4420999")) == 404


async def test_only_the_carriers_address_is_the_trunk(rig: Rig) -> None:
    await rig.tenants.apply(tenant("acme", "127.0.0.2"))
    async with rig.phone("127.0.0.9", user="acme_trunk") as stranger:
        call = await stranger.dial(DID)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                event = await rig.calls.get()
                pytest.fail(f"a stranger reached {event.args}")
        await call.hangup()


async def test_two_tenants_of_one_carrier(rig: Rig) -> None:
    await rig.tenants.apply(tenant("acme", "127.0.0.2"))
    await rig.tenants.apply(tenant("bolt", "127.0.0.2", "+4930123456", max_channels=1))
    await rig.tenants.apply(tenant("cord", "127.0.0.3", "+3312345678", trunk={"transport": "tcp"}))
    assert "sip:127.0.0.3:5060;transport=tcp" in await rig.pbx.rx("pjsip show aor cord_trunk")
    async with rig.phone("127.0.0.2") as phone:
        first = await phone.dial("+4930123456")
        assert await rig.call() == (["bolt"], "+4930123456")
        assert (await rig.tenants.in_use("acme"), await rig.tenants.in_use("bolt")) == (0, 1)
        assert await refused(await phone.dial("4930123456")) == 486
        second = await phone.dial(DID)
        assert await rig.call() == (["acme"], DID)
        assert await refused(await phone.dial("+3312345678")) == 404  # of another carrier
        await first.hangup()
        await second.hangup()


@pytest.mark.proves("failure 27")
async def test_never_more_calls_than_allowed(rig: Rig) -> None:
    async with rig.phone("127.0.0.2") as phone:
        acme = tenant("acme", "127.0.0.2", max_channels=2, trunk={"port": phone.port})
        await rig.tenants.apply(acme)
        burst = [await phone.dial(DID) for _ in range(8)]
        await asyncio.sleep(0.5)
        inside = [call for call in burst if call.state != "ended"]
        assert rig.calls.qsize() == len(inside)
        for _ in inside:
            await rig.call()
        assert len(inside) <= 2
        assert all([await refused(call) == 486 for call in burst if call not in inside])
        while len(inside) < 2:  # two at once may both have been refused: one after another they come in
            inside.append(await phone.dial(DID))
            await rig.call()
        assert await rig.tenants.in_use("acme") == 2
        assert await refused(await phone.dial(DID)) == 486

        await rig.ari.channels.originate(endpoint=acme.endpoint("+33123456789"), app="tenants")
        with pytest.raises(Exception, match="no call within"):
            await phone.incoming(timeout=0.5)  # the way out is full too
        await inside.pop().hangup()
        await rig.calls_of("acme", 1)
        await rig.ari.channels.originate(endpoint=acme.endpoint("+33123456789"), app="tenants")
        out = await phone.incoming(timeout=5)
        assert await refused(await phone.dial(DID)) == 486  # and a call out counts for those that come in
        out.reject(486)
        await inside.pop().hangup()


async def test_a_call_placed_straight_to_the_trunk_counts(rig: Rig) -> None:
    async with rig.phone("127.0.0.2") as phone:
        acme = tenant("acme", "127.0.0.2", max_channels=1, trunk={"port": phone.port})
        await rig.tenants.apply(acme)
        assert acme.trunk is not None
        await rig.ari.channels.originate(endpoint=acme.trunk.endpoint("+33123456789"), app="tenants")
        await phone.incoming(timeout=5)
        assert await refused(await phone.dial(DID)) == 486


async def test_a_call_ends_when_its_time_is_over(rig: Rig) -> None:
    await rig.tenants.apply(tenant("acme", "127.0.0.2", max_call_s=1))
    async with rig.phone("127.0.0.2") as phone:
        call = await phone.dial(DID)
        await rig.call()
        await call.answered(timeout=5)
        assert (await call.ended(timeout=8)).by == "remote"


async def test_no_application_no_call(rig: Rig) -> None:
    lonely = TenantConfig("acme", app="nobody", trunk=SIPTrunk("127.0.0.2", did=DID))
    await rig.tenants.apply(lonely)
    async with rig.phone("127.0.0.2") as phone:
        assert await refused(await phone.dial(DID)) == 503


@pytest.mark.proves("failure 27")
async def test_an_odd_password_logs_in_at_the_carrier_and_at_ari(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    pbx = rig.pbx
    login = SIPTrunk("127.0.0.1", pbx.sip_port, "carrier", ODD, did=DID, qualify_s=0)
    acme = TenantConfig("acme", app="tenants", trunk=login, ari_password=ODD)
    await rig.tenants.apply(acme)
    async with asyncio.timeout(20):  # Asterisk waits up to 10 s at random (max_random_initial_delay)
        while "Registered" not in (said := await pbx.rx("pjsip show registrations")):
            await asyncio.sleep(0.05)
    assert "acme_trunk" in said
    async with ARIClient(pbx.ari_url, acme.ari_user, ODD, app="acme") as theirs:
        assert (await theirs.asterisk.get_info()).system is not None
    assert "p;a" not in caplog.text + pbx.log_path.read_text() + await pbx.rx("dialplan show")

    await rig.tenants.apply(acme.model_copy(update={"ari_password": TenantConfig("x").ari_password}))
    with pytest.raises(AuthenticationError):
        async with ARIClient(pbx.ari_url, acme.ari_user, ODD, app="acme"):
            pass
    assert await rig.tenants.withdraw("acme")
    assert "acme_trunk" not in await pbx.rx("pjsip show registrations")


async def test_a_tenant_that_is_removed_is_gone(rig: Rig) -> None:
    pbx = rig.pbx
    acme, bolt = tenant("acme", "127.0.0.2"), tenant("bolt", "127.0.0.3", "+4930123456")
    await asyncio.gather(rig.tenants.apply(acme), rig.tenants.apply(bolt))
    async with rig.phone("127.0.0.2") as phone, rig.phone("127.0.0.3") as other:
        call = await phone.dial(DID)
        await rig.call()
        await call.answered(timeout=5)
        assert await rig.tenants.withdraw("acme")
        assert call.state == "answered"  # what is under way goes on
        assert not await rig.tenants.withdraw("acme")
        assert [tenant.id for tenant in rig.tenants.tenants()] == ["bolt"]
        for command in ("dialplan show", "pjsip show endpoints", "pjsip show identifies", "ari show users"):
            said = await pbx.rx(command)
            assert "acme" not in said.replace("acme_trunk-0", ""), command
            assert "bolt" in said
        await phone.dial(DID)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await rig.calls.get()
        await call.hangup()
        await other.dial("+4930123456")
        assert (await rig.call())[0] == ["bolt"]
    with pytest.raises(AuthenticationError):
        async with ARIClient(pbx.ari_url, acme.ari_user, acme.ari_password.get_secret_value(), app="acme"):
            pass


async def test_without_the_include_it_says_so(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisioner, "TAKE_UP_S", 0.2)
    elsewhere = TenantProvisioner(tmp_path / "elsewhere", rig.ari)
    with pytest.raises(ProvisioningError, match=r"has no trunk lost_trunk after a reload: is #tryinclude"):
        await elsewhere.apply(tenant("lost", "127.0.0.7", "+4930999"))
