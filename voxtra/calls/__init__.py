"""What a live call is made of: legs, their media, prompts, DTMF, and the switchboard between them."""
