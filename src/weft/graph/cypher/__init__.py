"""A read-only subset of openCypher: from text to a plan that is run set-at-a-time, like a traversal."""
