"""A tenant as Asterisk's configuration: a text each for ari.conf, pjsip.conf and extensions.conf."""

from __future__ import annotations

import re

from voxtra._asterisk_values import line
from voxtra._sip_trunk import SIPTrunk
from voxtra.provisioning.tenant import TenantConfig

GROUP = "voxtra_tenant"
"""Category of the channel groups that calls are counted in."""


def section(name: str, **values: object) -> str:
    """A section of a configuration file."""
    return f"\n[{name}]\n" + "".join(line(key, value) for key, value in values.items())


def files(tenant: TenantConfig) -> dict[str, str]:
    """Kind of file → text, "" where the tenant needs none."""
    return {"ari": ari(tenant), "pjsip": pjsip(tenant), "extensions": extensions(tenant)}


def ari(tenant: TenantConfig) -> str:
    """The tenant's section of ari.conf."""
    return section(
        tenant.ari_user,
        type="user",
        read_only="yes" if tenant.ari_read_only else "no",
        password_format="plain",
        password=tenant.ari_password.get_secret_value(),
    )


def pjsip(tenant: TenantConfig) -> str:
    """The tenant's sections of pjsip.conf, "" without a trunk."""
    trunk = tenant.trunk
    if trunk is None:
        return ""
    name, login = trunk.section_name, bool(trunk.username)
    own = {"outbound_auth": name} if login else {}
    if trunk.from_user:
        own["from_user"] = trunk.from_user
    text = section(
        name,
        type="endpoint",
        context=tenant.inbound,
        # by address only: a From header with the section's name is anybody's to send
        identify_by="ip",
        disallow="all",
        allow=",".join(trunk.codecs),
        dtmf_mode="rfc4733",
        direct_media="no",
        rtp_symmetric="yes",
        force_rport="yes",
        rewrite_contact="yes",
        aors=name,
        # counts every call of the trunk, whoever places it
        set_var=f"GROUP({GROUP})={tenant.id}",
        **own,
    )
    text += section(name, type="aor", contact=trunk.uri(), qualify_frequency=trunk.qualify_s)
    text += section(name, type="identify", endpoint=name, match=trunk.host)
    if login:
        secret = trunk.password.get_secret_value()
        realm = {"realm": trunk.realm} if trunk.realm else {}
        text += section(
            name, type="auth", auth_type="userpass", username=trunk.username, password=secret, **realm
        )
    return text + (_registration(trunk) if trunk.wants_registration else "")


def _registration(trunk: SIPTrunk) -> str:
    name = trunk.section_name
    return section(
        name,
        type="registration",
        server_uri=trunk.uri(),
        client_uri=trunk.uri(trunk.username),
        contact_user=trunk.username,
        outbound_auth=name,
        # carriers of several tenants call one address: the line tells whose call it is
        line="yes",
        endpoint=name,
        retry_interval=30,
        forbidden_retry_interval=300,
        max_retries=1_000_000,
    )


def extensions(tenant: TenantConfig) -> str:
    """The tenant's contexts of extensions.conf, "" without a trunk.

    Everything in here is made of names and numbers: no value of another kind may stand in dialplan.
    """
    trunk = tenant.trunk
    if trunk is None:
        return ""
    return _inbound(tenant, trunk) + _outbound(tenant, trunk)


def shared_context(trunk: SIPTrunk) -> str:
    """The context of all numbers behind one carrier's host."""
    return f"voxtra_host_{re.sub('[^a-z0-9.-]', '-', trunk.host)}"


def _inbound(tenant: TenantConfig, trunk: SIPTrunk) -> str:
    shared = shared_context(trunk)
    own, others = [f"\n[{tenant.inbound}]"], [f"\n[{shared}]"]
    for number in tenant.numbers:
        own.append(f"exten => {number},1,NoOp()")
        own += [f" same => n,{step}" for step in (*_gate(tenant), *_into_the_app(tenant))]
        others.append(f"exten => {number},1,Goto({tenant.inbound},{number},1)")
        if number.startswith("+"):
            own.append(f"exten => {number[1:]},1,Goto({number},1)")
            others.append(f"exten => {number[1:]},1,Goto({tenant.inbound},{number},1)")
    own += ["exten => full,1,Hangup(17)", "exten => none,1,Hangup(34)"]
    # tenants of one carrier are called from one address, and the first of them gets the calls of all
    own.append(f"include => {shared}")
    return "\n".join((*own, *others)) + "\n"


def _into_the_app(tenant: TenantConfig) -> tuple[str, ...]:
    failed = 'GotoIf($["${STASISSTATUS}${VOXTRA_RETURNED}" != "SUCCESS"]?none,1)'
    return f"Stasis({tenant.app},{tenant.id})", failed, "Hangup()"


def _outbound(tenant: TenantConfig, trunk: SIPTrunk) -> str:
    gate = "".join(f" same => n,{step}\n" for step in (*_gate(tenant), *_caller(tenant)))
    return (
        f"\n[{tenant.outbound}]\n"
        "exten => _+X!,1,NoOp()\n"
        f"{gate}"
        # FILTER: what is dialled may not name further endpoints (&) nor Dial's options
        f" same => n,Dial(PJSIP/${{FILTER(+0-9,${{EXTEN}})}}@{trunk.section_name},120,"
        f"b({tenant.outbound}^leg^1))\n"
        " same => n,Hangup(${HANGUPCAUSE})\n"
        # the call is counted by the channel that dials: the one dialled is not a second call
        f"exten => leg,1,Set(GROUP({GROUP})={tenant.id}-leg)\n"
        " same => n,Return()\n"
        "exten => full,1,Hangup(17)\n"
    )


def _caller(tenant: TenantConfig) -> list[str]:
    # who calls without a number calls with the tenant's own
    number = "${CALLERID(num)}"
    own = tenant.numbers[:1]
    return [f"Set(CALLERID(num)=${{IF($[${{LEN({number})}} = 0]?{did}:{number})}})" for did in own]


def _gate(tenant: TenantConfig) -> list[str]:
    # count oneself first, then look: two at once may both be refused, never both let in
    steps = [f"Set(GROUP({GROUP})={tenant.id})"]
    if tenant.max_channels is not None:
        steps.append(f"GotoIf($[${{GROUP_COUNT({tenant.id}@{GROUP})}} > {tenant.max_channels}]?full,1)")
    if tenant.max_call_s is not None:
        steps.append(f"Set(TIMEOUT(absolute)={tenant.max_call_s})")
    return steps
