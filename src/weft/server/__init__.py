"""The faces other programs talk to."""
