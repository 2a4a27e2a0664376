"""The read form of hot edge types: adjacency in arrays, in this process, kept up by the store's changes."""
