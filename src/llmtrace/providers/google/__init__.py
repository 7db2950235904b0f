"""Google wire formats: the Gemini API and Vertex AI."""
