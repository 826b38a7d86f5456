"""Speed and memory of the package against peers: `python -m benchmarks`."""
