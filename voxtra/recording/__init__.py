"""Recordings of calls, the story of what was said, and where both go."""

from voxtra.recording.call import CallRecorder
from voxtra.recording.report import render_report
from voxtra.recording.sink import CompositeSink, LocalFileSink, RecordingMetadata, RecordingSink, WebhookSink
from voxtra.recording.stereo import StereoRecorder
from voxtra.recording.timeline import Timeline

__all__ = [
    "CallRecorder",
    "CompositeSink",
    "LocalFileSink",
    "RecordingMetadata",
    "RecordingSink",
    "StereoRecorder",
    "Timeline",
    "WebhookSink",
    "render_report",
]
