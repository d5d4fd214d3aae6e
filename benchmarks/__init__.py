"""What voxtra costs and how fast it is, measured: ``python -m benchmarks``. See docs/benchmarks.md."""
