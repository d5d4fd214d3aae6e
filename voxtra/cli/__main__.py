"""``python -m voxtra.cli``."""

from voxtra.cli.root import main

main()
