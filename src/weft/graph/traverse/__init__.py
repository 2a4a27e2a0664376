"""Walking the graph: steps as data, a planner without I/O, and the shell that reads for it."""
