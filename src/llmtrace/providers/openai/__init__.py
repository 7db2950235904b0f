"""OpenAI wire formats, which many other vendors and servers share."""
