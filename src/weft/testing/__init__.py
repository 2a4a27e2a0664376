"""The shipped test kit: contract suites, strategies, oracles, the virtual clock and faults."""
