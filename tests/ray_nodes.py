"""A real Ray cluster of several nodes on this machine, for tests that kill one of them."""

import contextlib
import os
import socket
from functools import partial
from pathlib import Path

TESTS = Path(__file__).parent


def free_ports():
    """Ports that Ray would otherwise choose itself, and then die of if its agents take 15 s to name them (ray-project/ray issue 65983)."""
    names = (
        "metrics_agent_port",
        "metrics_export_port",
        "runtime_env_agent_port",
        "dashboard_agent_listen_port",
    )
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return dict(zip(names, ports, strict=True))


def python_path(folder, *more):
    """The PYTHONPATH for Ray's processes. Each imports jsonschema, which imports rfc3987_syntax where Jupyter has brought it: 5.6 s of the 15. They can do without."""
    (folder / "rfc3987_syntax.py").write_text("raise ImportError('not needed here')")
    return os.pathsep.join(map(str, (folder, TESTS.parent, TESTS, *more)))


def patiently(start, tries=4):
    """Start Ray, again where it fails: free ports help with three of the four files that it waits for, so a busy machine may need a second try."""
    for left in reversed(range(tries)):
        try:
            return start(include_dashboard=False, num_gpus=0, **free_ports())
        except Exception:
            if not left:
                raise


@contextlib.contextmanager
def two_nodes(head, second):
    """A cluster with so many CPUs on its two nodes, and the second node."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        patiently(partial(cluster.add_node, num_cpus=head))
        yield cluster, patiently(partial(cluster.add_node, num_cpus=second))
    finally:
        cluster.shutdown()
