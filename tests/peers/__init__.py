"""transformers' own test suites, and the libraries around it, against our classes: `make peers`."""
