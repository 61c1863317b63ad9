"""Trains churn again each night with its captured calls, and releases it if it is better: a DAG of Airflow 3.

Copy it into the folder of DAGs. The worker needs needletail, needletail-trainer, deploy/examples/pipeline and
deploy/examples/retraining below /opt/needletail, and may read what the server captures.
"""

from __future__ import annotations

import datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    dag_id="retrain_churn",
    description="Train churn again with its captured calls; release it if it is better",
    schedule="30 2 * * *",
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    catchup=False,
    # A second run would take the first one's canary for the version that serves.
    max_active_runs=1,
    tags=["needletail"],
):
    BashOperator(
        task_id="retrain",
        bash_command="/opt/needletail/retraining/retrain /etc/needletail/churn.yaml churn /var/lib/needletail/capture",
        env={
            "STORE": "s3://models/production",
            "SERVER": "needletail:6470",
            "KEY": "/etc/needletail/publisher.key",
            "METRIC": "log_loss",
        },
        # The environment holds the credentials of the store.
        append_env=True,
        execution_timeout=datetime.timedelta(hours=4),
    )
