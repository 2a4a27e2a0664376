"""Shared by every test: HYPOTHESIS_PROFILE is dev by default, ci where CI is set, thorough on request."""

import os

from hypothesis import HealthCheck, settings

_shared = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much]}
settings.register_profile("dev", max_examples=50, **_shared)
settings.register_profile("ci", max_examples=100, print_blob=True, **_shared)
settings.register_profile("thorough", max_examples=2_000, print_blob=True, **_shared)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))
