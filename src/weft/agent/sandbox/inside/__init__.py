"""What runs inside a sandbox: standard library only, loaded once by a template that is forked for each."""
