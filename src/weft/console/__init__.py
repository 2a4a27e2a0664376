"""The web console, which speaks only the public HTTP API."""
