"""The real engines on real sound: human prompts and a synthetic caller, as a telephone carries them."""

import asyncio
import re
import resource
import sys
import time
import wave

import numpy as np
import pytest

from voxtra.errors import ConfigurationError, TTSError
from voxtra.speech import load, local_tts
from voxtra.speech.base import Transcript
from voxtra.speech.features import resample_whole, to_float
from voxtra.speech.hibari import HibariTTS
from voxtra.speech.hints import bare
from voxtra.speech.whisper import Heard, WhisperSTT, believable

pytestmark = pytest.mark.local

PROMPTS = {
    "agent-alreadyon": "that agent is already logged on "
    "please enter your agent number followed by the pound key",
    "agent-incorrect": "login incorrect please enter your agent number followed by the pound key",
    "agent-loginok": "agent logged in",
    "agent-newlocation": "please enter a new extension followed by pound",
    "agent-pass": "please enter your password followed by the pound key",
    "agent-user": "agent log in please enter your agent number followed by the pound key",
    "all-circuits-busy-now": "all circuits are busy now",
    "auth-incorrect": "password incorrect please enter your password followed by the pound key",
    "auth-thankyou": "thank you",
    "call-fwd-unconditional": "call forward unconditional",
    "cannot-complete-as-dialed": "your call cannot be completed as dialed",
    "check-number-dial-again": "please check the number and dial again",
    "conf-invalid": "that is not a valid conference number please try again",
    "conf-locked": "this conference is locked",
    "demo-thanks": "goodbye thank you for trying out the asterisk open source pbx",
    "queue-thankyou": "thank you for your patience",
    "tt-weasels": "weasels have eaten our phone system",
    "vm-goodbye": "goodbye",
    "vm-intro": "please leave your message after the tone when done hang up or press the pound key",
    "vm-nobodyavail": "nobody is available to take your call at the moment",
    "vm-num-i-have": "the number i have is",
}


def mu_law(pcm: bytes) -> bytes:
    """What is left of 16-bit sound after the G.711 μ-law wire."""
    x = np.clip(np.frombuffer(pcm, "<i2").astype(np.float64) / 32768, -1, 1)
    code = np.round(127 * np.sign(x) * np.log1p(255 * np.abs(x)) / np.log1p(255)) / 127
    return (np.sign(code) * (np.power(256.0, np.abs(code)) - 1) / 255 * 32767).astype("<i2").tobytes()


def prompt(folder, name: str) -> bytes:
    with wave.open(str(folder / f"{name}.wav")) as file:
        return mu_law(file.readframes(file.getnframes()))


def word_errors(heard: str, wanted: str) -> int:
    """Edit distance in words."""
    a, b = bare(re.sub("[-.,]", " ", heard)).split(), bare(wanted).split()
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.fixture(scope="module")
def stt() -> WhisperSTT:
    return WhisperSTT()


async def hear(stt: WhisperSTT, pcm: bytes, rate: int = 8000, **options) -> Transcript:
    return await stt.transcribe(bytes(rate * 2 // 5) + pcm + bytes(rate * 2 // 5), rate=rate, **options)


async def test_warming_up_is_measured(capsys):
    from voxtra.speech import local

    before = memory_mb()
    began = time.perf_counter()
    stack = local()
    await stack.warm_up()
    took = time.perf_counter() - began
    again = time.perf_counter()
    await stack.warm_up()
    second = time.perf_counter() - again
    assert "huggingface_hub" not in sys.modules  # nothing here could ask the network
    with capsys.disabled():
        print(f"\nlocal stack: {took:.2f} s, {before:.0f} → {memory_mb():.0f} MB; again {second:.2f} s")


async def test_human_telephone_speech_is_understood(stt, prompts, capsys):
    await stt.warm_up()
    errors = words = 0
    cpu, wall = [], []
    for name, wanted in PROMPTS.items():
        before, began = time.process_time(), time.perf_counter()
        heard = await hear(stt, prompt(prompts, name))
        cpu.append(time.process_time() - before)
        wall.append(time.perf_counter() - began)
        count = word_errors(heard.text, wanted)
        errors += count
        words += len(wanted.split())
        assert 0 < heard.confidence <= 1
        if count:
            with capsys.disabled():
                print(f"\n{name}: {heard.text!r}", end="")
    with capsys.disabled():
        print(f"\nWER {errors / words:.1%} of {words} words; {1e3 * np.mean(cpu):.0f} ms CPU an utterance")
    assert errors / words < 0.10
    assert sum(cpu) < 1.5 * sum(wall), "an utterance keeps one core at work, not the BLAS threads of others"


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
async def test_every_rate_is_understood(stt, prompts, rate):
    samples = resample_whole(to_float(prompt(prompts, "vm-intro")), 8000, rate)
    pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    heard = await hear(stt, pcm, rate)
    assert word_errors(heard.text, PROMPTS["vm-intro"]) <= 1


async def test_digits_are_what_was_expected(stt, prompts):
    hints = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    heard = [(await hear(stt, prompt(prompts, f"digits/{number}"), hints=hints)).text for number in range(10)]
    assert sum(a == b for a, b in zip(heard, hints, strict=True)) >= 9, heard


async def test_silence_noise_and_tones_give_no_words(stt, prompts):
    rng = np.random.default_rng(3)
    at = np.arange(4000) / 8000
    dtmf = 6000 * (np.sin(2 * np.pi * 697 * at) + np.sin(2 * np.pi * 1209 * at))
    sounds = {
        "silence": np.zeros(16000),
        "faint noise": rng.normal(0, 8, 16000),
        "noise": rng.normal(0, 300, 16000),
        "loud noise": rng.normal(0, 3000, 16000),
        "dtmf": dtmf,
        "short dtmf": np.concatenate([np.zeros(8000), dtmf[:800], np.zeros(8000)]),
        "dial tone": 4000 * (np.sin(2 * np.pi * 350 * np.arange(24000) / 8000)),
    }
    for name, sound in sounds.items():
        heard = await hear(stt, mu_law(sound.astype("<i2").tobytes()))
        assert heard.text == "", name
    assert (await hear(stt, prompt(prompts, "beep"))).text == ""
    assert (await hear(stt, b"")).text == ""


async def test_a_call_is_transcribed_at_its_pauses_and_two_calls_never_mix(stt, prompts):
    said = {}
    calls = []
    for name in ("vm-nobodyavail", "agent-newlocation"):
        finals: list[Transcript] = []
        stream = stt.open(rate=8000, on_transcript=finals.append, on_error=pytest.fail)
        calls.append((name, stream, finals, bytes(9600) + prompt(prompts, name) + bytes(3200)))
    for at in range(0, max(len(pcm) for *_, pcm in calls), 320):
        for _, stream, _, pcm in calls:
            if at == 9600:
                stream.speech_started()
            if at < len(pcm):
                stream.push(pcm[at : at + 320])
            if at // 320 == len(pcm) // 320:
                stream.speech_stopped()
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        while not all(finals and finals[-1].is_final for _, _, finals, _ in calls):
            await asyncio.sleep(0.01)
    for name, stream, finals, _ in calls:
        said[name] = finals[-1].text
        assert word_errors(said[name], PROMPTS[name]) <= 1, said
        assert [heard.is_final for heard in finals].count(True) == 1
        await stream.close()


async def test_a_turn_longer_than_the_models_window_is_heard_whole(stt, prompts):
    names = (
        "vm-intro",
        "agent-alreadyon",
        "agent-user",
        "vm-intro",
        "agent-alreadyon",
        "auth-incorrect",
        "vm-intro",
    )
    finals: list[Transcript] = []
    stream = stt.open(rate=8000, on_transcript=finals.append, on_error=pytest.fail)
    stream.speech_started()
    for name in names:
        pcm = prompt(prompts, name) + bytes(4800)
        for at in range(0, len(pcm), 320):
            stream.push(pcm[at : at + 320])
        await asyncio.sleep(0)
    stream.speech_stopped()
    async with asyncio.timeout(30):
        while not (finals and finals[-1].is_final):
            await asyncio.sleep(0.01)
    wanted = " ".join(PROMPTS[name] for name in names)
    assert word_errors(finals[-1].text, wanted) / len(wanted.split()) < 0.15
    await stream.close()


def test_what_the_model_makes_up_is_not_believed():
    assert not believable(Heard("You", 0.1, 0.4), no_speech=0.6)
    assert not believable(Heard("Thank you.", 0.3, 0.9), no_speech=0.6)
    assert not believable(Heard("...", 0.9, 0.0), no_speech=0.6)
    assert not believable(Heard("one, " * 60, 0.9, 0.1, endless=True), no_speech=0.6)
    assert believable(Heard("Press one. " * 12, 0.9, 0.1), no_speech=0.6)  # a caller who says it often
    assert believable(Heard("Thank you.", 0.8, 0.02), no_speech=0.6)
    assert believable(Heard("Goodbye.", 0.5, 0.03), no_speech=0.6)


SENTENCES = [
    "Hello, I would like to know your opening hours.",
    "Can I speak to somebody in the billing department please?",
    "My appointment is on Tuesday the fourteenth of March.",
    "No thank you, that was everything. Goodbye.",
]


async def test_what_is_spoken_is_understood_over_the_telephone(stt, capsys):
    tts = HibariTTS()
    await tts.warm_up()
    errors = words = 0
    first, cpu, sound = [], 0.0, 0.0
    for sentence in SENTENCES:
        began, before = time.perf_counter(), time.process_time()
        chunks = []
        async for speech in tts.synthesize(sentence):
            if not chunks:
                first.append(time.perf_counter() - began)
            chunks.append(speech.pcm)
        cpu += time.process_time() - before
        pcm = b"".join(chunks)
        sound += len(pcm) / 2 / tts.rate
        telephone = resample_whole(to_float(pcm), tts.rate, 8000)
        heard = await hear(stt, mu_law((np.clip(telephone, -1, 1) * 32767).astype("<i2").tobytes()))
        errors += word_errors(heard.text.replace("14th", "fourteenth"), sentence)
        words += len(sentence.split())
    with capsys.disabled():
        print(f"\nTTS: first sound {1e3 * np.median(first):.0f} ms (max {1e3 * max(first):.0f}), ", end="")
        print(f"{cpu / sound:.2%} of real time; round trip WER {errors / words:.1%} of {words}")
    assert errors / words < 0.15


async def test_speech_begins_at_once_is_level_and_the_same_each_time():
    tts = HibariTTS()
    first = [speech async for speech in tts.synthesize("Hello there. How are you?")]
    again = [speech async for speech in tts.synthesize("Hello there. How are you?")]
    assert [speech.pcm for speech in first] == [speech.pcm for speech in again]
    assert len(first) == 2
    assert {speech.rate for speech in first} == {24000}
    for speech in first:
        level = np.abs(np.frombuffer(speech.pcm, "<i2").astype(int))
        assert np.flatnonzero(level > 400)[0] < 24 * 60  # within 60 ms
        assert 6000 < level.max() <= 32767
    for nothing in ("", "...", "🙂"):
        assert [speech async for speech in tts.synthesize(nothing)] == []


async def test_closing_stops_the_synthesis_of_what_follows(monkeypatch):
    from voxtra.speech import hibari

    spoken = []
    real = hibari._speak
    monkeypatch.setattr(hibari, "_speak", lambda *args: spoken.append(args[1]) or real(*args))
    speech = HibariTTS().synthesize("One. Two. Three. Four.")
    await anext(speech)
    await speech.aclose()
    await asyncio.sleep(0.1)
    assert len(spoken) == 1


async def test_a_voice_or_language_it_does_not_have_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("HIBARI_HOME", str(tmp_path))
    for voice, words in (
        ("emma", "not on this machine and nothing is downloaded"),
        ("hart", "did you mean 'heart'"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            await load("hibari", voice=voice).warm_up()
    with pytest.raises(TTSError, match="English only, not 'de'"):
        await anext(HibariTTS().synthesize("Hallo", language="de"))
    with pytest.raises(TTSError, match="limit"):
        await anext(HibariTTS().synthesize("a" * 30_000))


async def test_a_phrase_said_before_is_not_synthesised_again(monkeypatch):
    from voxtra.speech import hibari

    tts = local_tts()
    await tts.prepare(["Thank you for calling."])
    monkeypatch.setattr(hibari, "_speak", lambda *args: pytest.fail("synthesised again"))
    assert [speech async for speech in tts.synthesize("Thank you for calling.")]
