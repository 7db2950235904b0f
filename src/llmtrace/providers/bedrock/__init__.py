"""Amazon Bedrock wire formats."""
