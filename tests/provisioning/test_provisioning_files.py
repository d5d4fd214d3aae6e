from __future__ import annotations

import fcntl
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from voxtra.errors import ConfigurationError, ProvisioningError
from voxtra.provisioning import SIPTrunk, Tenant, TenantConfig, TenantProvisioner, folder


def tenant(id: str = "acme", did: str = "+442071838750", **fields: object) -> TenantConfig:
    fields.setdefault("ari_password", "0123456789abcdef")
    trunk = SIPTrunk("sip.example.com", username="u", password="s3cret-s3cret", did=did)
    return TenantConfig(id, trunk=trunk, **fields)


def everything(path: Path) -> dict[str, str]:
    return {str(p.relative_to(path)): p.read_text() for p in path.rglob("*.conf") if p.name != "_stamp.conf"}


@pytest.mark.proves("failure 27", "TenantProvisioner")
def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        TenantProvisioner(tmp_path / "a" / "voxtra").write(tenant())
    finally:
        os.umask(old)
    for path in (tmp_path / "a" / "voxtra").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_are_given_to_the_user_asterisk_runs_as(tmp_path: Path) -> None:
    TenantProvisioner(tmp_path / "t", owner=65534).write(tenant())
    for path in (tmp_path / "t").rglob("*"):
        assert path.name == ".lock" or path.stat().st_uid == 65534, path


def test_written_changed_listed_removed(tmp_path: Path) -> None:
    tenants = TenantProvisioner(tmp_path / "t")
    assert tenants.tenants() == []
    assert tenants.write(tenant())
    assert not tenants.write(tenant())
    before = {p: p.read_text() for p in tmp_path.rglob("_stamp.conf")}
    assert tenants.write(tenant(max_channels=5))
    changed = {p.parent.name for p, text in before.items() if p.read_text() != text}
    assert changed == {"extensions"}  # and Asterisk is made to look again where something changed
    assert tenants.write(TenantConfig("bolt"))
    assert tenants.tenants() == [
        Tenant("acme", "voxtra", "acme_trunk", "sip.example.com", ("+442071838750",)),
        Tenant("bolt", "voxtra", "", "", ()),
    ]
    assert sorted(everything(tmp_path / "t")) == [
        "ari/acme.conf",
        "ari/bolt.conf",
        "extensions/acme.conf",
        "pjsip/acme.conf",
    ]
    assert tenants.remove("acme")
    assert not tenants.remove("acme")
    assert sorted(everything(tmp_path / "t")) == ["ari/bolt.conf"]
    assert "s3cret" not in "".join(p.read_text() for p in tmp_path.rglob("*") if p.is_file())


def test_a_number_has_one_owner(tmp_path: Path) -> None:
    tenants = TenantProvisioner(tmp_path / "t")
    tenants.write(tenant())
    with pytest.raises(ProvisioningError, match="the number 442071838750 belongs to tenant acme"):
        tenants.write(tenant("bolt", "442071838750"))
    assert [t.id for t in tenants.tenants()] == ["acme"]
    tenants.remove("acme")
    assert tenants.write(tenant("bolt", "442071838750"))


def test_what_fails_half_way_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tenants = TenantProvisioner(tmp_path / "t")
    tenants.write(tenant())
    before = everything(tmp_path / "t")
    real, left = os.fsync, [3]

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(folder.os, "fsync", full)
    with pytest.raises(ProvisioningError, match="No space left on device"):
        tenants.write(tenant(did="+4930123456", ari_password="another-password"))
    monkeypatch.undo()
    assert everything(tmp_path / "t") == before
    assert not [p for p in tmp_path.rglob("*") if p.name.endswith(".new")]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    tenants = TenantProvisioner(tmp_path / "t")
    tenants.write(tenant())
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    path = tmp_path / "t" / "pjsip" / "acme.conf"
    path.unlink()
    path.symlink_to(victim)
    tenants.write(tenant())
    assert victim.read_text() == "untouched"
    assert not path.is_symlink()


def test_bad_folders_and_names(tmp_path: Path) -> None:
    public = tmp_path / "public"
    public.mkdir()
    public.chmod(0o777)
    with pytest.raises(ProvisioningError, match="everybody may write to it"):
        TenantProvisioner(public).write(tenant())
    (tmp_path / "file").write_text("")
    with pytest.raises(ProvisioningError, match="is no folder"):
        TenantProvisioner(tmp_path / "file").write(tenant())
    with pytest.raises(ProvisioningError, match="can't stand in Asterisk's configuration"):
        TenantProvisioner(tmp_path / 'x"\n#exec rm')
    with pytest.raises(ProvisioningError, match="no such user"):
        TenantProvisioner(tmp_path / "t", owner="nobody-of-that-name")
    with pytest.raises(ProvisioningError, match="is no tenant's id"):
        TenantProvisioner(tmp_path / "t").remove("../../etc/passwd")
    with pytest.raises(ProvisioningError, match="5 is no tenant's id"):
        TenantProvisioner(tmp_path / "t").remove(5)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="tenant='acme': should be a TenantConfig"):
        TenantProvisioner(tmp_path / "t").write("acme")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="directory=5"):
        TenantProvisioner(5)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="ari='http://pbx'"):
        TenantProvisioner(tmp_path / "t", "http://pbx")  # type: ignore[arg-type]
    (tmp_path / "t" / "ari").mkdir(parents=True, mode=0o700)
    (tmp_path / "t" / "ari" / "strange.conf").write_text("[x]\n")
    with pytest.raises(ProvisioningError, match=r"strange\.conf: not written by voxtra"):
        TenantProvisioner(tmp_path / "t").tenants()


async def test_without_a_client_files_only(tmp_path: Path) -> None:
    tenants = TenantProvisioner(tmp_path / "t")
    with pytest.raises(ConfigurationError, match="no ARI client"):
        await tenants.apply(tenant())
    assert tenants.includes["ari.conf"] == f'#tryinclude "{tmp_path}/t/ari/*.conf"'


def test_a_lock_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "LOCK_S", 0.05)
    tenants = TenantProvisioner(tmp_path / "t")
    tenants.write(tenant())
    descriptor = os.open(tmp_path / "t" / ".lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(ProvisioningError, match="another process holds its lock"):
            tenants.write(tenant(max_channels=1))
    finally:
        os.close(descriptor)
    assert tenants.write(tenant(max_channels=1))


def _write_many(path: str, first: int) -> None:
    tenants = TenantProvisioner(path)
    for number in range(first, first + 8):
        tenants.write(tenant(f"t{number}", f"+4420718387{number:02}"))
        try:
            tenants.write(tenant(f"all-{first}", "+4930123456"))
        except ProvisioningError:
            continue


def test_many_processes_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_write_many, args=(str(tmp_path / "t"), 10 * n + 10)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    names = [t.id for t in TenantProvisioner(tmp_path / "t").tenants()]
    assert len(names) == 25
    assert sum(name.startswith("all-") for name in names) == 1  # one number, one owner


def test_a_place_that_leads_nowhere_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for place in (tmp_path / "link", Path("/proc/none/here")):
        with pytest.raises(ProvisioningError, match="No such file"):
            TenantProvisioner(place).write(TenantConfig("acme"))
