"""cluster.py SCRIPT ARGUMENTS: runs a script with a Ray cluster of two nodes on this machine.

On a cluster of one's own there is no need for this: `ray job submit` runs the script.
"""

import os
import runpy
import sys

from ray.cluster_utils import Cluster

script, *arguments = sys.argv[1:]
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
os.environ["RAY_ADDRESS"] = cluster.address
sys.argv = [script, *arguments]
try:
    runpy.run_path(script, run_name="__main__")
finally:
    cluster.shutdown()
