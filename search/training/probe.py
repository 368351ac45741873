"""A process that connects to a Ray cluster and leaves again, so that nobody has to wait for one that is not there.

Ray tries for minutes to reach a cluster, and writes on the terminal meanwhile; a process can be ended. Run as a script
with the address of a cluster: says `HEAD` once its head has answered, ends without an error if it could connect, and
with one line on the standard output if not.
"""

from __future__ import annotations

import logging
import sys

HEAD = "head"


def main(address: str, is_found: bool) -> None:
    """Connect and leave.

    Args:
        address: host:port.
        is_found: whether the cluster was found by itself; then Ray uses the token of this machine unasked.
    """
    import ray
    from ray._private import ray_constants
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    if is_found:
        use_token()
    GcsClient(address=address)
    print(HEAD, flush=True)
    ray_constants.ENABLE_RAY_CLUSTER = False  # what is given is an address already, even if that is the loopback
    ray.init(address=address, logging_level=logging.CRITICAL, log_to_driver=False, configure_logging=False)


def use_token() -> None:
    """Have Ray show this machine's token, if there is one, as it does with clusters that it finds by itself."""
    try:
        from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
    except ImportError:  # a version of Ray without tokens
        return
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


if __name__ == "__main__":
    try:
        main(sys.argv[1], "found" in sys.argv[2:])
    except Exception as error:
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", flush=True)
        sys.exit(1)
