"""One hypothesis profile for all tests: reproducible, and without a clock."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "optsearch",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("optsearch")
