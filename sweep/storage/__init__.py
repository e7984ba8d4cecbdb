"""Where files are kept: on this machine, or on S3, Google Cloud Storage, HDFS, whatever pyarrow or fsspec can open.

`open_folder` in `sweep.storage.open` is the door. All reading and writing goes through the `StoredPath` that it gives.
"""
