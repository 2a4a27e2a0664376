"""`weft authz`: permissions from the command line, one module per kind of command."""
