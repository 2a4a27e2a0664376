"""`weft graph`: a graph from the command line."""
