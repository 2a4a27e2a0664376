"""The two-level map: namespace, record, sorted items; with versions, tokens, expiry and pages."""
