"""Floor 2: how to talk to a venue: sockets, WebSocket frames, JSON scan, one file per venue dialect."""
