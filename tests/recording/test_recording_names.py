"""Templates of names: strict when they are made, and proof against whatever fills them."""

# ruff: noqa: ASYNC240 - small files of a test

import os
import re
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.errors import ConfigurationError
from voxtra.recording import GCSSink, LocalFileSink, RecordingMetadata, S3Sink
from voxtra.recording.names import NameTemplate, check_name, numbered

ENDED = 1_700_000_000.0


def test_it_is_filled_in():
    template = NameTemplate("calls/{date:%Y/%m/%d}/{session_id}/{name}.{format}")
    made = template.render(session_id="PJSIP/a:17.4", name="sales/first", format="wav", ended=ENDED)
    assert made == "calls/2023/11/14/PJSIP-a-17.4/sales/first.wav"
    assert template.prefix == "calls"
    assert NameTemplate("{name}").prefix == ""
    hourly = NameTemplate("day={date}/{date:%H}/{name}.{format}")
    assert hourly.render(session_id="", name="a", format="wav", ended=ENDED) == "day=2023-11-14/22/a.wav"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{date}", "must have {name}"),
        ("{name}/{x}", "there is no {x}"),
        ("{name", "expected '}'"),
        ("{name.__class__}", "there is no {name.__class__}"),
        ("{0}{name}", "there is no {0}"),
        ("{}{name}", "there is no {}"),
        ("{name!r}", "{name!r} can't be"),
        ("{name:>90}", "{name:>90} can't be"),
        ("{date:%c}/{name}", "{date:%c} can't be"),
        ("{date:%Y%}/{name}", "can't be"),
        ("../{name}", "makes"),
        ("/{name}", "makes"),
        ("a//{name}", "makes"),
        ("{name}/", "makes"),
        (".hidden/{name}", "makes"),
        ("{name}.", "makes"),
        ("a\\{name}", "can't be part of a name"),
        ("a\n{name}", "can't be part of a name"),
        ("{{name}}", "must have"),
        ("", "must have"),
    ],
)
def test_one_that_cannot_be_is_refused_by_every_sink(template, said):
    for make in (
        lambda: LocalFileSink("x", name=template),
        lambda: GCSSink("b", name=template),
        lambda: S3Sink("b", name=template),
    ):
        with pytest.raises(ConfigurationError, match=re.escape(said)):
            make()


TEMPLATES = [
    "{name}.{format}",
    "{session_id}/{name}",
    "{date:%Y-%m-%d}/{session_id}.{name}.{format}",
    "a/{name}{session_id}/{format}",
]


@given(
    st.sampled_from(TEMPLATES),
    st.text(max_size=200) | st.text("./\\\0 -", max_size=9),
    st.text(max_size=30) | st.text("./a", max_size=9),
    st.text(max_size=12),
    st.integers(0, 4_000_000_000),
)
def test_whatever_fills_it_it_stays_within_its_folder(template, session_id, name, format, ended):
    try:
        made = NameTemplate(template).render(session_id=session_id, name=name, format=format, ended=ended)
    except ConfigurationError:
        return
    path = PurePosixPath(made)
    assert not path.is_absolute()
    assert str(path) == made
    assert not any(part.startswith(".") or part.endswith((".", " ")) for part in path.parts)
    assert not re.search(r"[\0-\x1f\\]", made)
    assert made.count("/") == template.count("/") + name.count("/")


@given(st.text(max_size=40))
def test_a_session_never_adds_a_folder(session_id):
    made = NameTemplate("{session_id}/{name}").render(session_id=session_id, name="a", format="wav", ended=0)
    assert made.count("/") == 1


@pytest.mark.parametrize("format", ["../x", "wav/../x", "", "WAV", ".wav", "w" * 11])
async def test_a_format_never_leads_out_of_the_folder(tmp_path, format):
    path = tmp_path / "growing"
    path.write_bytes(b"RIFF")
    sink = LocalFileSink(tmp_path / "in" / "out")
    with pytest.raises(ConfigurationError, match="can't be a recording's format"):
        await sink.on_recording_complete(RecordingMetadata("s", "call", str(path), format=format))
    assert path.exists()


def test_a_number_goes_before_the_ending():
    assert numbered("a/call.wav", "wav", 1) == "a/call.wav"
    assert numbered("a/call.wav", "wav", 2) == "a/call-2.wav"
    assert numbered("a.b/call.wav.age", "wav.age", 3) == "a.b/call-3.wav.age"
    assert numbered("a.b/call", "wav", 2) == "a.b/call-2"


async def test_files_are_laid_out_by_it_and_none_replaces_another(tmp_path):
    sink = LocalFileSink(tmp_path / "out", name="{date:%Y/%m}/{session_id}/{name}.{format}")
    for content in (b"one", b"two"):
        path = tmp_path / "growing.wav"
        path.write_bytes(content)
        os.utime(path, (ENDED, ENDED))
        metadata = RecordingMetadata("17.4", "call", str(path))
        await sink.on_recording_complete(metadata)
        before = metadata.file_path
        await sink.on_recording_complete(metadata)  # called again
        assert metadata.file_path == before
    found = sorted(str(p.relative_to(tmp_path / "out")) for p in Path(tmp_path).rglob("*.wav"))
    assert found == ["2023/11/17.4/call-2.wav", "2023/11/17.4/call.wav"]
    assert metadata.extra["uri"] == Path(metadata.file_path).as_uri()
    assert check_name("call") == "call"


def test_a_name_that_no_disk_could_hold_is_refused_when_the_recording_begins():
    assert check_name("é" * 100)
    with pytest.raises(ConfigurationError, match="200 bytes"):
        check_name("録" * 67)
    long = {"session_id": "s" * 120, "name": "é" * 100, "format": "wav", "ended": 0.0}
    with pytest.raises(ConfigurationError, match="240 bytes"):
        NameTemplate("{session_id}-{name}.{format}").render(**long)
