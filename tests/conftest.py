"""Makes the helpers that lie beside this file (``faults``) importable from every test."""
