"""A receptionist: greets, answers questions, may be interrupted, asks for a key, says goodbye.

Nothing but this machine is needed: speech and a small "language model" of intents run here.

    voxtra dev examples/receptionist.py:app       (then call it with a softphone)
"""

from __future__ import annotations

from voxtra import CallSession, VoxtraApp
from voxtra.speech import local
from voxtra.speech.intents import Intent, IntentLLM

GREETING = "Welcome to Acme. How can I help you?"


def tool(name: str, description: str) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, "description": description, "parameters": {}}}


TOOLS = [
    tool("text_address", "Offer to send the address as a text message."),
    tool("end_call", "The caller says goodbye."),
]

mind = IntentLLM(
    {
        "hello": Intent(
            ["hello", "good morning", "hello good morning", "hi there"],
            reply="Good morning! Nice to hear from you. What can I do for you?",
        ),
        "hours": Intent(
            ["what are your opening hours", "when do you open", "when are you open"],
            reply="We are open from Monday to Friday, from nine in the morning until five in the afternoon. "
            "On Saturdays we open at ten and close at noon, and on Sundays we stay at home with our family.",
        ),
        "place": Intent(
            ["where are you located", "sorry where are you located", "what is your address"],
            reply="We are at Ten Market Street. Press one if you want the address as a text message.",
            tool="text_address",
        ),
        "bye": Intent(
            ["thank you goodbye", "goodbye", "that is all thank you"],
            reply="Thank you for calling. Goodbye!",
            tool="end_call",
        ),
    },
    fallback="I am sorry, I can tell you our opening hours or our address.",
)

stt, tts, vad, llm = local(mind)
app = VoxtraApp(stt=stt, tts=tts, vad=vad, llm=llm)


@app.default()
async def receptionist(call: CallSession) -> None:
    call.agent.tools = TOOLS
    await call.answer()
    await call.record_start()
    await call.say(GREETING)
    while user := await call.listen(timeout=15):
        reply = await call.agent.respond(user.text)
        await call.say(reply.text)
        for wanted in reply.tool_calls:
            if wanted["name"] == "end_call":
                await call.hangup()
                return
            key = await call.listen_dtmf(timeout=8)
            done = "Done, it is on its way." if key == "1" else "All right, no message then."
            await call.agent.add_tool_result(wanted["id"], done)
            reply = await call.agent.respond()
            await call.say(reply.text)
    await call.say("I can't hear you. Goodbye.")
    await call.hangup()
