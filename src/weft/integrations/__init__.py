"""Where the libraries meet: the agent asks authz, authz filters traversals, sessions flow into the graph."""
