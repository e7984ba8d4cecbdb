"""Run folders on another file system: S3, Google Cloud Storage, HDFS, whatever pyarrow or fsspec can open.

`mirror` is what the rest of the service uses. It does nothing for folders of this machine.
"""
