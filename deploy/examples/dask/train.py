#!/usr/bin/env python3
"""Trains XGBoost on a Dask cluster and exports the model for ``needletail-trainer import``.

train.py ROWS.csv TARGET FOLDER    writes FOLDER/cancer.json, cancer.rows.csv and cancer.expected.csv

The cluster is two worker processes of this machine. For one of many machines, give its scheduler's address to
``Client``; nothing else changes. Ray and Spark take the place of the lines between CLUSTER and MODEL:

* Ray: ``xgboost.train(…, callbacks=[RayTrainReportCallback()])`` is what each worker of a
  ``ray.train.xgboost.XGBoostTrainer`` runs; ``RayTrainReportCallback.get_model(result.checkpoint)`` is the booster.
* Spark: ``xgboost.spark.SparkXGBClassifier(num_workers=…).fit(frame).get_booster()`` is the booster.

All three give an ordinary ``Booster`` at the end, and what follows needs no cluster.
"""

import pathlib
import sys

import dask.dataframe as dd
import needletail.export
import pandas as pd
from dask.distributed import Client, LocalCluster
from xgboost import dask as dxgb


def main() -> None:
    rows, target, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    # CLUSTER
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        # On a cluster the table is many files, of which each worker reads some: dd.read_parquet("s3://…"). The
        # scheduler would keep so small a one as this on one worker.
        workers = list(client.scheduler_info()["workers"])
        table = dd.from_pandas(pd.read_csv(rows), npartitions=len(workers))
        table = dd.concat(
            [client.persist(table.partitions[place], workers=worker) for place, worker in enumerate(workers)]
        )
        codes = (table[target] == "benign").astype("int32")
        data = dxgb.DaskDMatrix(client, table.drop(columns=[target]), codes)
        settings = {"objective": "binary:logistic", "max_depth": 4, "eta": 0.2, "tree_method": "hist", "seed": 1}
        result = dxgb.train(client, settings, data, num_boost_round=60, evals=[(data, "train")], verbose_eval=False)
        parts = [len(keys) for keys in client.has_what().values()]
        print(f"{len(parts)} workers, which hold {parts} parts of the table")
        print(f"log loss of the training rows {result['history']['train']['logloss'][-1]:.4f}")
    # MODEL
    sample = pd.read_csv(rows).drop(columns=[target])
    for path in needletail.export.export(result["booster"], folder / "cancer.json", data=sample):
        print(f"wrote {path}")


# Worker processes import this file.
if __name__ == "__main__":
    main()
