"""What runs inside a sandbox: standard library only, started by `python -I -S`, to be small and soon up."""
