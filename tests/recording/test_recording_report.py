"""The page of a call: whole in itself, true, and deaf to what callers smuggle in."""

import re
import wave
from html.parser import HTMLParser

import numpy as np
import pytest

from voxtra.errors import CodecError
from voxtra.recording import Timeline, render_report
from voxtra.recording.peaks import outline
from voxtra.recording.report import unheard

EVIL = "</script><script>alert(1)</script><img src=x onerror='a()'> \" & é"


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on tags that don't close."""

    VOID = ("meta", "img", "br")

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.text, self.attributes = [], [], {}, []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID and tag != "path":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        where = self.open[-1] if self.open else ""
        self.text[where] = self.text.get(where, "") + data


def write_wav(path, seconds=4.0, channels=2, rate=8000):
    both = np.zeros((int(seconds * rate), channels), "<i2")
    both[: rate // 2, 0] = 8000
    both[rate : 2 * rate, -1] = -16000
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(both.tobytes())
    return path


def story(text="Hello", turns=1):
    timeline = Timeline()
    timeline.call.update(id=text, caller_id=text)
    for n in range(turns):
        timeline.caller_turn(text, n * 4000, n * 4000 + 500)
        latency = {
            "endpointing": 400,
            "stt": 100,
            "llm": 300,
            "tts": 50,
            "framework": 5,
            "wire": 15,
            "total": 870,
        }
        timeline.agent_turn(text, n * 4000 + 1000, n * 4000 + 2000, True, latency, f"{text} unspoken words")
        timeline.digit("5", n * 4000 + 2500)
        timeline.event(text, n * 4000, {text: text})
    return timeline.to_dict()


def test_what_a_caller_says_is_text_and_nothing_else(tmp_path):
    path = write_wav(tmp_path / "call.wav")
    html = render_report(story(EVIL), path)
    page = Page(html)
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    assert EVIL in page.text["p"]
    assert EVIL in page.text["title"]


def test_nothing_outside_the_page_is_asked_for_and_only_its_own_script_may_run(tmp_path):
    html = render_report(story(), write_wav(tmp_path / "call.wav"))
    page = Page(html)
    sources = [value for _, name, value in page.attributes if name in ("src", "href")]
    assert [source[:22] for source in sources] == ["data:audio/wav;base64,"]
    assert "://" not in html
    policy = next(value for _, name, value in page.attributes if name == "content" and "default-src" in value)
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[\w+/]+=*';", policy)


def test_what_was_planned_and_unheard_is_struck_through(tmp_path):
    page = Page(render_report(story("Good day"), None))
    assert page.text["del"] == "unspoken words"
    assert "interrupted" in page.text["span"]


@pytest.mark.parametrize(
    ("text", "planned", "rest"),
    [
        ("We have room", "We have room, at six.", "at six."),
        ("we have room…", "We have room at six.", "at six."),
        ("", "All of it", "All of it"),
        ("All of it", "All of it", ""),
        ("All of it", "", ""),
    ],
)
def test_the_unheard_words(text, planned, rest):
    assert unheard(text, planned) == rest


def test_the_waits_are_drawn_in_proportion():
    html = render_report(story())
    widths = dict(re.findall(r'<i class="(\w+)" style="width:([\d.]+)%" title', html))
    assert float(widths["endpointing"]) == pytest.approx(400 / 870 * 100, abs=0.01)
    assert float(widths["llm"]) == pytest.approx(300 / 870 * 100, abs=0.01)
    assert float(widths["wire"]) == pytest.approx(15 / 870 * 100, abs=0.01)
    assert "870 ms" in html


def test_a_page_without_turns_or_sound_stands():
    page = Page(render_report({"call": {}, "turns": []}))
    assert "Nothing was said." in page.text["p"]
    assert "audio" not in page.tags


def test_a_long_call_fits(tmp_path):
    html = render_report(story(turns=60), write_wav(tmp_path / "call.wav", seconds=240))
    page = Page(html)
    assert page.tags.count("li") == 60 * 2 + 60 + 60 * 2  # turns, bars, keys and events
    assert len(html) - 240 * 8000 * 4 * 4 / 3 < 500_000


def test_a_recording_too_long_to_embed_is_played_from_beside_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr("voxtra.recording.report.MAX_EMBEDDED_BYTES", 1000)
    html = render_report(story(), write_wav(tmp_path / "a call.wav"))
    assert 'src="a%20call.wav"' in html
    assert "too long to be part of this page" in html


def test_the_outline_shows_who_was_loud_when(tmp_path):
    seen = outline(write_wav(tmp_path / "call.wav"), 8)
    assert seen.duration_ms == 4000
    assert seen.peaks[0] == pytest.approx([1] + [0] * 7)
    assert seen.peaks[1] == pytest.approx([0, 0, 1, 1, 0, 0, 0, 0])
    assert seen.levels[1][2] == pytest.approx(1)


@pytest.mark.parametrize("what", ["missing", "mono", "text"])
def test_a_file_that_is_no_stereo_recording_is_a_named_error(tmp_path, what):
    path = tmp_path / "call.wav"
    if what == "mono":
        write_wav(path, channels=1)
    elif what == "text":
        path.write_text("hello")
    with pytest.raises(CodecError, match=r"call\.wav"):
        render_report(story(), path)


@pytest.mark.parametrize(("ending", "kind"), [("flac", ("FLAC", "PCM_16")), ("opus", ("OGG", "OPUS"))])
def test_other_formats_have_the_same_outline(tmp_path, ending, kind):
    import soundfile

    rate = 8000
    tone = (np.sin(np.arange(rate * 4) * 0.35) * 9000).astype("<i2")
    samples = np.stack([tone, tone], axis=1)
    samples[rate : 2 * rate, 0] = samples[2 * rate :, 1] = 0
    wav = tmp_path / "call.wav"
    soundfile.write(str(wav), samples, rate, subtype="PCM_16")
    other = tmp_path / f"call.{ending}"
    soundfile.write(str(other), samples, rate, format=kind[0], subtype=kind[1])
    one, same = outline(wav, 40), outline(other, 40)
    assert same.duration_ms == pytest.approx(one.duration_ms, abs=50)
    for lane in (0, 1):
        assert np.abs(np.array(one.levels[lane]) - np.array(same.levels[lane])).mean() < 0.05
    (tmp_path / "no.flac").write_bytes(b"nothing")
    with pytest.raises(CodecError, match="can't read the recording"):
        outline(tmp_path / "no.flac", 40)
