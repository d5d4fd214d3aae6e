"""Tenants: each with an ARI user, a SIP trunk and a way in of its own, written as Asterisk's configuration.

    provisioner = TenantProvisioner("/etc/asterisk/voxtra", ari)
    await provisioner.apply(TenantConfig("acme", trunk=SIPTrunk("sip.example.com", did="+442071838750")))

Asterisk's own files include that folder once; see docs/provisioning.md.
"""

from voxtra._sip_trunk import SIPTrunk
from voxtra.provisioning.provisioner import Tenant, TenantProvisioner
from voxtra.provisioning.tenant import TenantConfig

__all__ = ["SIPTrunk", "Tenant", "TenantConfig", "TenantProvisioner"]
