"""Whatever the caller and the model do, in whatever order: nobody is left waiting, and history is what was heard."""

import asyncio
import itertools
import random
import struct

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from voxtra.agent.client import AgentClient
from voxtra.agent.realtime import RealtimePipeline
from voxtra.errors import LLMError
from voxtra.speech.base import (
    VAD,
    CallerText,
    CallerTurn,
    ReplyAudio,
    ReplyAudioEnded,
    ReplyEnded,
    ReplyStarted,
    ReplyText,
    ReplyToolCall,
    SpeechStream,
    SpeechToSpeech,
    StreamLost,
    ToolCall,
)
from voxtra.testing.clock import run_virtual
from voxtra.testing.fake_line import FakeLine
from voxtra.turns import TurnDetection

WORD_MS = 100


class Loud(VAD):
    """Whatever is not silence is speech."""

    def open(self, *, rate):
        return self

    def push(self, pcm):
        return 1.0 if any(pcm[:2]) else 0.0


class Model(SpeechToSpeech):
    """Answers with words of its own count; how fast, and when it fails, is drawn."""

    name = "model"

    def __init__(self, chance):
        self.chance = chance
        self.streams = []
        self.items = {}  # item -> (words said so far, ms of sound)
        self.cuts = {}
        self.numbers = itertools.count(1)

    async def open(self, *, on_event, history, **options):
        await asyncio.sleep(self.chance.random() / 5)
        self.streams.append(Stream(self, on_event))
        return self.streams[-1]


class Stream(SpeechStream):
    rate = 8000

    def __init__(self, model, tell):
        self.model = model
        self.tell = tell
        self.asked = []
        self.making = None
        self.reply = ""
        self.turn = 0
        self.tasks = set()

    def later(self, seconds, *events):
        def act():
            for event in events:
                if self.tell is not None:
                    self.tell(event)

        asyncio.get_running_loop().call_later(seconds, act)

    def push(self, pcm):
        self.turn += len(pcm)

    def clear(self):
        self.turn = 0

    def commit(self):
        item = f"u{next(self.model.numbers)}"
        if self.turn < 1600:
            self.later(0.02, CallerTurn(""))
        else:
            self.later(0.02, CallerTurn(item))
            self.later(0.03 + self.model.chance.random(), CallerText(item, f"said {item}", True))
        self.turn = 0

    def respond(self, instructions="", *, tag=""):
        self.asked.append(tag)
        self.go_on()

    def go_on(self):
        if self.making is None and self.asked:
            self.making = asyncio.ensure_future(self.make(self.asked.pop(0)))
            self.tasks.add(self.making)

    async def make(self, tag):
        model, chance = self.model, self.model.chance
        reply = self.reply = f"r{next(model.numbers)}"
        item = f"i{reply}"
        reason = "finished"
        try:
            await asyncio.sleep(chance.random() / 2)
            self.say(ReplyStarted(reply, tag))
            if chance.random() < 0.1:
                await asyncio.sleep(0.3)
                self.lose()
                return
            if chance.random() < 0.96:
                for number in range(chance.randrange(1, 30)):
                    await asyncio.sleep(chance.choice([0, 0.02, 0.15]))
                    said, ms = model.items.get(item, ([], 0))
                    word = f"w{number:02}"  # all of one length, as how much was heard goes by it
                    model.items[item] = ([*said, word], ms + WORD_MS)
                    self.say(ReplyText(reply, item, word + " "))
                    self.say(ReplyAudio(reply, item, sound(WORD_MS, 300, 3000, chance)))
                self.say(ReplyAudioEnded(reply, item))
            if chance.random() < 0.3:
                self.say(ReplyToolCall(reply, ToolCall(f"c{reply}", "tool", {})))
        except asyncio.CancelledError:
            if self.tell is None:
                raise
            reason = "cancelled"
        self.making = None
        self.say(ReplyEnded(reply, reason, tag=tag))
        self.go_on()

    def say(self, event):
        if self.tell is not None:
            self.tell(event)

    def lose(self):
        tell, self.tell = self.tell, None
        if tell is not None:
            tell(StreamLost(LLMError("the model is gone")))

    def add_tool_result(self, tool_id, content):
        pass

    def add_text(self, text):
        assert text.startswith("[keys pressed: 7")

    def cancel(self):
        self.asked.clear()
        if self.making is not None:
            self.making.cancel()

    def truncate(self, item, heard_ms):
        assert heard_ms <= self.model.items[item][1]
        self.model.cuts[item] = heard_ms

    async def close(self):
        self.tell = None
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def sound(ms, low, high, chance):
    """Its loudness changes as that of speech does."""
    return b"".join(struct.pack("<h", chance.randrange(low, high)) * 160 for _ in range(ms // 20))


async def converse(script, seed):
    chance = random.Random(seed)
    played = []
    line = FakeLine(lambda pcm: played.append(any(pcm)))
    model = Model(chance)
    agent = AgentClient(None)
    events = []
    tools = []

    async def on_tool(call):
        await asyncio.sleep(chance.random())
        tools.append(call.id)
        return "done" if chance.random() < 0.8 else None

    pipeline = RealtimePipeline(
        line, model, agent, TurnDetection(), events.append, tools=(), on_tool=on_tool, vad=Loud()
    )
    cut = pipeline._playing.cut

    async def noted():
        """Without a connection nobody can be told what was cut off; the next one knows it by the history."""
        out = await cut()
        for item, ms in out if pipeline._link.stream is None else ():
            model.cuts[item] = ms
        return out

    pipeline._playing.cut = noted
    run = asyncio.ensure_future(pipeline.run())
    says, pressed = [], 0
    for what, ms in script:
        if what == "say":
            says.append(asyncio.ensure_future(pipeline.say("words", interruptible=ms % 200 == 0)))
            continue
        if what == "keys":
            pipeline.key("7")
            pressed += 1
        for _ in range(ms // 20):
            speech = what == "speak"
            line.receive(sound(20, 6000, 20000, chance) if speech else bytes(320))
            await asyncio.sleep(0.02)
    for _ in range(25 * 50):
        line.receive(bytes(320))
        await asyncio.sleep(0.02)
    if not run.done():
        check_quiet(pipeline, line, agent, model, played)
        told = [m["content"] for m in agent.history if m["role"] == "user" and "[keys" in m["content"]]
        assert "".join(told).count("7") == pressed
    line.lose("hangup")
    (end,) = await asyncio.gather(run, return_exceptions=True)
    if end != "hangup":  # lost too often, or silent twice in a row: then it is said so
        assert isinstance(end, LLMError)
        assert len(model.streams) > 3 or "nothing in it" in str(end)
    for say in says:
        assert (await asyncio.wait_for(say, 1)).reason in ("finished", "interrupted", "hangup")
    return model, agent


def check_quiet(pipeline, line, agent, model, played):
    assert not pipeline.busy
    assert not line.paused
    assert not pipeline._caller.speaking
    said = [m for m in agent.history if m["role"] == "assistant" and m["content"]]
    words = {}
    for item, (all_words, _) in model.items.items():
        cut = model.cuts.get(item)
        words[item] = all_words if cut is None else all_words[: round(cut / WORD_MS + 0.5)]
    for message in said:
        heard = message["content"].split()
        assert any(heard == known[: len(heard)] for known in words.values()), message
    # to the frame: what was played is what was told to be heard, and whole replies
    heard_ms = sum(model.cuts.get(item, ms) for item, (_, ms) in model.items.items())
    assert abs(sum(played) * 20 - heard_ms) <= 20 * len(model.items), (sum(played) * 20, heard_ms)
    # who spoke was answered
    if any(m["role"] == "user" for m in agent.history):
        assert agent.history[-1]["role"] != "user", agent.history[-3:]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["speak", "silence", "speak", "silence", "say", "keys"]),
        st.sampled_from([40, 100, 300, 500, 800, 1500, 3000]),
    ),
    min_size=1,
    max_size=10,
)


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(STEPS, st.integers(0, 1_000_000))
def test_in_any_order_nobody_waits_for_ever_and_history_is_what_was_heard(script, seed):
    run_virtual(converse(script, seed))
