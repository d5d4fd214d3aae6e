"""For tests: a private Asterisk, and a telephone that measures what it hears."""

from voxtra.testing.asterisk import AsteriskError, PrivateAsterisk
from voxtra.testing.phone import Ended, Packet, Phone, PhoneCall, PhoneError

__all__ = ["AsteriskError", "Ended", "Packet", "Phone", "PhoneCall", "PhoneError", "PrivateAsterisk"]
