"""From event streams to the graph: sources, jobs, typed output streams, exactly-once effect."""
