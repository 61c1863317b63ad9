"""tune.py RUN_FILE OUTPUT: a search on every node of a Ray cluster, with the study in PostgreSQL.

One task a node runs `needletail-trainer tune --worker`; the tasks share the study that NEEDLETAIL_STUDY names, so Ray
moves nothing but the run file's text. A task whose node is lost is started again by Ray, and its trial comes back after
`tuning.lost_seconds`. At the end this process writes the model of the best trials.

The run file's data must be at the same path on each node, and needletail-trainer and libpq5 installed there;
NEEDLETAIL_TRAINER names the program. TUNE_SECONDS is the time to search, TUNE_SETTINGS are more `--set`s.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import ray

run_file, output = sys.argv[1:3]
study = os.environ["NEEDLETAIL_STUDY"]
trainer = os.environ.get("NEEDLETAIL_TRAINER", "needletail-trainer")
seconds = os.environ.get("TUNE_SECONDS", "600")
settings = [word for setting in os.environ.get("TUNE_SETTINGS", "").split() for word in ("--set", setting)]


# A task has its node's processors, for trials run on all of them.
@ray.remote(max_retries=-1, scheduling_strategy="SPREAD")
def work(text, directory, study):
    """Runs one worker until the search is over, and returns its last line: how many trials it did."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", dir=directory) as file:
        file.write(text)
        file.flush()
        command = [trainer, "tune", file.name, "--worker", "--time", seconds, "--study-name", "ray", *settings]
        environment = {**os.environ, "NEEDLETAIL_STUDY": study}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return done.stderr.strip().splitlines()[-1]


ray.init(log_to_driver=False)
nodes = [node for node in ray.nodes() if node["Alive"]]
# Relative paths of a run file start from its directory.
path = Path(run_file).resolve()
tasks = [
    work.options(num_cpus=node["Resources"].get("CPU", 1)).remote(path.read_text(), str(path.parent), study)
    for node in nodes
]
for node, line in zip(nodes, ray.get(tasks), strict=True):
    print(f"{node['NodeManagerHostname']}: {line}")
ray.shutdown()

# All trials are done or the time is over: the rest is one process's work.
command = [trainer, "tune", run_file, "--time", "1", "--study-name", "ray", "--output", output, *settings]
sys.exit(subprocess.run(command).returncode)
