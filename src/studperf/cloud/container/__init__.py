"""What runs inside a container on Vertex AI, and what starts it there."""
