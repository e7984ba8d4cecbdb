"""What we use of tensorboardX, imported without Amazon's client.

Where that is installed, tensorboardX loads it as it is imported. It would take a tenth of the start of a driver or a
worker. tensorboardX is given files only, wherever a run is kept.
"""

import sys

_is_loaded = "boto3" in sys.modules
sys.modules.setdefault("boto3", None)  # type: ignore[arg-type]  # None: as if it were not installed
try:
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.api_pb2 import DataType, Experiment, HParamInfo, Interval, MetricInfo, MetricName, Status
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboardX.summary import scalar
finally:
    if not _is_loaded:
        del sys.modules["boto3"]

__all__ = [
    "DataType",
    "Event",
    "EventsWriter",
    "Experiment",
    "HParamInfo",
    "HParamsPluginData",
    "Interval",
    "MetricInfo",
    "MetricName",
    "SessionEndInfo",
    "SessionLog",
    "SessionStartInfo",
    "Status",
    "Summary",
    "SummaryMetadata",
    "scalar",
]
