"""Sound to and from Asterisk: frames, codecs, resampling, the 20 ms clock, one Line in three transports."""
