"""dag.py DIRECTORY: what Airflow finds in the directory's one DAG."""

import sys

from airflow.dag_processing.dagbag import DagBag

bag = DagBag(sys.argv[1])
if bag.import_errors:
    sys.exit(f"Airflow cannot read the DAG: {bag.import_errors}")
[dag] = bag.dags.values()
[task] = dag.tasks
found = {
    "dag": dag.dag_id,
    "schedule": dag.timetable.expression,
    "runs at a time": dag.max_active_runs,
    "missed nights": dag.catchup,
    "command": task.bash_command.split()[0],
    "metric": task.env["METRIC"],
}
expected = {
    "dag": "retrain_churn",
    "schedule": "30 2 * * *",
    "runs at a time": 1,
    "missed nights": False,
    "command": "/opt/needletail/retraining/retrain",
    "metric": "log_loss",
}
for name, value in expected.items():
    print(f"{'ok    ' if found[name] == value else 'FAILED'}  {name}: {found[name]}")
sys.exit(0 if found == expected else 1)
