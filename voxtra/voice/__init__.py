"""The ClutchCall Voice client: calls over HTTP, their sound frame by frame, agents on live calls.

    from voxtra.voice import Voice

    v = Voice(base_url="https://engine.example.com", api_key="...", org_id="org_abc")
    call = v.calls.originate(to="+15551234567", from_="+15558675309", trunk_id="trunk_main")

It uses the wire's vocabulary and nothing else of voxtra: no engine is loaded.
"""

from voxtra.voice.async_voice import (
    AsyncAgents,
    AsyncAudioBridge,
    AsyncAudioBridges,
    AsyncCall,
    AsyncCalls,
    AsyncVoice,
)
from voxtra.voice.bridge import AudioBridge
from voxtra.voice.errors import VoiceError
from voxtra.voice.inference import AsyncInference, Inference
from voxtra.voice.moqt import AsyncMoqtClient, AudioPublication, AudioSubscription, MoqtClient
from voxtra.voice.voice import Agents, AudioBridges, Call, Calls, Voice
from voxtra.wire import AgentSpec, CallEvent, CallStatus, CascadeTurns, Codec
from voxtra.wire import TurnSettings as TurnDetection

__all__ = [
    "AgentSpec",
    "Agents",
    "AsyncAgents",
    "AsyncAudioBridge",
    "AsyncAudioBridges",
    "AsyncCall",
    "AsyncCalls",
    "AsyncInference",
    "AsyncMoqtClient",
    "AsyncVoice",
    "AudioBridge",
    "AudioBridges",
    "AudioPublication",
    "AudioSubscription",
    "Call",
    "CallEvent",
    "CallStatus",
    "Calls",
    "CascadeTurns",
    "Codec",
    "Inference",
    "MoqtClient",
    "TurnDetection",
    "Voice",
    "VoiceError",
]
