"""The audio bridge: the sound of a call as tracks, over QUIC and WebSocket."""
