"""What stands between a question and the walk that answers it; each layer can be switched off."""
