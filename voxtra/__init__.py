"""voxtra: voice agents, IVRs and phone applications on Asterisk."""

__version__ = "0.1.0"
