"""The context of a call: tags, prompt, retrieved documents, agent and parent span."""
