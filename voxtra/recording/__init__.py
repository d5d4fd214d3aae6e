"""Recordings of calls, the story of what was said, and where both go."""

from voxtra.recording.call import CallRecorder
from voxtra.recording.gcs import GCSSink
from voxtra.recording.records import CallRecords
from voxtra.recording.report import render_report
from voxtra.recording.s3 import S3Sink
from voxtra.recording.sink import CompositeSink, LocalFileSink, RecordingMetadata, RecordingSink, WebhookSink
from voxtra.recording.spooled import SpooledSink
from voxtra.recording.stereo import StereoRecorder
from voxtra.recording.timeline import Timeline

__all__ = [
    "CallRecorder",
    "CallRecords",
    "CompositeSink",
    "GCSSink",
    "LocalFileSink",
    "RecordingMetadata",
    "RecordingSink",
    "S3Sink",
    "SpooledSink",
    "StereoRecorder",
    "Timeline",
    "WebhookSink",
    "render_report",
]
