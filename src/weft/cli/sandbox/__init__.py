"""`weft sandbox`: run, work in, examine and time sandboxes from the command line."""
