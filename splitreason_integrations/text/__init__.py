"""Conversations to prompts and tokens to replies: templates, tags, tool calls, grammars."""
