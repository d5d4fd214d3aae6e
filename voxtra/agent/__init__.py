"""A conversation: line, speech and turns joined; agents, their tools, and what was really heard."""

from voxtra.agent.agent import (
    Agent,
    Transfer,
    change_language,
    current_time,
    end_call,
    handoff,
    hold,
    press_keys,
    transfer,
)
from voxtra.agent.call_tools import call_tools
from voxtra.agent.conversation import Conversation, ConversationResult
from voxtra.agent.mcp import MCPTools
from voxtra.agent.tools import Tool, tool

__all__ = [
    "Agent",
    "Conversation",
    "ConversationResult",
    "MCPTools",
    "Tool",
    "Transfer",
    "call_tools",
    "change_language",
    "current_time",
    "end_call",
    "handoff",
    "hold",
    "press_keys",
    "tool",
    "transfer",
]
