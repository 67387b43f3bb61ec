"""Check an assignment and collect it for submission, as learners do: findings, the zip and the PDF."""
