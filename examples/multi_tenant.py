"""Two customers on one Asterisk: their numbers come to one program, which greets for each.

    voxtra dev examples/multi_tenant.py:app

With TENANTS_FOLDER set to a folder that Asterisk's files include (see docs/provisioning.md), their trunks,
numbers and limits are also written there as Asterisk's configuration when the app starts.
"""

import os

from voxtra import CallSession, SIPTrunk, VoxtraApp
from voxtra.provisioning import TenantConfig, TenantProvisioner

app = VoxtraApp()

TENANTS = [
    TenantConfig(
        "acme",
        trunk=SIPTrunk("127.0.0.2", did="+442071838750"),
        dids=["+442071838751"],
        max_channels=2,
    ),
    TenantConfig("zenith", trunk=SIPTrunk("127.0.0.3", did="+33123456789")),
]
GREETING = {"acme": "hello-world", "zenith": "conf-onlyperson"}


@app.on_startup
async def provision() -> None:
    if folder := os.environ.get("TENANTS_FOLDER"):
        provisioner = TenantProvisioner(folder, app.ari)
        for tenant in TENANTS:
            await provisioner.apply(tenant)


async def welcome(call: CallSession) -> None:
    """The same code for all of them: what differs is in ``call.metadata``."""
    await call.answer()
    await call.play_file(call.metadata["greeting"])


for tenant in TENANTS:
    for number in tenant.numbers:
        metadata = {"tenant": tenant.id, "greeting": GREETING[tenant.id]}
        app.route(extension=number, name=tenant.id, metadata=metadata)(welcome)


@app.default()
async def unknown(call: CallSession) -> None:
    await call.hangup("unallocated")
