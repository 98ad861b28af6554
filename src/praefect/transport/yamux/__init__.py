"""yamux: many byte streams inside one, in both dialects; a stream is an asyncio transport."""
