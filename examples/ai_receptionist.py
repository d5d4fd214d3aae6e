"""A receptionist that speaks the first clause while the model still writes the rest.

    voxtra dev examples/ai_receptionist.py:app

Without more it answers from a list of intents, on this machine. Any server with OpenAI's interface does
instead: ``LLM_MODEL=...``, with ``OPENAI_API_KEY``, or ``OPENAI_BASE_URL`` for a server of your own.
"""

import os

from voxtra import CallSession, VoxtraApp
from voxtra.speech.base import LLM
from voxtra.speech.intents import Intent, IntentLLM


def language_model() -> LLM:
    if model := os.environ.get("LLM_MODEL"):
        from voxtra.speech.openai import OpenAILLM

        return OpenAILLM(model=model)
    return IntentLLM(
        {
            "hours": Intent(
                ["what are your opening hours", "when do you open"],
                reply="We are open from Monday to Friday, from nine to five. On Saturdays we close at noon.",
            ),
            "place": Intent(["where are you located", "what is your address"], reply="Ten Market Street."),
        },
        fallback="I am sorry, I know our opening hours and our address.",
    )


app = VoxtraApp(
    stt="local",
    tts="local",
    vad="local",
    llm=language_model(),
    instructions="You are the receptionist of Acme, on the telephone. Answer in one or two short sentences.",
)


@app.default()
async def receptionist(call: CallSession) -> None:
    await call.answer()
    await call.say("Welcome to Acme. How can I help you?")
    while user := await call.listen(timeout=10):
        if "bye" in user.text.lower():
            break
        # Who interrupts is listened to; the model is then told only what was heard of its words.
        await call.say(call.agent.stream(user.text))
    await call.say("Thank you for calling. Goodbye.", interruptible=False)
