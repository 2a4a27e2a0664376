"""The three public wire formats over HTTP and server-sent events: chat completions, responses, messages."""
