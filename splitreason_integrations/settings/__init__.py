"""What users set: options of the chat models, policies as files."""
