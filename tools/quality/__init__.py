"""Parts of tools/benchmark_quality.py."""
